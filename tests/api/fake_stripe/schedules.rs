//! Subscription schedules: what a subscription is going to be, phase by phase.

use serde_json::{Value, json};

use super::objects::{self, is_over, items, period, set_items, text};
use super::params::{Params, Refusal, merge_metadata};
use super::phases::{phase, phase_items};
use super::state::State;

pub(crate) const PRORATION: [&str; 3] = ["always_invoice", "create_prorations", "none"];

impl State {
    pub(crate) fn create_schedule(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let from = params.required("from_subscription")?;
        for other in [
            "phases",
            "metadata",
            "end_behavior",
            "customer",
            "start_date",
        ] {
            if params.has(other) {
                let message = format!("You cannot set `{other}` if `from_subscription` is set.");
                return Err(Refusal::invalid(None, other, message));
            }
        }
        params.finish()?;
        let before = self
            .subscriptions
            .get(&from)
            .cloned()
            .ok_or_else(|| Refusal::missing(400, "from_subscription", "subscription", &from))?;
        let refuse = |message: String| Err(Refusal::invalid(None, "from_subscription", message));
        if is_over(&before) {
            return refuse(format!(
                "You cannot create a subscription schedule from a subscription that is {}.",
                text(&before, "status")
            ));
        }
        if let Some(schedule) = before["schedule"].as_str() {
            return refuse(format!(
                "You cannot migrate a subscription that is already attached to a schedule: `{schedule}`."
            ));
        }
        let id = self.new_id("sub_sched");
        let (start, end) = period(&before);
        let ends = before["cancel_at"].as_i64();
        let end = ends.unwrap_or(end);
        let mut running = phase(
            &phase_items(&before),
            start,
            end,
            "create_prorations",
            &json!({}),
        );
        if before["status"] == "trialing" {
            running["trial_end"] = before["trial_end"].clone();
        }
        let schedule = json!({
            "id": id, "object": "subscription_schedule", "application": null,
            "billing_mode": before["billing_mode"], "canceled_at": null, "completed_at": null,
            "created": self.now.timestamp(), "current_phase": {"start_date": start, "end_date": end},
            "customer": before["customer"], "customer_account": null,
            "default_settings": {"billing_cycle_anchor": "automatic", "collection_method": "charge_automatically",
                                 "invoice_settings": objects::invoice_settings()},
            "end_behavior": if ends.is_some() { "cancel" } else { "release" }, "livemode": false, "metadata": {},
            "pause_schedules": [], "phases": [running],
            "released_at": null, "released_subscription": null, "status": "active", "subscription": from,
            "test_clock": null,
        });
        self.schedules.insert(id.clone(), schedule.clone());
        let mut after = before.clone();
        after["schedule"] = json!(id);
        self.tell("subscription_schedule.created", &schedule);
        self.store_changed(&before, &after);
        Ok(schedule)
    }

    pub(crate) fn update_schedule(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let before = self.live_schedule(id, "update")?;
        let end_behavior =
            params.choice("end_behavior", &["cancel", "none", "release", "renew"])?;
        params.choice("proration_behavior", &PRORATION)?;
        let metadata = params.metadata()?;
        let phases = self.read_phases(&before, &mut params)?;
        params.finish()?;
        let mut after = before.clone();
        if let Some(word) = end_behavior {
            after["end_behavior"] = json!(word);
        }
        if let Some(change) = metadata {
            change.apply(&mut after["metadata"]);
        }
        if let Some(phases) = phases {
            let current = &phases[0];
            after["current_phase"] =
                json!({"start_date": current["start_date"], "end_date": current["end_date"]});
            after["phases"] = json!(phases);
        }
        self.schedules.insert(id.to_owned(), after.clone());
        self.tell_changed("subscription_schedule.updated", &before, &after);
        // The phase that runs is what the subscription is: a trial that it does not name is over.
        let running = &after["phases"][0];
        if running != &before["phases"][0] {
            let subscription = self.subscriptions[&text(&after, "subscription")].clone();
            let mut changed = subscription.clone();
            self.enter(&mut changed, running);
            if changed["status"] == "trialing" && running["trial_end"].is_null() {
                changed["status"] = json!("active");
                changed["trial_end"] = json!(self.now.timestamp());
            }
            self.store_changed(&subscription, &changed);
        }
        Ok(after)
    }

    pub(crate) fn release_schedule(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        params.boolean("preserve_cancel_date")?;
        params.finish()?;
        self.live_schedule(id, "release")?;
        self.release(id);
        Ok(self.schedules[id].clone())
    }

    /// The subscription goes on as it is, without a plan.
    pub(crate) fn release(&mut self, id: &str) {
        let schedule = self.schedules.get_mut(id).expect("it is attached");
        let subscription = schedule["subscription"].take();
        schedule["status"] = json!("released");
        schedule["released_at"] = json!(self.now.timestamp());
        schedule["current_phase"] = Value::Null;
        schedule["released_subscription"] = subscription.clone();
        let schedule = schedule.clone();
        let before = self.subscriptions[subscription.as_str().unwrap_or_default()].clone();
        let mut after = before.clone();
        after["schedule"] = Value::Null;
        self.tell("subscription_schedule.released", &schedule);
        self.store_changed(&before, &after);
    }

    /// The subscription becomes what the phase says.
    pub(crate) fn enter(&mut self, subscription: &mut Value, phase: &Value) {
        let mut entered = Vec::new();
        for wanted in phase["items"].as_array().into_iter().flatten() {
            let kept = items(subscription)
                .iter()
                .find(|item| item["price"]["id"] == wanted["price"])
                .cloned();
            let mut item = kept.unwrap_or_else(|| {
                objects::item(
                    &self.new_id("si"),
                    &text(subscription, "id"),
                    &self.prices[&text(wanted, "price")].clone(),
                    None,
                    period(subscription),
                    self.now.timestamp(),
                )
            });
            if let Some(quantity) = wanted["quantity"].as_i64() {
                item["quantity"] = json!(quantity);
            }
            entered.push(item);
        }
        set_items(subscription, entered);
        merge_metadata(&mut subscription["metadata"], &phase["metadata"]);
    }

    /// Items that were changed directly are the running phase's, too.
    pub(crate) fn note_in_schedule(&mut self, subscription: &Value) {
        let Some(id) = subscription["schedule"].as_str() else {
            return;
        };
        let schedule = self.schedules.get_mut(id).expect("it is attached");
        let start = schedule["current_phase"]["start_date"].clone();
        let phases = schedule["phases"].as_array_mut().into_iter().flatten();
        for phase in phases.filter(|phase| phase["start_date"] == start) {
            phase["items"] = json!(phase_items(subscription));
        }
    }

    fn live_schedule(&self, id: &str, verb: &str) -> Result<Value, Refusal> {
        let schedule = self
            .schedules
            .get(id)
            .ok_or_else(|| Refusal::missing(404, "schedule", "subscription schedule", id))?;
        if schedule["status"] != "active" {
            let message = format!(
                "You cannot {verb} a subscription schedule that is currently in the `{}` status. It must be in `not_started` or `active`.",
                text(schedule, "status")
            );
            return Err(Refusal::invalid(None, "schedule", message));
        }
        Ok(schedule.clone())
    }
}
