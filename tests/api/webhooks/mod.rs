//! Webhooks from delivery to effect, against a provider that delivers late, twice and in any order.

mod delivery;
mod order;
mod patience;
mod permutations;
mod plan_in_force;
mod refusals;
mod table;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use plangate::store::clock::Clock as _;
use plangate::store::schema::webhooks;
use serde_json::{Value, json};

use crate::fake_stripe::Delivery;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::count;

async fn post(app: &TestApp, delivery: &Delivery) -> Answer {
    let call = app.post("/webhook/stripe").anonymous();
    let call = call.header("stripe-signature", &delivery.signature);
    call.body("application/json", delivery.body.clone())
        .send()
        .await
}

async fn deliver(app: &TestApp, event: &Value) -> Value {
    let delivery = app.stripe().sign(event, app.clock.now());
    post(app, &delivery).await.ok()
}

/// An event that is not about anything here.
fn some_event(app: &TestApp) -> Value {
    app.stripe().event(
        "product.created",
        &json!({"id": "prod_1", "object": "product"}),
    )
}

#[derive(Debug, PartialEq)]
struct Kept {
    status: String,
    error: Option<String>,
    attempts: i32,
    next_attempt_at: DateTime<Utc>,
}

fn kept(app: &TestApp, event: &Value) -> Kept {
    let row: (String, Option<String>, i32, DateTime<Utc>) = webhooks::table
        .filter(webhooks::event_id.eq(event["id"].as_str().unwrap()))
        .select((
            webhooks::status,
            webhooks::error,
            webhooks::attempts,
            webhooks::next_attempt_at,
        ))
        .get_result(&mut app.connect())
        .unwrap();
    let (status, error, attempts, next_attempt_at) = row;
    Kept {
        status,
        error,
        attempts,
        next_attempt_at,
    }
}

fn events_kept(app: &TestApp) -> i64 {
    count(app, "SELECT count(*) FROM webhooks")
}

/// The plan part of a decision, and its grace.
async fn standing(app: &TestApp, customer: &str) -> (Value, Value) {
    let body = json!({"customer_id": customer, "feature": "attribution_runs"});
    let decision = app.post("/entitlements/check").json(body).send().await.ok();
    (decision["plan"].clone(), decision["grace"].clone())
}

fn plan(tier: &str, status: &str, source: &str) -> Value {
    json!({"tier": tier, "version": 1, "status": status, "source": source})
}

/// Changes the subscription at the provider, delivers the event and applies it.
async fn change(app: &TestApp, id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let event = app.stripe().update_subscription(id, change);
    deliver(app, &event).await;
    app.apply_webhooks().await;
    event
}
