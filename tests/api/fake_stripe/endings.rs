//! How subscriptions end, and how paused ones come back.

use serde_json::{Value, json};

use super::objects::{is_over, items_mut, next_period_end, text};
use super::params::{Params, Refusal};
use super::payments::flat_lines;
use super::state::State;

impl State {
    pub(crate) fn cancel_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let settle = params.boolean("invoice_now")?.unwrap_or(false);
        params.boolean("prorate")?;
        params.optional("cancellation_details[comment]");
        params.optional("cancellation_details[feedback]");
        params.finish()?;
        let subscription = self
            .subscriptions
            .get(id)
            .filter(|subscription| !is_over(subscription))
            .cloned()
            .ok_or_else(|| Refusal::missing(404, "id", "subscription", id))?;
        if settle {
            self.settle_usage(&subscription);
        }
        self.end_subscription(id, self.now.timestamp());
        Ok(self.subscriptions[id].clone())
    }

    /// Bills the usage that was told and not billed yet.
    pub(crate) fn settle_usage(&mut self, subscription: &Value) {
        let lines = self.usage_lines(subscription);
        if lines.iter().all(|line| line["amount"] == 0) {
            return;
        }
        let drawn = self.draw_invoice(&text(subscription, "id"), "subscription_cycle", lines);
        let draft = self.invoices[&drawn].clone();
        self.tell("invoice.created", &draft);
        if self.declining {
            let invoice = self.decline_invoice(&drawn);
            self.tell("invoice.payment_failed", &invoice);
        } else {
            let invoice = self.pay_invoice(&drawn);
            self.tell("invoice.paid", &invoice);
        }
    }

    /// The subscription is over, and so is what was planned for it.
    pub(crate) fn end_subscription(&mut self, id: &str, ended_at: i64) {
        let now = self.now.timestamp();
        let subscription = self
            .subscriptions
            .get_mut(id)
            .unwrap_or_else(|| panic!("no subscription {id}"));
        subscription["status"] = json!("canceled");
        if subscription["canceled_at"].is_null() {
            subscription["canceled_at"] = json!(now);
        }
        subscription["cancellation_details"]["reason"] = json!("cancellation_requested");
        subscription["ended_at"] = json!(ended_at);
        subscription["pending_update"] = Value::Null;
        let schedule = subscription["schedule"].take();
        let subscription = subscription.clone();
        if let Some(schedule) = schedule.as_str() {
            let schedule = self
                .schedules
                .get_mut(schedule)
                .expect("what is attached exists");
            schedule["status"] = json!("canceled");
            schedule["canceled_at"] = json!(now);
            schedule["current_phase"] = Value::Null;
            let schedule = schedule.clone();
            self.tell("subscription_schedule.canceled", &schedule);
        }
        self.tell("customer.subscription.deleted", &subscription);
    }

    pub(crate) fn resume_subscription(
        &mut self,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let anchor = params.choice("billing_cycle_anchor[type]", &["now", "unchanged"])?;
        params.choice(
            "proration_behavior",
            &["always_invoice", "create_prorations", "none"],
        )?;
        params.finish()?;
        let before = self
            .subscriptions
            .get(id)
            .cloned()
            .ok_or_else(|| Refusal::missing(404, "id", "subscription", id))?;
        if before["status"] != "paused" {
            let message = format!(
                "You can only resume a subscription that is paused. The status of this one is {}.",
                text(&before, "status")
            );
            return Err(Refusal::invalid(None, "subscription", message));
        }
        let mut after = before.clone();
        after["status"] = json!("active");
        let mut paid = None;
        if anchor.as_deref() != Some("unchanged") {
            let now = self.now.timestamp();
            after["billing_cycle_anchor"] = json!(now);
            for item in items_mut(&mut after) {
                item["current_period_start"] = json!(now);
                item["current_period_end"] = json!(next_period_end(now, now, &item["price"]));
            }
            let drawn = self.draw_invoice(id, "subscription_update", flat_lines(&after));
            after["latest_invoice"] = json!(drawn);
            if self.declining {
                // It stays paused until somebody pays.
                let invoice = self.decline_invoice(&drawn);
                self.tell("invoice.payment_failed", &invoice);
                return Ok(self.subscriptions[id].clone());
            }
            paid = Some(self.pay_invoice(&drawn));
        }
        self.store_changed(&before, &after);
        self.tell("customer.subscription.resumed", &after);
        if let Some(invoice) = paid {
            self.tell("invoice.paid", &invoice);
        }
        Ok(after)
    }
}
