//! Subscriptions that end because money went back, because there are two, or because the customer is gone at the provider.

mod customers;
mod duplicates;
mod refunds;
mod reversals;

use diesel::prelude::*;
use plangate::service::apply_event::end_next;
use serde_json::{Value, json};

use crate::support::app::TestApp;

/// The events come, and are applied.
async fn news<'a>(app: &TestApp, events: impl IntoIterator<Item = &'a Value>) {
    app.deliver(events).await;
    app.apply_webhooks().await;
}

/// Ends every subscription that is due to end, as the job would.
async fn end_due(app: &TestApp) {
    while end_next(app.context()).await.unwrap() {}
}

/// What Stripe tells of what it was asked to do comes, and is applied.
async fn echoes(app: &TestApp) {
    let events = app.stripe().take_events();
    news(app, &events).await;
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

/// One end that was noted.
#[derive(Debug, PartialEq, QueryableByName)]
struct Ending {
    #[diesel(sql_type = diesel::sql_types::Text)]
    reason: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    state: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    refund: bool,
    #[diesel(sql_type = diesel::sql_types::Integer)]
    attempts: i32,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
    error: Option<String>,
}

/// What is noted of the end of a subscription.
fn ending(app: &TestApp, subscription: &str) -> Option<Ending> {
    diesel::sql_query(
        "SELECT reason, state, refund, attempts, error FROM subscription_endings WHERE provider_subscription_id = $1",
    )
    .bind::<diesel::sql_types::Text, _>(subscription)
    .get_result(&mut app.connect())
    .optional()
    .unwrap()
}

/// What we did of our own accord, oldest first: action, target and details.
async fn audited(app: &TestApp) -> Vec<(String, String, Value)> {
    let page = app.get("/admin/audit?limit=100").send().await.ok();
    let rows = page["data"].as_array().unwrap().iter().rev();
    let ours = rows.filter(|row| row["actor"] == "plangate");
    ours.map(|row| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("action"), text("target"), row["details"].clone())
    })
    .collect()
}

/// The amounts that went back, refunds that failed left out.
fn given_back(app: &TestApp) -> Vec<i64> {
    let refunds = app.stripe().refunds();
    let worked = refunds.iter().filter(|refund| refund["status"] != "failed");
    worked
        .map(|refund| refund["amount"].as_i64().unwrap())
        .collect()
}
