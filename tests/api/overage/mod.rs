//! Usage above a limit: owed from the transaction on that counts it, told once, corrected, and found again after anything that can go wrong.

mod accrual;
mod comparing;
mod corrections;
mod histories;
mod operators;
mod telling;
mod trouble;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use plangate::service::usage_reports::tell_due;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{consume, subscribe};

const RUNS: &str = "attribution_runs";
/// Runs a month on scale.
const LIMIT: i64 = 25_000;
/// How long what is owed gathers.
const GATHERS: TimeDelta = TimeDelta::seconds(15);

/// An application whose customer `acme` is on scale and has used all that it includes.
async fn at_the_limit() -> TestApp {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT).await;
    app
}

/// Tells all that is due.
async fn tell(app: &TestApp) {
    while tell_due(app.context()).await.unwrap() > 0 {}
}

/// Lets pass what it takes, and tells.
async fn gather_and_tell(app: &TestApp) {
    app.advance(GATHERS);
    tell(app).await;
}

/// What the provider calls its only customer.
fn customer(app: &TestApp) -> String {
    let customers = app.stripe().customers();
    customers[0]["id"].as_str().unwrap().to_owned()
}

/// The units that the provider bills `acme`.
fn billed(app: &TestApp) -> i64 {
    app.stripe().meter_total(&customer(app))
}

async fn adjust(app: &TestApp, delta: i64, key: &str) -> Answer {
    let body = json!({"customer_id": "acme", "feature": RUNS, "delta": delta, "reason": "a ticket",
                      "idempotency_key": key});
    app.post("/admin/usage/adjust").json(body).send().await
}

async fn record(app: &TestApp, id: &str, quantity: i64, occurred_at: Option<&str>) -> Value {
    let mut event = json!({"id": id, "customer_id": "acme", "feature": RUNS, "quantity": quantity});
    if let Some(at) = occurred_at {
        event["occurred_at"] = json!(at);
    }
    let body = json!({"events": [event]});
    let results = app.post("/usage").json(body).send().await.ok();
    results["results"][0]["status"].clone()
}

async fn reconcile(app: &TestApp, repair: bool) -> Value {
    let body = json!({"customer_id": "acme", "repair": repair});
    app.post("/admin/reconcile-usage")
        .json(body)
        .send()
        .await
        .ok()
}

fn run(app: &TestApp, statement: &str) {
    diesel::sql_query(statement)
        .execute(&mut app.connect())
        .unwrap();
}

/// A report as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
    #[diesel(sql_type = Timestamptz)]
    period_start: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    period_end: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    told_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Timestamptz)]
    next_attempt_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
}

/// Every report, in the order in which they were made.
fn rows(app: &TestApp) -> Vec<Row> {
    diesel::sql_query("SELECT * FROM usage_reports ORDER BY report_id")
        .load(&mut app.connect())
        .unwrap()
}

/// States and quantities of every report.
fn reports(app: &TestApp) -> Vec<(String, i64)> {
    let rows = rows(app).into_iter();
    rows.map(|row| (row.state, row.quantity)).collect()
}

fn assert_reports(app: &TestApp, expected: &[(&str, i64)]) {
    let reports = reports(app);
    let reports: Vec<_> = reports
        .iter()
        .map(|(state, quantity)| (state.as_str(), *quantity))
        .collect();
    assert_eq!(reports, expected);
}
