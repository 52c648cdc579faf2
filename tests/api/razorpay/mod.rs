//! The service over a Razorpay, which keeps less than Stripe does: what it lacks is kept here.

mod cancel;
mod intended_ends;
mod life;
mod moving;
mod polling;
mod portal;
mod sales;
mod verify_payment;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::usage_of;

/// The customer goes to the provider's page for the plan. Returns the session, which is the subscription.
async fn order(app: &TestApp, customer: &str, tier: &str) -> String {
    let order = json!({"customer_id": customer, "plan_tier": tier, "provider": "razorpay"});
    let checkout = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await
        .expect(201);
    checkout["session_id"].as_str().unwrap().to_owned()
}

/// The customer buys the plan, and every event of it is applied. Returns the subscription's id.
async fn buy(app: &TestApp, customer: &str, tier: &str) -> String {
    let id = order(app, customer, tier).await;
    app.deliver_razorpay(&app.razorpay().pay_checkout(&id))
        .await;
    app.apply_webhooks().await;
    id
}

/// What the fake has to tell is delivered and applied.
async fn hear(app: &TestApp) {
    app.deliver_razorpay(&app.razorpay().take_events()).await;
    app.apply_webhooks().await;
}

/// Asks for one of billing's operations on the subscription of `acme`.
async fn ask(app: &TestApp, operation: &str, body: Value) -> Answer {
    let mut body = body;
    body["customer_id"] = json!("acme");
    app.post(&format!("/billing/{operation}"))
        .json(body)
        .send()
        .await
}

/// The subscription of `acme` as it is stored.
async fn stored(app: &TestApp) -> Value {
    let path = "/billing/subscription?customer_id=acme";
    app.get(path).send().await.ok()
}

/// The limit of runs in force for `acme`.
async fn runs(app: &TestApp) -> Value {
    usage_of(app, "acme", "attribution_runs").await["limit"].clone()
}
