//! What happens at Stripe without a request: customers pay or do not, time passes, banks want money back.
//!
//! Every act returns the events of it, in the order in which they happened.

use serde_json::{Value, json};

use super::meters::MeterEvent;
use super::objects::text;
use super::state::State;
use super::{FakeStripe, old_shape};

impl FakeStripe {
    /// The customer goes through the checkout and pays, or begins the trial: a subscription with one item per line
    /// begins at the fake's clock with a period of a month.
    pub(crate) fn complete_checkout(&self, session_id: &str) -> Vec<Value> {
        self.act(|state| state.complete_checkout(session_id)).1
    }

    /// The session expires unpaid. Returns the event.
    pub(crate) fn let_checkout_expire(&self, session_id: &str) -> Value {
        let (expired, mut events) = self.act(|state| state.expire_session(session_id));
        expired.expect("only an open session expires");
        events.remove(0)
    }

    /// Changes a subscription in any way. Returns the `customer.subscription.updated` event.
    pub(crate) fn update_subscription(&self, id: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut state = self.state();
        let subscription = state
            .subscriptions
            .get_mut(id)
            .unwrap_or_else(|| panic!("no subscription {id}"));
        change(subscription);
        let subscription = subscription.clone();
        state.event("customer.subscription.updated", &subscription)
    }

    /// Whether invoices of the subscription are kept from being paid; its status stays. Returns the event.
    pub(crate) fn pause_collection(&self, id: &str, paused: bool) -> Value {
        self.update_subscription(id, |s| {
            s["pause_collection"] = if paused {
                json!({"behavior": "void", "resumes_at": null})
            } else {
                Value::Null
            };
        })
    }

    /// The subscription's period ends: it ends with it if that was set, takes the next phase of its schedule on, or is
    /// renewed and paid. The fake's clock stays where it is.
    pub(crate) fn end_period(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.end_period(id)).1
    }

    /// Moves every item of the subscription on by one period, paid; what was overdue is paid, too.
    pub(crate) fn renew_subscription(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.pay_renewal(id)).1
    }

    /// A renewal is not paid: the subscription is past due.
    pub(crate) fn fail_payment(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.fail_payment(id)).1
    }

    /// The subscription's period ends and the next one is not paid: the subscription is past due.
    pub(crate) fn fail_renewal(&self, id: &str) -> Vec<Value> {
        self.decline_payments(true);
        let events = self.end_period(id);
        self.decline_payments(false);
        events
    }

    /// What was overdue is paid after all.
    pub(crate) fn pay_overdue(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.pay_overdue(id)).1
    }

    /// From now on every card is declined, or none.
    pub(crate) fn decline_payments(&self, declined: bool) {
        self.state().declining = declined;
    }

    /// The customer pays for a change that waited for it.
    pub(crate) fn pay_pending_update(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.pay_pending_update(id)).1
    }

    /// Nobody paid for a change in time.
    pub(crate) fn expire_pending_update(&self, id: &str) -> Vec<Value> {
        self.act(|state| state.expire_pending_update(id)).1
    }

    /// Ends a subscription now. Returns the `customer.subscription.deleted` event.
    pub(crate) fn delete_subscription(&self, id: &str) -> Value {
        let ((), mut events) = self.act(|state| state.end_subscription(id, state.now.timestamp()));
        events.pop().expect("an end is told")
    }

    /// Somebody deletes the customer in the dashboard; their subscriptions end.
    pub(crate) fn delete_customer(&self, id: &str) -> Vec<Value> {
        let (deleted, events) = self.act(|state| state.delete_customer(id, no_params()));
        deleted.expect("the customer exists");
        events
    }

    /// Somebody gives money back in the dashboard, all that is left without an amount.
    pub(crate) fn refund_charge(&self, charge: &str, amount: Option<i64>) -> Vec<Value> {
        let (refund, events) = self.act(|state| state.refund(charge, amount, None, &json!({})));
        refund.expect("there is something to give back");
        events
    }

    /// The bank sends the money of a refund back.
    pub(crate) fn fail_refund(&self, refund: &str) -> Vec<Value> {
        self.act(|state| state.fail_refund(refund)).1
    }

    /// The payer's bank claims the money back. Returns the dispute's id, too.
    pub(crate) fn open_dispute(&self, charge: &str) -> (String, Vec<Value>) {
        self.act(|state| state.open_dispute(charge))
    }

    /// The dispute of a payment.
    pub(crate) fn dispute_of(&self, charge: &str) -> String {
        let state = self.state();
        let mut disputes = state.disputes.values();
        let found = disputes.find(|dispute| dispute["charge"] == charge);
        super::objects::text(found.expect("the payment is disputed"), "id")
    }

    /// The dispute is decided: `won` or `lost`.
    pub(crate) fn close_dispute(&self, dispute: &str, status: &str) -> Vec<Value> {
        self.act(|state| state.close_dispute(dispute, status)).1
    }

    /// Usage that was told turns out to be of no use. Returns the thin event; what it means is at `/v2/core/events/{id}`.
    pub(crate) fn meter_error(&self, identifiers: &[&str], code: &str) -> Value {
        self.state().refuse_usage(identifiers, code)
    }

    /// Summaries of the meter do not show what was told in the last so many seconds.
    pub(crate) fn lag_summaries(&self, seconds: i64) {
        self.state().meter.lag = chrono::TimeDelta::seconds(seconds);
    }

    /// The events that requests caused since the last time.
    pub(crate) fn take_events(&self) -> Vec<Value> {
        self.state().events.take_untold(0)
    }

    /// The event as an account with an API version of before 2025-03-31 gets it. From now on it is listed so, too.
    pub(crate) fn in_old_shape(&self, event: &Value) -> Value {
        let mut state = self.state();
        let old = old_shape::render(event, &state);
        state.events.replace(&old);
        old
    }

    /// The subscription's latest charge.
    pub(crate) fn charge_of(&self, subscription: &str) -> String {
        let state = self.state();
        let charges = state.charges.values().rev();
        let mut paid = charges.filter(|charge| {
            state.invoice_of(charge).is_some_and(|invoice| {
                invoice["parent"]["subscription_details"]["subscription"] == subscription
            })
        });
        let charge = paid.next();
        text(charge.expect("something was paid"), "id")
    }

    /// The charges that exist, oldest first.
    pub(crate) fn charges(&self) -> Vec<Value> {
        self.state().charges.values().cloned().collect()
    }

    /// The refunds that exist, oldest first.
    pub(crate) fn refunds(&self) -> Vec<Value> {
        self.state().refunds.values().cloned().collect()
    }

    /// The invoices that exist, oldest first.
    pub(crate) fn invoices(&self) -> Vec<Value> {
        self.state().invoices.values().cloned().collect()
    }

    /// Everything that the meter took, in order.
    pub(crate) fn meter_events(&self) -> Vec<MeterEvent> {
        self.state().meter.events.clone()
    }

    /// The units of the customer that will be billed.
    pub(crate) fn meter_total(&self, customer: &str) -> i64 {
        self.state().meter.total(customer)
    }

    /// Does something and keeps the events of it from [`FakeStripe::take_events`].
    fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> (T, Vec<Value>) {
        let mut state = self.state();
        let told = state.events.untold();
        let done = act(&mut state);
        let events = state.events.take_untold(told);
        (done, events)
    }
}

fn no_params() -> super::params::Params {
    super::params::Params::new(std::collections::BTreeMap::new())
}
