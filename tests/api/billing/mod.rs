//! Billing over HTTP: plans are bought, changed, cancelled and resumed. What a checkout does is proved in `checkout`.

mod cancel;
mod change_plan;
mod faults;
mod portal;
mod refusals;
mod routes;
mod together;
mod trial;

use serde_json::{Value, json};

use crate::fake_stripe::Endpoint;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::usage_of;

/// Asks for one of billing's operations on the subscription of `acme`.
async fn ask(app: &TestApp, operation: &str, body: Value) -> Answer {
    let mut body = body;
    body["customer_id"] = json!("acme");
    app.post(&format!("/billing/{operation}"))
        .json(body)
        .send()
        .await
}

async fn change(app: &TestApp, tier: &str) -> Answer {
    ask(app, "change-plan", json!({"plan_tier": tier})).await
}

/// The subscription of `acme` as it is stored.
async fn stored(app: &TestApp) -> Value {
    let path = "/billing/subscription?customer_id=acme";
    app.get(path).send().await.ok()
}

/// What the fake has to tell is delivered and applied.
async fn hear(app: &TestApp) {
    let events = app.stripe().take_events();
    app.deliver(&events).await;
    app.apply_webhooks().await;
}

/// The prices of a subscription's items, sorted.
fn prices(app: &TestApp, id: &str) -> Vec<String> {
    let subscription = app.stripe().subscription(id);
    let items = subscription["items"]["data"].as_array().unwrap();
    let mut prices: Vec<String> = items
        .iter()
        .map(|item| item["price"]["id"].as_str().unwrap().to_owned())
        .collect();
    prices.sort();
    prices
}

/// What invoices of this reason came to, oldest first.
fn invoiced(app: &TestApp, reason: &str) -> Vec<i64> {
    let invoices = app.stripe().invoices();
    invoices
        .iter()
        .filter(|invoice| invoice["billing_reason"] == reason)
        .map(|invoice| invoice["total"].as_i64().unwrap())
        .collect()
}

/// How many requests would have changed something at the provider.
fn changes_sent(app: &TestApp) -> usize {
    use Endpoint as E;
    let changing = [
        E::UpdateSubscription,
        E::CancelSubscription,
        E::ResumeSubscription,
        E::CreateSchedule,
        E::UpdateSchedule,
        E::ReleaseSchedule,
    ];
    let requests = app.stripe().requests();
    requests
        .iter()
        .filter(|request| request.endpoint.is_some_and(|at| changing.contains(&at)))
        .count()
}

/// The limit of runs in force.
async fn runs(app: &TestApp) -> Value {
    usage_of(app, "acme", "attribution_runs").await["limit"].clone()
}
