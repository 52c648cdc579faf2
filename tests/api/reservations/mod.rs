//! Reservations over HTTP.

mod admission;
mod expiry;
mod refusals;
mod repetition;
mod settlement;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::usage_of;

const RUNS: &str = "attribution_runs";

/// A body about acme's runs with some members set or added.
fn runs(changes: Value) -> Value {
    with(json!({"customer_id": "acme", "feature": RUNS}), changes)
}

fn with(mut body: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    body.as_object_mut().unwrap().extend(changes);
    body
}

async fn try_reserve(app: &TestApp, body: Value) -> Answer {
    app.post("/reservations").json(body).send().await
}

async fn reserve(app: &TestApp, body: Value) -> Value {
    try_reserve(app, body).await.expect(201)
}

/// Holds so many of acme's runs for a time. Returns the reservation's id.
async fn hold(app: &TestApp, quantity: i64, ttl_seconds: i64) -> String {
    let body = json!({"quantity": quantity, "ttl_seconds": ttl_seconds});
    id_of(&reserve(app, runs(body)).await)
}

fn id_of(reservation: &Value) -> String {
    reservation["id"].as_str().unwrap().to_owned()
}

async fn settle(app: &TestApp, id: &str, verb: &str, body: Value) -> Answer {
    let path = format!("/reservations/{id}/{verb}");
    app.post(&path).json(body).send().await
}

/// Acme commits all of it.
async fn commit(app: &TestApp, id: &str) -> Answer {
    settle(app, id, "commit", json!({"customer_id": "acme"})).await
}

/// Acme commits some of it.
async fn commit_part(app: &TestApp, id: &str, quantity: i64) -> Answer {
    let body = json!({"customer_id": "acme", "quantity": quantity});
    settle(app, id, "commit", body).await
}

async fn release(app: &TestApp, id: &str) -> Answer {
    settle(app, id, "release", json!({"customer_id": "acme"})).await
}

/// Acme's reservation as it stands.
async fn shown(app: &TestApp, id: &str) -> Value {
    let path = format!("/reservations/{id}?customer_id=acme");
    app.get(&path).send().await.ok()
}

async fn try_consume(app: &TestApp, feature: &str, quantity: i64) -> Answer {
    let body = json!({"customer_id": "acme", "feature": feature, "quantity": quantity});
    app.post("/entitlements/consume").json(body).send().await
}

/// What acme has used and what is held of a feature, as `GET /usage` tells.
async fn used_and_held(app: &TestApp, feature: &str) -> (i64, i64) {
    let metric = usage_of(app, "acme", feature).await;
    (
        metric["used"].as_i64().unwrap(),
        metric["held"].as_i64().unwrap(),
    )
}

/// What has become of a reservation, with the quantity that was committed.
fn outcome(reservation: &Value) -> (&str, Option<i64>) {
    (
        reservation["state"].as_str().unwrap(),
        reservation["committed_quantity"].as_i64(),
    )
}

fn is_replay(answer: &Answer) -> bool {
    match answer.header("idempotency-replayed") {
        None => false,
        Some("true") => true,
        Some(other) => panic!("{other}"),
    }
}

/// An instant as bodies have it.
fn written(instant: DateTime<Utc>) -> Value {
    serde_json::to_value(instant).unwrap()
}

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}
