//! What happens at the end of a billing period.

use serde_json::{Value, json};

use super::objects::{advance_periods, instant, is_over, items_mut, period, text};
use super::payments::flat_lines;
use super::state::State;

impl State {
    /// The period of the subscription ends: it ends with it, takes the next phase of its plan on, or is renewed.
    pub(crate) fn end_period(&mut self, id: &str) {
        let waiting = &self.subscriptions[id]["pending_update"];
        if !waiting.is_null() {
            self.expire_pending_update(id);
        }
        let before = self.subscriptions[id].clone();
        assert!(!is_over(&before), "no period of {id} is left to end");
        let (_, end) = period(&before);
        let planned = before["cancel_at"].as_i64();
        if before["cancel_at_period_end"] == true || planned.is_some_and(|at| at <= end) {
            self.settle_usage(&before);
            self.end_subscription(id, planned.unwrap_or(end));
            return;
        }
        match self.next_phase(&before, end) {
            Next::Cancel => {
                self.settle_usage(&before);
                self.end_subscription(id, end);
            }
            Next::Same => self.renew(&before, None),
            Next::Phase(phase) => self.renew(&before, Some(&phase)),
            Next::Release(schedule) => {
                self.release(&schedule);
                let before = self.subscriptions[id].clone();
                self.renew(&before, None);
            }
        }
    }

    /// A period is paid late or in time: the next one begins.
    pub(crate) fn pay_renewal(&mut self, id: &str) {
        for overdue in self.open_invoices(id) {
            self.pay_invoice(&overdue);
        }
        let before = self.subscriptions[id].clone();
        let mut after = before.clone();
        advance_periods(&mut after);
        if after["status"] == "past_due" {
            after["status"] = json!("active");
        }
        self.bill(&before, &mut after);
    }

    /// The invoices that were not paid are, and the subscription is active again.
    pub(crate) fn pay_overdue(&mut self, id: &str) {
        for overdue in self.open_invoices(id) {
            let invoice = self.pay_invoice(&overdue);
            self.tell("invoice.paid", &invoice);
        }
        let before = self.subscriptions[id].clone();
        let mut after = before.clone();
        after["status"] = json!("active");
        self.store_changed(&before, &after);
    }

    /// A renewal cannot be paid. The period stays what it was.
    pub(crate) fn fail_payment(&mut self, id: &str) {
        let before = self.subscriptions[id].clone();
        let drawn = self.draw_invoice(id, "subscription_cycle", flat_lines(&before));
        let invoice = self.decline_invoice(&drawn);
        let mut after = self.subscriptions[id].clone();
        after["status"] = json!("past_due");
        self.tell("invoice.payment_failed", &invoice);
        self.tell("customer.subscription.updated", &after);
        self.subscriptions.insert(id.to_owned(), after);
    }

    fn renew(&mut self, before: &Value, phase: Option<&Value>) {
        let id = text(before, "id");
        let usage = self.usage_lines(before);
        let mut after = before.clone();
        let (_, end) = period(before);
        if let Some(phase) = phase {
            self.enter(&mut after, phase);
            // A new item has its first period now; the others have had theirs.
            for item in items_mut(&mut after) {
                item["current_period_end"] = json!(end);
            }
            self.begin_phase(before, phase);
        }
        advance_periods(&mut after);
        if after["status"] == "trialing" {
            after["status"] = json!("active");
        }
        let mut lines = flat_lines(&after);
        lines.extend(usage);
        let drawn = self.draw_invoice(&id, "subscription_cycle", lines);
        let draft = self.invoices[&drawn].clone();
        after["latest_invoice"] = json!(drawn);
        self.tell("invoice.created", &draft);
        if self.declining && draft["amount_due"] != 0 {
            let invoice = self.decline_invoice(&drawn);
            after["status"] = json!("past_due");
            self.tell("invoice.payment_failed", &invoice);
            self.store_changed(before, &after);
        } else {
            let invoice = self.pay_invoice(&drawn);
            self.store_changed(before, &after);
            self.tell("invoice.paid", &invoice);
        }
    }

    fn bill(&mut self, before: &Value, after: &mut Value) {
        let mut lines = flat_lines(after);
        lines.extend(self.usage_lines(before));
        let drawn = self.draw_invoice(&text(before, "id"), "subscription_cycle", lines);
        after["latest_invoice"] = json!(drawn);
        let invoice = self.pay_invoice(&drawn);
        self.store_changed(before, after);
        self.tell("invoice.paid", &invoice);
    }

    fn begin_phase(&mut self, subscription: &Value, phase: &Value) {
        let schedule = text(subscription, "schedule");
        let before = self.schedules[&schedule].clone();
        let mut after = before.clone();
        after["current_phase"] =
            json!({"start_date": phase["start_date"], "end_date": phase["end_date"]});
        self.schedules.insert(schedule, after.clone());
        self.tell_changed("subscription_schedule.updated", &before, &after);
    }

    fn next_phase(&self, subscription: &Value, end: i64) -> Next {
        let Some(schedule) = subscription["schedule"].as_str() else {
            return Next::Same;
        };
        let object = &self.schedules[schedule];
        if object["current_phase"]["end_date"].as_i64() > Some(end) {
            return Next::Same;
        }
        let phases = object["phases"].as_array().into_iter().flatten();
        let next = phases
            .filter(|phase| instant(number(phase, "end_date")) > instant(end))
            .min_by_key(|phase| number(phase, "start_date"));
        match next {
            Some(phase) => Next::Phase(phase.clone()),
            None if object["end_behavior"] == "cancel" => Next::Cancel,
            None => Next::Release(schedule.to_owned()),
        }
    }
}

/// What a schedule has for the time after a period.
enum Next {
    Same,
    Phase(Value),
    Release(String),
    Cancel,
}

fn number(object: &Value, name: &str) -> i64 {
    object[name].as_i64().unwrap_or_default()
}
