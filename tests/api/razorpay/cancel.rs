//! Ends and pauses, and how they are taken back, at a provider that shows no intentions.

use serde_json::{Value, json};

use super::{ask, buy, hear, order, runs, stored};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{count, travel};

#[actix_web::test]
async fn an_end_with_the_period_is_kept_here_and_can_be_taken_back() {
    let app = TestApp::with_razorpay().await;
    let id = buy(&app, "acme", "pro").await;
    let ending = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&ending["status"], &ending["cancel_at_period_end"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(runs(&app).await, 5000);
    let warnings = app.get("/plan-context?customer_id=acme").send().await.ok()["warnings"].clone();
    assert_eq!(warnings[0]["kind"], "ends", "{warnings}");

    // The provider knows nothing of it, and its news changes nothing of it.
    let updated = app.razorpay().update_subscription(&id, |_| {});
    app.deliver_razorpay(&updated).await;
    app.apply_webhooks().await;
    assert_eq!(stored(&app).await, ending);
    let again = ask(&app, "cancel", json!({"when": "period_end"})).await;
    assert_eq!(again.ok(), ending);
    let drifts = app
        .post("/admin/reconcile-subscriptions")
        .json(json!({}))
        .send()
        .await
        .ok();
    assert_eq!(drifts["drifts"], json!([]), "what is meant is no drift");

    let kept = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(kept["cancel_at_period_end"], false);
    let again = ask(&app, "resume", json!({})).await;
    again.problem(409, "conflict");
    let sent = app.razorpay().requests_to(Endpoint::CancelSubscription);
    assert_eq!(sent.len(), 0);
    let by_request = "SELECT count(*) FROM subscription_transitions WHERE cause = 'request'";
    assert_eq!(count(&app, by_request), 0, "nothing has come of it yet");

    app.deliver_razorpay(&app.razorpay().end_period(&id)).await;
    app.apply_webhooks().await;
    travel(&app, "2026-02-12T00:00:00Z");
    assert_eq!(runs(&app).await, 5000, "it goes on");
}

#[actix_web::test]
async fn access_ends_by_the_clock_although_nothing_was_heard() {
    let app = TestApp::with_razorpay().await;
    buy(&app, "acme", "pro").await;
    ask(&app, "cancel", json!({})).await.ok();
    travel(&app, "2026-02-11T23:59:59Z");
    assert_eq!(runs(&app).await, 5000);
    travel(&app, "2026-02-12T00:00:00Z");
    assert_eq!(runs(&app).await, 100);
    assert_eq!(
        stored(&app).await["grace"],
        json!({"tier": "pro", "ends_at": "2026-02-19T00:00:00Z"})
    );
}

#[actix_web::test]
async fn an_end_at_once_leaves_the_grace() {
    let app = TestApp::with_razorpay().await;
    let id = buy(&app, "acme", "pro").await;
    // What was meant before does not keep what is ended now.
    ask(&app, "cancel", json!({})).await.ok();
    travel(&app, "2026-01-20T00:00:00Z");
    let ended = ask(&app, "cancel", json!({"when": "now"})).await.ok();
    assert_eq!(
        (&ended["status"], &ended["grace"]),
        (
            &json!("canceled"),
            &json!({"tier": "pro", "ends_at": "2026-01-27T00:00:00Z"})
        )
    );
    assert_eq!(app.razorpay().subscription(&id)["status"], "cancelled");
    assert_eq!(runs(&app).await, 100);
    for when in ["now", "period_end"] {
        let again = ask(&app, "cancel", json!({"when": when})).await.ok();
        assert_eq!(again, ended);
    }
    let gone = ask(&app, "resume", json!({})).await;
    gone.problem(409, "conflict");
    hear(&app).await;
    assert_eq!(stored(&app).await, ended);
    let sent = app.razorpay().requests_to(Endpoint::CancelSubscription);
    assert_eq!(sent.len(), 1);
    buy(&app, "acme", "scale").await;
    assert_eq!(runs(&app).await, 25_000);
}

#[actix_web::test]
async fn a_cancellation_that_failed_leaves_everything_as_it_was() {
    let app = TestApp::with_razorpay().await;
    buy(&app, "acme", "pro").await;
    app.razorpay()
        .fail(Endpoint::CancelSubscription, Fault::SERVER_ERROR, 1);
    let failed = ask(&app, "cancel", json!({"when": "now"})).await;
    failed.problem(502, "provider-failed");
    assert_eq!(stored(&app).await["status"], "active");
    assert_eq!(runs(&app).await, 5000);
}

#[actix_web::test]
async fn a_pause_ends_with_resume_and_ends_at_once_when_cancelled() {
    let app = TestApp::with_razorpay().await;
    let id = buy(&app, "acme", "pro").await;
    let pause = async || {
        app.deliver_razorpay(&app.razorpay().pause(&id)).await;
        app.apply_webhooks().await;
        assert_eq!(stored(&app).await["status"], "paused");
        assert_eq!(runs(&app).await, 100);
    };
    pause().await;
    let resumed = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(resumed["status"], "active");
    assert_eq!(runs(&app).await, 5000);
    assert_eq!(app.razorpay().subscription(&id)["status"], "active");

    // One that was to end and was paused goes on as well.
    ask(&app, "cancel", json!({})).await.ok();
    hear(&app).await;
    pause().await;
    let resumed = ask(&app, "resume", json!({})).await.ok();
    assert_eq!(
        (&resumed["status"], &resumed["cancel_at_period_end"]),
        (&json!("active"), &json!(false))
    );
    hear(&app).await;
    pause().await;
    let ended = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&ended["status"], &ended["grace"]),
        (&json!("canceled"), &Value::Null),
        "nothing is in force that could run out first"
    );
    hear(&app).await;
}

#[actix_web::test]
async fn what_is_behind_with_its_payment_ends_at_once() {
    let app = TestApp::with_razorpay().await;
    let id = buy(&app, "acme", "pro").await;
    travel(&app, "2026-02-12T00:30:00Z");
    app.deliver_razorpay(&app.razorpay().fail_renewal(&id))
        .await;
    app.apply_webhooks().await;
    let behind = stored(&app).await;
    assert_eq!(behind["status"], "past_due");
    let ended = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&ended["status"], &ended["grace"]),
        (&json!("canceled"), &behind["grace"]),
        "the period that was paid is over"
    );
    hear(&app).await;
}

#[actix_web::test]
async fn nobody_ends_what_was_never_paid() {
    let app = TestApp::with_razorpay().await;
    order(&app, "acme", "pro").await;
    let nothing = ask(&app, "cancel", json!({})).await;
    nothing.problem(404, "not-found");
}
