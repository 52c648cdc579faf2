//! Ends and pauses, and how they are taken back.

use serde_json::{Value, json};

use super::{ask, change, changes_sent, hear, invoiced, runs, stored};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{consume, subscribe, travel};

#[actix_web::test]
async fn a_cancelled_plan_runs_until_its_period_ends_and_can_be_kept() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let ending = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&ending["status"], &ending["cancel_at_period_end"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(runs(&app).await, 5000);
    let sent = changes_sent(&app);
    let again = ask(&app, "cancel", json!({"when": "period_end"})).await;
    assert_eq!(again.ok(), ending);
    assert_eq!(changes_sent(&app), sent);

    let kept = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(kept["cancel_at_period_end"], false);
    assert_eq!(
        app.stripe().subscription(&id)["cancel_at_period_end"],
        false
    );
    ask(&app, "resume", json!({}))
        .await
        .problem(409, "conflict");

    // An instant that somebody chose in the dashboard is an end that can be taken back, too.
    let chosen = app.stripe().update_subscription(&id, |s| {
        s["cancel_at"] = json!(1_769_904_000);
    });
    app.deliver([&chosen]).await;
    let kept = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(kept["cancel_at_period_end"], false);
    assert_eq!(app.stripe().subscription(&id)["cancel_at"], Value::Null);
    hear(&app).await;
}

#[actix_web::test]
async fn what_was_cancelled_ends_with_its_period() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    ask(&app, "cancel", json!({})).await.ok();
    travel(&app, "2026-02-12T00:00:00Z");
    let events = app.stripe().end_period(&id);
    app.deliver(&events).await;
    app.apply_webhooks().await;
    let ended = stored(&app).await;
    assert_eq!(ended["status"], "canceled");
    assert_eq!(
        ended["grace"],
        json!({"tier": "pro", "ends_at": "2026-02-19T00:00:00Z"})
    );
    assert_eq!(ask(&app, "cancel", json!({})).await.ok(), ended);
    let resumed = ask(&app, "resume", json!({})).await;
    let gone = resumed.problem(409, "conflict");
    assert!(
        gone["detail"].as_str().unwrap().contains("create-checkout"),
        "{gone}"
    );
    change(&app, "scale").await.problem(404, "not-found");
    let back = subscribe(&app, "acme", "scale").await;
    assert_ne!(back, id);
    assert_eq!(runs(&app).await, 25_000);
}

#[actix_web::test]
async fn an_end_at_once_leaves_the_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    travel(&app, "2026-01-20T00:00:00Z");
    let ended = ask(&app, "cancel", json!({"when": "now"})).await.ok();
    assert_eq!(
        (&ended["status"], &ended["grace"]),
        (
            &json!("canceled"),
            &json!({"tier": "pro", "ends_at": "2026-01-27T00:00:00Z"})
        )
    );
    let sent = app.stripe().requests_to(Endpoint::CancelSubscription);
    assert_eq!(sent[0].params["invoice_now"], "true");
    assert_eq!(app.stripe().subscription(&id)["status"], "canceled");
    assert_eq!(runs(&app).await, 100);
    let within_the_former =
        json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": 4000});
    let allowed = app
        .post("/entitlements/check")
        .json(within_the_former)
        .send()
        .await
        .ok();
    assert_eq!(allowed["reason"], "grace_period");

    for when in ["now", "period_end"] {
        let again = ask(&app, "cancel", json!({"when": when})).await.ok();
        assert_eq!(again, ended);
    }
    let sent = app.stripe().requests_to(Endpoint::CancelSubscription);
    assert_eq!(sent.len(), 1);
    hear(&app).await;
    assert_eq!(stored(&app).await, ended);
}

#[actix_web::test]
async fn usage_above_the_limit_is_billed_before_what_bills_it_is_gone() {
    for ends in [true, false] {
        let app = TestApp::with_stripe().await;
        let id = subscribe(&app, "acme", "scale").await;
        consume(&app, "acme", "attribution_runs", 25_012).await;
        let customer = app.stripe().subscription(&id)["customer"].clone();
        let told = || app.stripe().meter_total(customer.as_str().unwrap());
        assert_eq!(told(), 0);
        // A change that only comes with the next period leaves it to the job.
        change(&app, "pro").await.ok();
        assert_eq!(told(), 0);
        if ends {
            let now = json!({"when": "now"});
            ask(&app, "cancel", now).await.ok();
            assert_eq!(invoiced(&app, "subscription_cycle"), [12]);
        } else {
            let now = json!({"plan_tier": "pro", "when": "now"});
            ask(&app, "change-plan", now).await.ok();
        }
        assert_eq!(told(), 12);
        hear(&app).await;
    }
}

#[actix_web::test]
async fn nobody_is_kept_for_usage_that_cannot_be_told() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", "attribution_runs", 25_012).await;
    app.stripe()
        .fail(Endpoint::CreateMeterEvent, Fault::SERVER_ERROR, 3);
    let ended = ask(&app, "cancel", json!({"when": "now"})).await.ok();
    assert_eq!(ended["status"], "canceled");
    hear(&app).await;
}

#[actix_web::test]
async fn a_cancellation_drops_what_was_planned() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    change(&app, "pro").await.ok();
    let ending = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&ending["cancel_at_period_end"], &ending["planned_change"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(app.stripe().subscription(&id)["schedule"], Value::Null);
    hear(&app).await;
}

#[actix_web::test]
async fn a_pause_ends_with_resume() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let paused = app.stripe().pause_collection(&id, true);
    app.deliver([&paused]).await;
    app.apply_webhooks().await;
    assert_eq!(stored(&app).await["status"], "paused");
    assert_eq!(runs(&app).await, 100);
    let resumed = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(resumed["status"], "active");
    assert_eq!(runs(&app).await, 5000);
    assert_eq!(
        app.stripe().subscription(&id)["pause_collection"],
        Value::Null
    );

    // So does one of Stripe's own, after a trial without a card.
    let paused = app
        .stripe()
        .update_subscription(&id, |s| s["status"] = json!("paused"));
    app.deliver([&paused]).await;
    let resumed = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(resumed["status"], "active");
    hear(&app).await;
}
