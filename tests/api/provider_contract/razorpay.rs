//! Razorpay's side of the contract.

use plangate::domain::provider_event::ProviderName;
use serde_json::Value;

use super::Side;
use crate::fake_razorpay::FakeEvent;
use crate::support::app::TestApp;

pub(crate) struct RazorpaySide;

impl Side for RazorpaySide {
    type Event = FakeEvent;
    const NAME: ProviderName = ProviderName::Razorpay;

    async fn open() -> TestApp {
        TestApp::with_razorpay().await
    }

    async fn send(app: &TestApp, events: &[FakeEvent]) {
        app.deliver_razorpay(events).await;
    }

    fn news(app: &TestApp) -> Vec<FakeEvent> {
        app.razorpay().take_events()
    }

    /// The session is the subscription.
    fn pay(app: &TestApp, session: &str) -> (String, Vec<FakeEvent>) {
        (session.to_owned(), app.razorpay().pay_checkout(session))
    }

    fn end_period(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        let razorpay = app.razorpay();
        match razorpay.subscription(subscription)["status"].as_str() {
            // What comes before its first period ends there.
            Some("authenticated") => razorpay.begin(subscription),
            _ => razorpay.end_period(subscription),
        }
    }

    fn fail(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        app.razorpay().fail_renewal(subscription)
    }

    fn give_up(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        app.razorpay().halt(subscription)
    }

    fn recover(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        app.razorpay().pay_overdue(subscription)
    }

    fn pause(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        app.razorpay().pause(subscription)
    }

    fn end(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        app.razorpay().cancel(subscription)
    }

    fn refund(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        let razorpay = app.razorpay();
        razorpay.refund_payment(&razorpay.payment_of(subscription), None)
    }

    fn lose_dispute(app: &TestApp, subscription: &str) -> Vec<FakeEvent> {
        let razorpay = app.razorpay();
        let (dispute, mut events) = razorpay.dispute_open(&razorpay.payment_of(subscription));
        events.extend(razorpay.dispute_lost(&dispute));
        events
    }

    /// The new plan is a new subscription, which is paid at the page that the answer names.
    fn agree_to_change(app: &TestApp, answer: &Value) -> (String, Vec<FakeEvent>) {
        let url = answer["checkout_url"].as_str().unwrap();
        let all = app.razorpay().subscriptions();
        let new = all.iter().find(|new| new["short_url"] == url).unwrap();
        let id = new["id"].as_str().unwrap();
        (id.to_owned(), app.razorpay().pay_checkout(id))
    }
}
