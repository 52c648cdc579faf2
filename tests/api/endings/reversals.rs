//! Refunds that did not go through after all.

use chrono::TimeDelta;
use serde_json::Value;

use super::{echoes, end_due, ending, news, plan, standing};
use crate::support::app::TestApp;
use crate::support::steps::{count, subscribe};

/// The id of the refund that the events tell of.
fn refund_of(events: &[Value]) -> &str {
    let made = events
        .iter()
        .find(|event| event["type"] == "refund.created");
    made.unwrap()["data"]["object"]["id"].as_str().unwrap()
}

#[actix_web::test]
async fn a_refund_that_failed_before_anything_was_done_changes_nothing() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let charge = app.stripe().charge_of(&id);
    let refunded = app.stripe().refund_charge(&charge, None);
    news(&app, &refunded).await;
    assert_eq!(ending(&app, &id).unwrap().state, "due");
    news(&app, &app.stripe().fail_refund(refund_of(&refunded))).await;
    end_due(&app).await;
    assert_eq!(ending(&app, &id), None);
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    assert_eq!(app.stripe().subscription(&id)["status"], "active");
    assert_eq!(count(&app, "SELECT sum(amount_refunded) FROM charges"), 0);

    // Given back again, this time for good.
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    end_due(&app).await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "free");
}

#[actix_web::test]
async fn a_refund_that_fails_while_the_end_is_carried_out_is_judged_when_that_is_known() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let charge = app.stripe().charge_of(&id);
    let refunded = app.stripe().refund_charge(&charge, None);
    news(&app, &refunded).await;
    let claim = format!(
        "UPDATE subscription_endings SET claimed_until = '{}', attempts = 1",
        (plangate::store::clock::Clock::now(&app.clock) + TimeDelta::minutes(5)).to_rfc3339()
    );
    diesel::RunQueryDsl::execute(diesel::sql_query(claim), &mut app.connect()).unwrap();
    let failed = app.stripe().fail_refund(refund_of(&refunded));
    news(&app, &failed).await;
    let waiting =
        "SELECT count(*) FROM webhooks WHERE status = 'parked' AND error LIKE '%being ended%'";
    assert_eq!(count(&app, waiting), i64::try_from(failed.len()).unwrap());
    assert_eq!(ending(&app, &id).unwrap().state, "due");
    // The worker died: nothing was done, so the subscription goes on.
    app.advance(TimeDelta::minutes(5));
    app.apply_webhooks().await;
    end_due(&app).await;
    assert_eq!(ending(&app, &id), None);
    assert_eq!(app.stripe().subscription(&id)["status"], "active");
}

#[actix_web::test]
async fn a_refund_that_failed_too_late_leaves_what_was_done() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let charge = app.stripe().charge_of(&id);
    let refunded = app.stripe().refund_charge(&charge, None);
    news(&app, &refunded).await;
    end_due(&app).await;
    let failed = app.stripe().fail_refund(refund_of(&refunded));
    news(&app, &failed).await;
    echoes(&app).await;
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM charges WHERE amount_refunded = 0"
        ),
        1
    );
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "canceled", "default"), Value::Null)
    );
}
