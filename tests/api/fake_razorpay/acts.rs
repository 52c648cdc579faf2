//! What happens at Razorpay without a request: customers pay or do not, time passes, banks want money back.
//!
//! Every act returns the events of it, in the order in which they happened.

use serde_json::{Value, json};

use super::events::{FakeEvent, sign};
use super::params::{Params, Refusal};
use super::state::{State, text};
use super::{FakeRazorpay, KEY_SECRET};

impl FakeRazorpay {
    /// The customer goes through the hosted page: authenticated, activated, charged. With a start that is yet to come it is authenticated
    /// only. Declined, it stays as it was.
    pub(crate) fn pay_checkout(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.pay_checkout(subscription))
    }

    /// The start that was ahead has come: activated, charged. One that nobody authorized expires without an event.
    pub(crate) fn begin(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.begin(subscription))
    }

    /// The cycle ends: charged for the next one, or ended where that was asked for, or completed with the last one. The fake's clock stays
    /// where it is.
    pub(crate) fn end_period(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.end_period(subscription))
    }

    /// The cycle ends and the next one is not paid: pending.
    pub(crate) fn fail_renewal(&self, subscription: &str) -> Vec<FakeEvent> {
        self.decline_payments(true);
        let events = self.end_period(subscription);
        self.decline_payments(false);
        events
    }

    /// A payment that was tried again failed again: pending, once more.
    pub(crate) fn fail_retry(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.fall_behind(subscription))
    }

    /// Every retry failed: halted.
    pub(crate) fn halt(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.halt(subscription))
    }

    /// What was overdue is paid after all: charged, activated.
    pub(crate) fn pay_overdue(&self, subscription: &str) -> Vec<FakeEvent> {
        self.act(|state| state.pay_overdue(subscription))
    }

    /// Somebody pauses it in the dashboard.
    pub(crate) fn pause(&self, subscription: &str) -> Vec<FakeEvent> {
        self.in_the_dashboard(json!({"pause_at": "now"}), |state, params| {
            state.pause_subscription(subscription, params)
        })
    }

    /// Somebody resumes it in the dashboard.
    pub(crate) fn resume(&self, subscription: &str) -> Vec<FakeEvent> {
        self.in_the_dashboard(json!({"resume_at": "now"}), |state, params| {
            state.resume_subscription(subscription, params)
        })
    }

    /// Somebody ends it in the dashboard, at once.
    pub(crate) fn cancel(&self, subscription: &str) -> Vec<FakeEvent> {
        self.in_the_dashboard(json!({}), |state, params| {
            state.cancel_subscription(subscription, params)
        })
    }

    /// Nobody authorized it in time. No event tells.
    pub(crate) fn expire(&self, subscription: &str) {
        let events = self.act(|state| {
            assert_eq!(state.subscription_mut(subscription)["status"], "created");
            state.end_subscription(subscription, "expired", state.timestamp())
        });
        assert_eq!(events, []);
    }

    /// Changes a subscription in any way. Returns `subscription.updated`.
    pub(crate) fn update_subscription(
        &self,
        subscription: &str,
        change: impl FnOnce(&mut Value),
    ) -> Vec<FakeEvent> {
        self.act(|state| {
            change(state.subscription_mut(subscription));
            state.tell_subscription("subscription.updated", subscription);
        })
    }

    /// Somebody gives money back in the dashboard, all that is left without an amount: `refund.created`, `refund.processed`.
    pub(crate) fn refund_payment(&self, payment: &str, amount: Option<i64>) -> Vec<FakeEvent> {
        let body = amount.map_or_else(|| json!({}), |amount| json!({"amount": amount}));
        self.in_the_dashboard(body, |state, params| state.refund(payment, params))
    }

    /// The payer's bank claims a payment back. Returns the dispute's id, too.
    pub(crate) fn dispute_open(&self, payment: &str) -> (String, Vec<FakeEvent>) {
        let mut id = String::new();
        let events = self.act(|state| id = state.open_dispute(payment));
        (id, events)
    }

    /// The money is gone.
    pub(crate) fn dispute_lost(&self, dispute: &str) -> Vec<FakeEvent> {
        self.act(|state| state.close_dispute(dispute, "lost"))
    }

    /// The money stays.
    pub(crate) fn dispute_won(&self, dispute: &str) -> Vec<FakeEvent> {
        self.act(|state| state.close_dispute(dispute, "won"))
    }

    /// Somebody pays the link.
    pub(crate) fn pay_link(&self, link: &str) -> Vec<FakeEvent> {
        self.act(|state| state.pay_link(link))
    }

    /// Nobody paid the link in time.
    pub(crate) fn expire_link(&self, link: &str) -> Vec<FakeEvent> {
        self.act(|state| state.close_link(link, "expired"))
    }

    /// Somebody takes the link back in the dashboard.
    pub(crate) fn cancel_link(&self, link: &str) -> Vec<FakeEvent> {
        self.act(|state| state.close_link(link, "cancelled"))
    }

    /// The events of what the API was asked to do and of time that passed, since they were last taken.
    pub(crate) fn take_events(&self) -> Vec<FakeEvent> {
        std::mem::take(&mut self.state().untold)
    }

    /// What the scripts in a browser hand over when a subscription's payment is made.
    pub(crate) fn checkout_signature(payment: &str, subscription: &str) -> String {
        sign(&format!("{payment}|{subscription}"), KEY_SECRET)
    }

    /// What the browser brings along from a payment link that is paid.
    pub(crate) fn link_signature(&self, link: &str) -> String {
        let link = self.state().links[link].clone();
        let payment = text(&link["payments"][0], "payment_id");
        let parts = ["id", "reference_id", "status"].map(|name| text(&link, name));
        sign(&format!("{}|{payment}", parts.join("|")), KEY_SECRET)
    }

    /// Somebody does what the API can do.
    fn in_the_dashboard(
        &self,
        body: Value,
        act: impl FnOnce(&mut State, Params) -> Result<Value, Refusal>,
    ) -> Vec<FakeEvent> {
        let params = Params::of_body(&body).expect("it is an object");
        self.act(|state| act(state, params).unwrap_or_else(|refusal| panic!("{}", refusal.body)))
    }

    /// Does something and keeps the events of it from [`FakeRazorpay::take_events`].
    fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> Vec<FakeEvent> {
        let mut state = self.state();
        let told = state.untold.len();
        act(&mut state);
        state.untold.split_off(told)
    }
}
