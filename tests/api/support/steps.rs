//! Steps that many tests take on their way to what they prove.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use plangate::store::clock::Clock as _;
use plangate::store::counters;
use serde_json::{Value, json};

use super::app::TestApp;

/// An operator grants the plan. Returns the subscription.
pub(crate) async fn grant(app: &TestApp, customer: &str, tier: &str) -> Value {
    let body = json!({"customer_id": customer, "plan_tier": tier, "reason": "a test"});
    app.post("/admin/subscriptions")
        .json(body)
        .send()
        .await
        .expect(201)
}

/// Consumes what is allowed. Returns the decision.
pub(crate) async fn consume(app: &TestApp, customer: &str, feature: &str, quantity: i64) -> Value {
    let body = json!({"customer_id": customer, "feature": feature, "quantity": quantity});
    app.post("/entitlements/consume")
        .json(body)
        .send()
        .await
        .ok()
}

/// One counter of `GET /usage`.
pub(crate) async fn usage_of(app: &TestApp, customer: &str, feature: &str) -> Value {
    let path = format!("/usage?customer_id={customer}");
    let usage = app.get(&path).send().await.ok();
    let metrics = usage["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|metric| metric["feature"] == feature);
    found.unwrap_or_else(|| panic!("{usage}")).clone()
}

/// The customer buys the plan at the fake Stripe, and every event of it is applied. Returns the subscription's id.
pub(crate) async fn subscribe(app: &TestApp, customer: &str, tier: &str) -> String {
    let events = pay(app, customer, tier).await;
    app.deliver(&events).await;
    app.apply_webhooks().await;
    subscription_id(&events)
}

/// The customer pays for the plan, and the service does not know of it yet. Returns the events.
pub(crate) async fn pay(app: &TestApp, customer: &str, tier: &str) -> Vec<Value> {
    let order = json!({"customer_id": customer, "plan_tier": tier});
    let checkout = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await
        .expect(201);
    app.stripe()
        .complete_checkout(checkout["session_id"].as_str().unwrap())
}

/// The subscription that the events of a checkout are about.
pub(crate) fn subscription_id(events: &[Value]) -> String {
    let id = &events[0]["data"]["object"]["id"];
    id.as_str().unwrap().to_owned()
}

/// Puts the time of the service and of the provider to an instant.
pub(crate) fn travel(app: &TestApp, to: &str) {
    app.advance(at(to) - app.clock.now());
}

/// Reads an instant.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Every counter is the sum of its ledger rows.
pub(crate) fn assert_counters_equal_ledger(app: &TestApp) {
    assert_eq!(counters::drifts(&mut app.connect(), None).unwrap(), []);
}

/// One number that a statement counts.
pub(crate) fn count(app: &TestApp, statement: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let statement = format!("SELECT ({statement})::bigint AS n");
    let row: Row = diesel::sql_query(statement)
        .get_result(&mut app.connect())
        .unwrap();
    row.n
}
