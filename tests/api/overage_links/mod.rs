//! Usage above a limit at a provider without meters: asked for with one payment link after its period's end, settled once, and found again
//! after anything that can go wrong.

mod closing;
mod histories;
mod settling;
mod trouble;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::service::context::Context;
use plangate::service::overage_invoices::bill_next;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::app::TestApp;
use crate::support::steps::{at, consume, travel};

const RUNS: &str = "attribution_runs";
const MESSAGES: &str = "messages";
/// Runs and messages a month on scale.
const LIMIT: i64 = 100;
/// The first period of whoever subscribes when a test begins ends then.
const CLOSE: &str = "2026-02-12T00:00:00Z";
/// How long after it closed a period is billed.
const CLOSED_FOR: TimeDelta = TimeDelta::minutes(5);

/// A catalogue whose scale plan bills runs and messages above the limit at these prices in paise; without one of runs, in dollars alone.
fn catalogue(run: Option<&str>) -> NamedTempFile {
    let mut catalogue: Value =
        serde_json::from_str(include_str!("../../../catalogue/default.json")).unwrap();
    let feature = json!({"key": MESSAGES, "name": "Messages", "kind": "metered"});
    catalogue["features"].as_array_mut().unwrap().push(feature);
    let prices = |inr: Option<&str>| {
        let mut prices = vec![json!({"currency": "usd", "unit_amount_decimal": "1"})];
        prices.extend(inr.map(|price| json!({"currency": "inr", "unit_amount_decimal": price})));
        json!({"limit": LIMIT, "overage": {"max_quantity": null, "prices": prices}})
    };
    for tier in catalogue["tiers"].as_array_mut().unwrap() {
        tier["limits"][MESSAGES] = json!(1);
    }
    catalogue["tiers"][2]["limits"][RUNS] = prices(run);
    catalogue["tiers"][2]["limits"][MESSAGES] = prices(Some("0.75"));
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    file
}

/// An application that sells through a fake Razorpay, with a run above the limit at 82.5 paise and a message at 0.75.
async fn selling() -> TestApp {
    selling_at(Some("82.5")).await
}

async fn selling_at(run: Option<&str>) -> TestApp {
    let file = catalogue(run);
    TestApp::builder()
        .with_razorpay()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .start()
        .await
}

/// An application whose customer `acme` is on scale and has used all that it includes.
async fn at_the_limit() -> TestApp {
    let app = selling().await;
    let profile = json!({"name": "Acme", "email": "billing@acme.example"});
    app.put("/customers/acme")
        .json(profile)
        .send()
        .await
        .expect(201);
    subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT).await;
    consume(&app, "acme", MESSAGES, LIMIT).await;
    app
}

/// The customer buys the plan at the fake Razorpay, and every event of it is applied. Returns the subscription's id.
async fn subscribe(app: &TestApp, customer: &str, tier: &str) -> String {
    let order = json!({"customer_id": customer, "plan_tier": tier, "provider": "razorpay"});
    let checkout = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await
        .expect(201);
    let id = checkout["session_id"].as_str().unwrap().to_owned();
    let events = app.razorpay().pay_checkout(&id);
    app.deliver_razorpay(&events).await;
    app.apply_webhooks().await;
    id
}

/// The same service with a provider that gives up sooner.
fn impatient(app: &TestApp) -> Context {
    let mut context = app.context().clone();
    let retry = RetryPolicy {
        attempts: 2,
        base_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(5),
        budget: Duration::from_secs(15),
    };
    context.storefronts[0].provider = Arc::new(app.razorpay().provider(Timeouts::default(), retry));
    context
}

/// Bills all that is due.
async fn bill(app: &TestApp) {
    bill_with(app.context()).await;
}

async fn bill_with(context: &Context) {
    while bill_next(context).await.unwrap() {}
}

/// The first period is over, and is billed.
async fn close(app: &TestApp) {
    travel(app, CLOSE);
    app.advance(CLOSED_FOR);
    bill(app).await;
}

/// What the links at the provider ask for.
fn asked(app: &TestApp) -> Vec<i64> {
    let links = app.razorpay().links();
    links
        .iter()
        .map(|link| link["amount"].as_i64().unwrap())
        .collect()
}

/// The provider's id of the only link.
fn only_link(app: &TestApp) -> String {
    let links = app.razorpay().links();
    assert_eq!(links.len(), 1, "{links:?}");
    links[0]["id"].as_str().unwrap().to_owned()
}

/// What of overage is shown to a frontend.
async fn warnings(app: &TestApp) -> Vec<String> {
    let shown = app.get("/plan-context?customer_id=acme").send().await.ok();
    let warnings = shown["warnings"].as_array().unwrap().iter();
    warnings
        .filter(|warning| warning["kind"] == "overage_due")
        .map(|warning| {
            let word = |name: &str| warning[name].as_str().unwrap();
            format!("{} {}", word("message"), word("url"))
        })
        .collect()
}

/// An invoice as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = Nullable<Text>)]
    provider_link_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    payment_id: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    paid_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    next_attempt_at: DateTime<Utc>,
}

/// Every invoice, in the order in which they were sealed.
fn invoices(app: &TestApp) -> Vec<Row> {
    diesel::sql_query("SELECT * FROM overage_invoices ORDER BY invoice_id")
        .load(&mut app.connect())
        .unwrap()
}

/// The only invoice.
fn invoice(app: &TestApp) -> Row {
    let invoices = invoices(app);
    assert_eq!(invoices.len(), 1, "{invoices:?}");
    invoices[0].clone()
}

/// States and quantities of every report, and whether it is on an invoice, by feature and period.
fn reports(app: &TestApp) -> Vec<(String, i64, bool)> {
    #[derive(QueryableByName)]
    struct Report {
        #[diesel(sql_type = Text)]
        state: String,
        #[diesel(sql_type = BigInt)]
        quantity: i64,
        #[diesel(sql_type = diesel::sql_types::Bool)]
        invoiced: bool,
    }
    let statement = "SELECT state, quantity, invoice_id IS NOT NULL AS invoiced FROM usage_reports \
                     ORDER BY metric_name, period_start, report_id";
    let rows: Vec<Report> = diesel::sql_query(statement)
        .load(&mut app.connect())
        .unwrap();
    rows.into_iter()
        .map(|row| (row.state, row.quantity, row.invoiced))
        .collect()
}

/// Usage that happened then, whatever the limit. Returns what became of it.
async fn record(app: &TestApp, id: &str, quantity: i64, occurred_at: DateTime<Utc>) -> Value {
    let event = json!({"id": id, "customer_id": "acme", "feature": RUNS, "quantity": quantity,
                       "occurred_at": occurred_at});
    let results = app.post("/usage").json(json!({"events": [event]})).send();
    results.await.ok()["results"][0]["status"].clone()
}

/// How long until the provider is asked again.
fn wait(app: &TestApp) -> TimeDelta {
    invoice(app).next_attempt_at - app.clock.now()
}

/// The instant so long after the first period's end.
fn after_close(time: TimeDelta) -> DateTime<Utc> {
    at(CLOSE) + time
}
