//! What no event tells is looked at.

use chrono::TimeDelta;
use plangate::service::apply_event::{close_stale_checkouts, refresh_overdue};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{buy, order, runs, stored};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{count, travel};

/// One round over subscriptions. Returns how many were brought up to date.
async fn refresh(app: &TestApp) -> usize {
    let token = CancellationToken::new();
    refresh_overdue(app.context(), &token).await.unwrap()
}

/// One round over checkouts. Returns how many were settled.
async fn close(app: &TestApp) -> usize {
    let token = CancellationToken::new();
    close_stale_checkouts(app.context(), &token).await.unwrap()
}

fn attempts(app: &TestApp, state: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM checkout_sessions WHERE state = '{state}'");
    count(app, &statement)
}

#[actix_web::test]
async fn one_that_nobody_authorized_in_time_is_seen_to_have_expired() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    // Somebody edits it in the dashboard: so it is known here before it is paid.
    let updated = app.razorpay().update_subscription(&id, |_| {});
    app.deliver_razorpay(&updated).await;
    app.apply_webhooks().await;
    let status = "SELECT count(*) FROM subscriptions WHERE status = ";
    let in_status = |word: &str| count(&app, &format!("{status}'{word}'"));
    assert_eq!(in_status("incomplete"), 1);
    assert_eq!(runs(&app).await, 100);
    app.advance(TimeDelta::minutes(60));
    assert_eq!(refresh(&app).await, 0, "seen within the hour");
    app.advance(TimeDelta::seconds(1));
    assert_eq!((refresh(&app).await, refresh(&app).await), (1, 0));
    assert_eq!(in_status("incomplete"), 1);
    travel(&app, "2026-01-13T00:30:00Z");
    assert_eq!(app.razorpay().subscription(&id)["status"], "expired");
    assert_eq!(refresh(&app).await, 1);
    assert_eq!(in_status("incomplete_expired"), 1);
    app.advance(TimeDelta::hours(2));
    assert_eq!(refresh(&app).await, 0);
    close(&app).await;
    assert_eq!(attempts(&app, "expired"), 1);
}

#[actix_web::test]
async fn a_lost_webhook_of_a_renewal_or_a_purchase_is_made_up_for() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    app.razorpay().pay_checkout(&id);
    travel(&app, "2026-01-13T00:10:00Z");
    assert_eq!(close(&app).await, 0, "its time is not over for long");
    travel(&app, "2026-01-13T00:10:01Z");
    assert_eq!((close(&app).await, close(&app).await), (1, 0));
    assert_eq!(stored(&app).await["status"], "active");
    assert_eq!(runs(&app).await, 5000);
    assert_eq!(attempts(&app, "complete"), 1);

    travel(&app, "2026-02-12T02:00:00Z");
    app.razorpay().end_period(&id);
    assert_eq!(refresh(&app).await, 0, "not yet");
    travel(&app, "2026-02-12T02:00:01Z");
    assert_eq!(refresh(&app).await, 1);
    assert_eq!(
        stored(&app).await["current_period_end"],
        "2026-03-12T00:00:00Z"
    );
}

#[actix_web::test]
async fn checkouts_whose_time_is_over_end_and_no_round_spins_over_one_that_cannot() {
    let app = TestApp::with_razorpay().await;
    let ids = [
        order(&app, "acme", "pro").await,
        order(&app, "other", "pro").await,
    ];
    travel(&app, "2026-01-13T00:30:00Z");
    let fetches = || app.razorpay().requests_to(Endpoint::Subscription).len();
    app.razorpay()
        .fail(Endpoint::Subscription, Fault::SERVER_ERROR, 3);
    assert_eq!(close(&app).await, 0, "the provider is away");
    let before = fetches();
    // Still open at the provider, whose clock is not ours.
    app.razorpay()
        .update_subscription(&ids[0], |s| s["status"] = json!("created"));
    assert_eq!(close(&app).await, 1);
    assert_eq!(close(&app).await, 0);
    assert_eq!(fetches(), before + 2);
    assert_eq!((attempts(&app, "open"), attempts(&app, "expired")), (1, 1));
    app.advance(TimeDelta::hours(2));
    assert_eq!(close(&app).await, 1);
    assert_eq!(attempts(&app, "expired"), 2);
}

#[actix_web::test]
async fn checkouts_of_stripe_are_looked_at_as_well() {
    let app = TestApp::with_stripe().await;
    let order = json!({"customer_id": "acme", "plan_tier": "pro"});
    let buy = app.post("/billing/create-checkout").json(order);
    let checkout = buy.send().await.expect(201);
    let id = checkout["session_id"].as_str().unwrap();
    app.stripe().complete_checkout(id);
    travel(&app, "2026-01-14T00:00:00Z");
    assert_eq!((close(&app).await, close(&app).await), (1, 0));
    assert_eq!(stored(&app).await["plan_tier"], "pro");
    assert_eq!(attempts(&app, "complete"), 1);
}

#[actix_web::test]
async fn what_was_ended_beyond_the_present_serves_until_then() {
    let app = TestApp::with_razorpay().await;
    let id = buy(&app, "acme", "pro").await;
    let seconds = crate::support::steps::at("2026-01-20T00:00:00Z").timestamp();
    let ended = app.razorpay().update_subscription(&id, |s| {
        s["status"] = json!("cancelled");
        s["ended_at"] = json!(seconds);
    });
    app.deliver_razorpay(&ended).await;
    app.apply_webhooks().await;
    let left = stored(&app).await;
    assert_eq!(
        (&left["status"], &left["grace"]),
        (&json!("canceled"), &Value::Null)
    );
    assert_eq!(runs(&app).await, 5000);
    travel(&app, "2026-01-20T00:00:00Z");
    assert_eq!(runs(&app).await, 100);
    assert_eq!(
        stored(&app).await["grace"]["ends_at"],
        "2026-01-27T00:00:00Z"
    );
}
