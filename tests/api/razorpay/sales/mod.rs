//! Selling through Razorpay, which has no idempotency keys, shows no intentions, and cannot put a subscription on another plan.

mod change_plan;
mod checkout;
mod racing_tabs;
mod replacing;

use diesel::prelude::*;
use serde_json::{Value, json};

use crate::fake_razorpay::FakeEvent;
use crate::support::app::TestApp;
use crate::support::client::Answer;

/// Asks for a checkout of the plan, for acme.
async fn order(app: &TestApp, tier: &str) -> Answer {
    let order = json!({"customer_id": "acme", "plan_tier": tier, "provider": "razorpay"});
    app.post("/billing/create-checkout")
        .json(order)
        .send()
        .await
}

/// Acme buys the plan, and every event of it is applied. Returns the subscription's id.
async fn subscribe(app: &TestApp, tier: &str) -> String {
    let checkout = order(app, tier).await.expect(201);
    let id = checkout["session_id"].as_str().unwrap().to_owned();
    pay(app, &id).await;
    id
}

/// Acme goes through the page, and every event of it is applied.
async fn pay(app: &TestApp, id: &str) {
    let events = app.razorpay().pay_checkout(id);
    news(app, &events).await;
}

/// The events come, and everything is done that follows from them, at Razorpay and here.
async fn news<'a>(app: &TestApp, events: impl IntoIterator<Item = &'a FakeEvent>) {
    app.deliver_razorpay(events).await;
    settle(app).await;
}

/// Jobs and events go back and forth until nothing is left to be done.
async fn settle(app: &TestApp) {
    loop {
        app.do_the_work().await;
        let events = app.razorpay().take_events();
        if events.is_empty() {
            return;
        }
        app.deliver_razorpay(&events).await;
    }
}

/// Asks to be put on another plan.
async fn change(app: &TestApp, tier: &str, when: Option<&str>) -> Answer {
    let mut body = json!({"customer_id": "acme", "plan_tier": tier});
    if let Some(when) = when {
        body["when"] = json!(when);
    }
    app.post("/billing/change-plan").json(body).send().await
}

/// The subscription that an address belongs to.
fn behind(app: &TestApp, answer: &Value) -> String {
    let url = &answer["checkout_url"];
    let all = app.razorpay().subscriptions();
    let found = all.iter().find(|one| one["short_url"] == *url);
    let found = found.unwrap_or_else(|| panic!("nothing is sold at {answer}"));
    found["id"].as_str().unwrap().to_owned()
}

/// The subscription that counts for acme.
async fn counting(app: &TestApp) -> Value {
    let path = "/billing/subscription?customer_id=acme";
    app.get(path).send().await.ok()
}

/// Tier and source of acme's plan, and the tier of the grace that runs.
async fn standing(app: &TestApp) -> (String, String, Option<String>) {
    let body = json!({"customer_id": "acme", "feature": "attribution_runs"});
    let decision = app.post("/entitlements/check").json(body).send().await.ok();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let plan = &decision["plan"];
    (
        text(&plan["tier"]).unwrap(),
        text(&plan["source"]).unwrap(),
        text(&decision["grace"]["tier"]),
    )
}

/// On the plan, by a subscription, with nothing left of another one.
fn on(tier: &str) -> (String, String, Option<String>) {
    (tier.to_owned(), "subscription".to_owned(), None)
}

/// The status of a subscription as Razorpay has it.
fn at_razorpay(app: &TestApp, id: &str) -> String {
    let subscription = app.razorpay().subscription(id);
    subscription["status"].as_str().unwrap().to_owned()
}

/// The subscriptions that Razorpay charges for, or will.
fn billed(app: &TestApp) -> Vec<String> {
    let all = app.razorpay().subscriptions();
    let lives = |one: &&Value| {
        let status = one["status"].as_str().unwrap();
        ["authenticated", "active", "pending", "halted", "paused"].contains(&status)
    };
    let live = all.iter().filter(lives);
    live.map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Every refund that was made: which payment, how much.
fn refunds(app: &TestApp) -> Vec<(String, i64)> {
    let all = app.razorpay().refunds();
    let each = all.iter().map(|refund| {
        let payment = refund["payment_id"].as_str().unwrap().to_owned();
        (payment, refund["amount"].as_i64().unwrap())
    });
    each.collect()
}

/// The status of each subscription that is stored, by its id.
fn stored(app: &TestApp, id: &str) -> Option<String> {
    use plangate::store::schema::subscriptions::dsl;
    dsl::subscriptions
        .filter(dsl::provider_subscription_id.eq(id))
        .select(dsl::status)
        .first(&mut app.connect())
        .optional()
        .unwrap()
}

/// Tier and state of every attempt, oldest first.
fn attempts(app: &TestApp) -> Vec<(String, String)> {
    use plangate::store::schema::checkout_sessions::dsl;
    dsl::checkout_sessions
        .order(dsl::attempt_id)
        .select((dsl::plan_tier, dsl::state))
        .load(&mut app.connect())
        .unwrap()
}

fn states(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let each = expected.iter().copied();
    each.map(|(tier, state)| (tier.to_owned(), state.to_owned()))
        .collect()
}
