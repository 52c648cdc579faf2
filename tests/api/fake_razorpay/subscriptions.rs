//! Subscriptions as the API is asked for them.

use serde_json::{Value, json};

use super::lists::{Part, collection};
use super::params::{Params, Refusal};
use super::periods::Cycle;
use super::state::{State, number, text};

impl State {
    pub(crate) fn create_subscription(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let plan_id = params.required_text("plan_id")?;
        let plan = self
            .plans
            .get(&plan_id)
            .cloned()
            .ok_or_else(Refusal::unknown_id)?;
        let cycle = Cycle::of(&plan, self.whole_days);
        let total_count = params.required_within("total_count", 1, cycle.most())?;
        let quantity = params.within("quantity", 1, 500)?.unwrap_or(1);
        let start_at = params.integer("start_at")?;
        let expire_by = params.integer("expire_by")?;
        let customer_notify = params.flag("customer_notify")?.unwrap_or(true);
        let notes = params.notes()?;
        params.finish()?;
        let now = self.timestamp();
        if plan["item"]["active"] == false {
            return Err(Refusal::bad_request("The plan is not active"));
        }
        for (name, at) in [("start_at", start_at), ("expire_by", expire_by)] {
            if at.is_some_and(|at| at <= now) {
                let description = format!("{name} must be greater than the current time");
                return Err(Refusal::field(name, description));
            }
        }
        let end_at = start_at.map(|start| last_end(cycle, start, total_count));
        let id = self.new_id("sub");
        let short = &id[4..];
        let subscription = json!({
            "id": id, "entity": "subscription", "plan_id": plan_id, "customer_id": null,
            "status": "created", "current_start": null, "current_end": null, "ended_at": null,
            "quantity": quantity, "notes": notes, "charge_at": start_at, "start_at": start_at,
            "end_at": end_at, "auth_attempts": 0, "total_count": total_count, "paid_count": 0,
            "customer_notify": customer_notify, "created_at": now, "expire_by": expire_by,
            "short_url": format!("https://rzp.io/i/{short}"), "has_scheduled_changes": false,
            "change_scheduled_at": null, "source": "api", "payment_method": null,
            "offer_id": null, "remaining_count": total_count,
        });
        self.subscriptions.insert(id, subscription.clone());
        Ok(subscription)
    }

    pub(crate) fn list_subscriptions(&self, mut params: Params) -> Result<Value, Refusal> {
        let part = Part::read(&mut params)?;
        let plan = params.text("plan_id")?;
        params.finish()?;
        let wanted = |subscription: &Value| {
            plan.as_ref()
                .is_none_or(|plan| subscription["plan_id"] == **plan)
        };
        Ok(collection(part.of(self.subscriptions.values(), wanted)))
    }

    pub(crate) fn cancel_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let at_cycle_end = params.flag("cancel_at_cycle_end")?.unwrap_or(false);
        params.finish()?;
        let subscription = self.known_subscription(id)?;
        let status = text(subscription, "status");
        if is_over(subscription) {
            let description = format!("Subscription is not cancellable in {status} status.");
            return Err(Refusal::bad_request(description));
        }
        if !at_cycle_end {
            return Ok(self.end_subscription(id, "cancelled", self.timestamp()));
        }
        if subscription["current_end"].is_null() {
            return Err(Refusal::bad_request(
                "Subscription cannot be cancelled since no billing cycle is going on",
            ));
        }
        let shown = subscription.clone();
        self.ending.insert(id.to_owned());
        Ok(shown)
    }

    pub(crate) fn pause_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        params.word("pause_at", "now")?;
        params.finish()?;
        let subscription = self.known_subscription(id)?;
        let status = text(subscription, "status");
        match status.as_str() {
            "active" => {}
            "authenticated" => {
                return Ok(self.end_subscription(id, "cancelled", self.timestamp()));
            }
            _ => {
                let description = format!("Subscription cannot be paused in {status} status.");
                return Err(Refusal::bad_request(description));
            }
        }
        let paused = self.subscription_mut(id);
        paused["status"] = json!("paused");
        paused["charge_at"] = Value::Null;
        Ok(self.tell_subscription("subscription.paused", id))
    }

    pub(crate) fn resume_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        params.word("resume_at", "now")?;
        params.finish()?;
        let subscription = self.known_subscription(id)?;
        if subscription["status"] != "paused" {
            let status = text(subscription, "status");
            let description = format!("Subscription cannot be resumed in {status} status.");
            return Err(Refusal::bad_request(description));
        }
        let due = number(subscription, "current_end");
        let resumed = self.subscription_mut(id);
        resumed["status"] = json!("active");
        resumed["charge_at"] = json!(due);
        Ok(self.tell_subscription("subscription.resumed", id))
    }

    fn known_subscription(&self, id: &str) -> Result<&Value, Refusal> {
        self.subscriptions.get(id).ok_or_else(Refusal::unknown_id)
    }

    pub(crate) fn subscription_mut(&mut self, id: &str) -> &mut Value {
        self.subscriptions
            .get_mut(id)
            .unwrap_or_else(|| panic!("no subscription {id}"))
    }

    /// Tells of a subscription as it is. Returns it.
    pub(crate) fn tell_subscription(&mut self, kind: &str, id: &str) -> Value {
        let subscription = self.subscriptions[id].clone();
        self.tell(kind, &[("subscription", &subscription)]);
        subscription
    }

    /// The subscription is over, and told to be, unless it merely expired.
    pub(crate) fn end_subscription(&mut self, id: &str, status: &str, ended_at: i64) -> Value {
        self.ending.remove(id);
        let subscription = self.subscription_mut(id);
        subscription["status"] = json!(status);
        subscription["charge_at"] = Value::Null;
        if status == "expired" {
            return subscription.clone();
        }
        subscription["ended_at"] = json!(ended_at);
        let kind = format!("subscription.{status}");
        self.tell_subscription(&kind, id)
    }

    /// Nobody authorized these in time; no event tells.
    pub(crate) fn expire_subscriptions(&mut self) {
        let now = self.timestamp();
        let late = |subscription: &&mut Value| {
            let passed = |name: &str| subscription[name].as_i64().is_some_and(|at| at <= now);
            subscription["status"] == "created" && (passed("expire_by") || passed("start_at"))
        };
        for subscription in self.subscriptions.values_mut().filter(late) {
            subscription["status"] = json!("expired");
            subscription["charge_at"] = Value::Null;
        }
    }
}

/// Whether nothing more comes of it.
pub(crate) fn is_over(subscription: &Value) -> bool {
    let status = subscription["status"].as_str().unwrap_or_default();
    ["cancelled", "completed", "expired"].contains(&status)
}

/// When the last cycle ends.
pub(crate) fn last_end(cycle: Cycle, start: i64, total_count: i64) -> i64 {
    let count = u32::try_from(total_count).expect("it is within bounds");
    cycle.end(start, count)
}
