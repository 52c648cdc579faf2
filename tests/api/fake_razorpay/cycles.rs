//! What happens to a subscription as customers pay, or do not, and cycles end.

use serde_json::{Value, json};

use super::payments::Sale;
use super::periods::Cycle;
use super::state::{State, number, text};
use super::subscriptions::{is_over, last_end};

/// How long until a payment that failed is tried again.
const RETRY: i64 = 24 * 60 * 60;

impl State {
    /// The customer authorizes payments on the hosted page; the first one is taken at once unless the start is yet to come.
    pub(crate) fn pay_checkout(&mut self, id: &str) {
        let before = self.subscription_mut(id).clone();
        assert_eq!(before["status"], "created", "{id} can no longer be paid");
        if self.declining {
            self.subscription_mut(id)["auth_attempts"] =
                json!(number(&before, "auth_attempts") + 1);
            self.fail_payment(id);
            return;
        }
        let payer = self.new_id("cust");
        let now = self.timestamp();
        let starts_later = before["start_at"].is_i64();
        let cycle = self.cycle_of(&before);
        let subscription = self.subscription_mut(id);
        subscription["status"] = json!("authenticated");
        subscription["customer_id"] = json!(payer);
        subscription["payment_method"] = json!("card");
        if !starts_later {
            subscription["start_at"] = json!(now);
            subscription["charge_at"] = json!(now);
            let count = number(subscription, "total_count");
            subscription["end_at"] = json!(last_end(cycle, now, count));
        }
        self.tell_subscription("subscription.authenticated", id);
        if !starts_later {
            self.begin(id);
        }
    }

    /// The start has come: the first cycle is paid, or the subscription waits for that; one that nobody authorized expires.
    pub(crate) fn begin(&mut self, id: &str) {
        let before = self.subscription_mut(id).clone();
        if before["status"] == "created" {
            self.end_subscription(id, "expired", self.timestamp());
            return;
        }
        assert_eq!(before["status"], "authenticated", "{id} has begun");
        if self.declining {
            self.fall_behind(id);
            return;
        }
        self.next_cycle(id);
        self.subscription_mut(id)["status"] = json!("active");
        self.tell_subscription("subscription.activated", id);
        self.charge(id);
    }

    /// The current cycle ends: the subscription ends with it, or the next one is paid, or is not.
    pub(crate) fn end_period(&mut self, id: &str) {
        let before = self.subscription_mut(id).clone();
        assert!(!is_over(&before), "no cycle of {id} is left to end");
        if self.ending.contains(id) {
            let end = number(&before, "current_end");
            self.end_subscription(id, "cancelled", end);
            return;
        }
        assert_eq!(before["status"], "active", "{id} is not renewed");
        if self.declining {
            self.fall_behind(id);
            return;
        }
        self.next_cycle(id);
        self.charge(id);
    }

    /// A due payment failed, maybe once more. The cycle stays the one that was paid last.
    pub(crate) fn fall_behind(&mut self, id: &str) {
        let subscription = self.subscription_mut(id);
        let due = subscription["charge_at"].as_i64().unwrap_or_default();
        subscription["status"] = json!("pending");
        subscription["auth_attempts"] = json!(number(subscription, "auth_attempts") + 1);
        subscription["charge_at"] = json!(due + RETRY);
        self.tell_subscription("subscription.pending", id);
    }

    /// It is not tried again.
    pub(crate) fn halt(&mut self, id: &str) {
        let subscription = self.subscription_mut(id);
        assert_eq!(subscription["status"], "pending", "{id} is not behind");
        subscription["status"] = json!("halted");
        subscription["charge_at"] = Value::Null;
        self.tell_subscription("subscription.halted", id);
    }

    /// What was overdue is paid after all.
    pub(crate) fn pay_overdue(&mut self, id: &str) {
        let status = text(self.subscription_mut(id), "status");
        assert!(["pending", "halted"].contains(&status.as_str()), "{status}");
        self.next_cycle(id);
        self.subscription_mut(id)["status"] = json!("active");
        self.charge(id);
        if !is_over(&self.subscriptions[id]) {
            self.tell_subscription("subscription.activated", id);
        }
    }

    fn cycle_of(&self, subscription: &Value) -> Cycle {
        Cycle::of(&self.plans[&text(subscription, "plan_id")], self.whole_days)
    }

    fn next_cycle(&mut self, id: &str) {
        let before = self.subscriptions[id].clone();
        let cycle = self.cycle_of(&before);
        let start = number(&before, "start_at");
        let began = before["current_end"].as_i64().unwrap_or(start);
        let mut ends = (1..).map(|n| cycle.end(start, n));
        let end = ends.find(|end| *end > began).expect("cycles go on");
        let subscription = self.subscription_mut(id);
        subscription["current_start"] = json!(began);
        subscription["current_end"] = json!(end);
        subscription["charge_at"] = json!(end);
        subscription["auth_attempts"] = json!(0);
    }

    /// The current cycle is paid. The last one completes the subscription.
    fn charge(&mut self, id: &str) {
        let subscription = self.subscription_mut(id);
        let paid = number(subscription, "paid_count") + 1;
        let left = number(subscription, "total_count") - paid;
        subscription["paid_count"] = json!(paid);
        subscription["remaining_count"] = json!(left);
        let subscription = subscription.clone();
        let payment = self.sell(&Sale::of_cycle(&subscription));
        self.tell(
            "subscription.charged",
            &[("subscription", &subscription), ("payment", &payment)],
        );
        if left == 0 {
            self.end_subscription(id, "completed", self.timestamp());
        }
    }

    fn fail_payment(&mut self, id: &str) {
        let subscription = self.subscriptions[id].clone();
        let payment = self.failed_payment(&Sale::of_cycle(&subscription));
        self.tell("payment.failed", &[("payment", &payment)]);
    }
}
