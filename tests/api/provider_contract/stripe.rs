//! Stripe's side of the contract.

use plangate::domain::provider_event::ProviderName;
use serde_json::Value;

use super::Side;
use crate::support::app::TestApp;
use crate::support::steps::subscription_id;

pub(crate) struct StripeSide;

impl Side for StripeSide {
    type Event = Value;
    const NAME: ProviderName = ProviderName::Stripe;

    async fn open() -> TestApp {
        TestApp::with_stripe().await
    }

    async fn send(app: &TestApp, events: &[Value]) {
        app.deliver(events).await;
    }

    fn news(app: &TestApp) -> Vec<Value> {
        app.stripe().take_events()
    }

    fn pay(app: &TestApp, session: &str) -> (String, Vec<Value>) {
        let events = app.stripe().complete_checkout(session);
        (subscription_id(&events), events)
    }

    fn end_period(app: &TestApp, subscription: &str) -> Vec<Value> {
        app.stripe().end_period(subscription)
    }

    fn fail(app: &TestApp, subscription: &str) -> Vec<Value> {
        app.stripe().fail_renewal(subscription)
    }

    fn give_up(app: &TestApp, subscription: &str) -> Vec<Value> {
        let event = app
            .stripe()
            .update_subscription(subscription, |s| s["status"] = "unpaid".into());
        vec![event]
    }

    fn recover(app: &TestApp, subscription: &str) -> Vec<Value> {
        app.stripe().pay_overdue(subscription)
    }

    fn pause(app: &TestApp, subscription: &str) -> Vec<Value> {
        vec![app.stripe().pause_collection(subscription, true)]
    }

    fn end(app: &TestApp, subscription: &str) -> Vec<Value> {
        vec![app.stripe().delete_subscription(subscription)]
    }

    fn refund(app: &TestApp, subscription: &str) -> Vec<Value> {
        let stripe = app.stripe();
        stripe.refund_charge(&stripe.charge_of(subscription), None)
    }

    fn lose_dispute(app: &TestApp, subscription: &str) -> Vec<Value> {
        let stripe = app.stripe();
        let (dispute, mut events) = stripe.open_dispute(&stripe.charge_of(subscription));
        events.extend(stripe.close_dispute(&dispute, "lost"));
        events
    }

    /// It was charged at once.
    fn agree_to_change(app: &TestApp, answer: &Value) -> (String, Vec<Value>) {
        assert!(answer.get("checkout_url").is_none(), "{answer}");
        let id = answer["provider_subscription_id"].as_str().unwrap();
        (id.to_owned(), app.stripe().take_events())
    }
}
