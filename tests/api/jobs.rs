//! The jobs, running beside the service.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use plangate::jobs::Jobs;
use plangate::service::apply_event::refresh_overdue;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::{PRICE_PRO, PRICE_SCALE, TestApp};
use crate::support::steps::{count, subscription_id, travel};

async fn buy_pro(app: &TestApp) -> Vec<Value> {
    let order = json!({"customer_id": "acme", "plan_tier": "pro"});
    let checkout = app
        .post("/billing/create-checkout")
        .json(order)
        .send()
        .await
        .expect(201);
    app.stripe()
        .complete_checkout(checkout["session_id"].as_str().unwrap())
}

async fn until_the_inbox_is_empty(app: &TestApp) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let inbox = app.get("/readyz?verbose").send().await.ok()["checks"]["inbox"].clone();
        if inbox["unprocessed"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{inbox}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn subscription(app: &TestApp) -> Value {
    let path = "/billing/subscription?customer_id=acme";
    app.get(path).send().await.ok()
}

#[tokio::test]
async fn what_arrives_is_applied_at_once() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    let jobs = Jobs::start(app.context(), None);
    app.deliver(&events).await;
    until_the_inbox_is_empty(&app).await;
    jobs.stop().await;
    let subscription = subscription(&app).await;
    assert_eq!(
        (&subscription["status"], &subscription["plan_tier"]),
        (&json!("active"), &json!("pro"))
    );
}

#[tokio::test]
async fn events_of_one_subscription_do_not_chase_each_other() {
    let app = TestApp::with_stripe().await;
    let mut events = buy_pro(&app).await;
    let id = subscription_id(&events);
    for _ in 0..3 {
        events.push(app.stripe().update_subscription(&id, |_| {}));
    }
    let slow = Fault::StallAfterEffect(Duration::from_millis(150));
    app.stripe().fail(Endpoint::Subscription, slow, 100);
    app.deliver(&events).await;
    let jobs = Jobs::start(app.context(), None);
    until_the_inbox_is_empty(&app).await;
    jobs.stop().await;
    let fetches = app.stripe().requests_to(Endpoint::Subscription).len();
    assert!((1..=2 * events.len()).contains(&fetches), "{fetches}");
    let repeated = "SELECT count(*) FROM webhooks WHERE status <> 'processed' OR attempts > 1";
    assert_eq!(count(&app, repeated), 0);
    assert_eq!(subscription(&app).await["status"], "active");
}

#[tokio::test]
async fn a_start_tries_at_once_what_was_parked() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    let id = subscription_id(&events);
    let sell_under = |price: &str| {
        app.stripe().update_subscription(&id, |s| {
            s["items"]["data"][0]["price"]["id"] = json!(price);
        })
    };
    sell_under("price_of_old");
    app.deliver(&events[..1]).await;
    app.apply_webhooks().await;
    let parked = "SELECT count(*) FROM webhooks WHERE status = 'parked'";
    assert_eq!(count(&app, parked), 1);
    sell_under(PRICE_PRO);
    let jobs = Jobs::start(app.context(), None);
    until_the_inbox_is_empty(&app).await;
    jobs.stop().await;
    assert_eq!(subscription(&app).await["plan_tier"], "pro");
}

#[tokio::test]
async fn subscriptions_whose_news_is_overdue_are_fetched() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    let id = subscription_id(&events);
    app.deliver(&events).await;
    app.apply_webhooks().await;
    let fetches = || app.stripe().requests_to(Endpoint::Subscription).len();
    let token = CancellationToken::new();
    let round = async || refresh_overdue(app.context(), &token).await.unwrap();
    travel(&app, "2026-02-12T02:00:00Z");
    assert_eq!(round().await, 0, "not yet");
    // Renewed and changed, and no word of it came.
    app.stripe().renew_subscription(&id);
    app.stripe().update_subscription(&id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
    });
    travel(&app, "2026-02-12T02:00:01Z");
    assert_eq!(round().await, 1);
    let shown = subscription(&app).await;
    assert_eq!(shown["plan_tier"], "scale");
    assert_eq!(shown["current_period_end"], "2026-03-12T00:00:00Z");
    let by_job = "SELECT count(*) FROM subscription_transitions WHERE cause = 'job'";
    assert_eq!(count(&app, by_job), 1);
    assert_eq!(round().await, 0);

    // Nothing new, nothing there, nobody there: no round spins over it.
    travel(&app, "2026-03-12T02:00:01Z");
    assert_eq!((round().await, round().await), (1, 0));
    assert_eq!(count(&app, by_job), 1);
    app.advance(TimeDelta::minutes(61));
    let before = fetches();
    app.stripe()
        .fail(Endpoint::Subscription, Fault::status(404), 1);
    assert_eq!((round().await, round().await), (0, 0));
    assert_eq!(fetches(), before + 1);
    app.advance(TimeDelta::minutes(61));
    assert_eq!(round().await, 1);
}

#[tokio::test]
async fn jobs_that_were_stopped_apply_nothing_more() {
    let app = TestApp::with_stripe().await;
    let events = buy_pro(&app).await;
    Jobs::start(app.context(), None).stop().await;
    app.deliver(&events).await;
    app.get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .problem(404, "not-found");
    app.apply_webhooks().await;
    app.get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
}
