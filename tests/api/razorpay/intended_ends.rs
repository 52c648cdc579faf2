//! Ends that were kept here are sent shortly before the period ends.

use std::io::Write as _;
use std::time::Duration;

use diesel::prelude::*;
use plangate::service::billing::send_ends;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::{ask, buy, hear, runs, stored};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{count, travel};

/// One round of the job. Returns how many ends the provider has heard of.
async fn send(app: &TestApp) -> usize {
    let token = CancellationToken::new();
    send_ends(app.context(), &token).await.unwrap()
}

fn cancellations(app: &TestApp) -> Vec<Value> {
    let sent = app.razorpay().requests_to(Endpoint::CancelSubscription);
    sent.into_iter().map(|request| request.body).collect()
}

/// `acme` has bought, and cancelled. Returns the subscription's id.
async fn leaving(app: &TestApp) -> String {
    let id = buy(app, "acme", "pro").await;
    ask(app, "cancel", json!({})).await.ok();
    id
}

const GRACE: &str = "2026-02-19T00:00:00Z";

#[actix_web::test]
async fn an_end_is_sent_two_hours_before_it_comes_and_stands_from_then_on() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-11T22:00:00Z");
    assert_eq!(send(&app).await, 0, "not yet");
    travel(&app, "2026-02-11T22:00:01Z");
    assert_eq!(send(&app).await, 1);
    assert!(app.razorpay().ends_with_its_cycle(&id));
    assert_eq!(cancellations(&app), [json!({"cancel_at_cycle_end": 1})]);
    assert_eq!(send(&app).await, 0, "once is enough");
    let refused = ask(&app, "resume", json!({})).await;
    let refused = refused.problem(409, "conflict");
    assert!(
        refused["detail"].as_str().unwrap().contains("already told"),
        "{refused}"
    );
    let still = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(
        (&still["status"], &still["cancel_at_period_end"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(runs(&app).await, 5000);

    travel(&app, "2026-02-12T00:00:00Z");
    assert_eq!(runs(&app).await, 100);
    travel(&app, "2026-02-12T00:20:00Z");
    app.deliver_razorpay(&app.razorpay().end_period(&id)).await;
    app.apply_webhooks().await;
    let ended = stored(&app).await;
    assert_eq!(
        (&ended["status"], &ended["grace"]["ends_at"]),
        (&json!("canceled"), &json!(GRACE))
    );
    assert_eq!(send(&app).await, 0);
    buy(&app, "acme", "pro").await;
    assert_eq!(runs(&app).await, 5000);
}

#[actix_web::test]
async fn an_end_whose_answer_was_lost_is_sent_again_and_cannot_be_taken_back() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-11T22:30:00Z");
    app.razorpay()
        .fail(Endpoint::CancelSubscription, Fault::DropAfterEffect, 1);
    assert_eq!(send(&app).await, 0);
    let refused = ask(&app, "resume", json!({})).await;
    refused.problem(409, "conflict");
    assert_eq!(send(&app).await, 0, "after a pause");
    assert_eq!(cancellations(&app).len(), 1);
    travel(&app, "2026-02-11T22:42:00Z");
    assert_eq!(send(&app).await, 1);
    assert_eq!(cancellations(&app).len(), 2);
    assert!(app.razorpay().ends_with_its_cycle(&id));
    assert_eq!(send(&app).await, 0);
}

#[actix_web::test]
async fn an_end_whose_sender_died_counts_as_sent_and_is_sent_again() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-11T22:30:00Z");
    let slow = Fault::StallAfterEffect(Duration::from_secs(5));
    app.razorpay().fail(Endpoint::CancelSubscription, slow, 1);
    let asked = async {
        while cancellations(&app).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        sent = send(&app) => panic!("it was to die before the answer: {sent}"),
        () = asked => {}
    }
    travel(&app, "2026-02-11T22:33:00Z");
    let refused = ask(&app, "resume", json!({})).await;
    refused.problem(409, "conflict");
    assert_eq!(send(&app).await, 0, "after a pause");
    travel(&app, "2026-02-11T22:42:00Z");
    assert_eq!(send(&app).await, 1);
    assert!(app.razorpay().ends_with_its_cycle(&id));
}

#[actix_web::test]
async fn a_provider_that_is_away_costs_nothing_but_time() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-11T22:30:00Z");
    let busy = Fault::rate_limited(20);
    app.razorpay().fail(Endpoint::Subscription, busy, 1);
    assert_eq!(send(&app).await, 0);
    assert_eq!(cancellations(&app).len(), 0);
    // Nothing was said, so the customer can still stay.
    ask(&app, "resume", json!({})).await.ok();
    assert_eq!(send(&app).await, 0);
    ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(send(&app).await, 1);
    assert!(app.razorpay().ends_with_its_cycle(&id));
}

#[actix_web::test]
async fn what_cannot_end_with_its_period_is_ended_in_its_last_minutes_and_serves_until_it_is_over()
{
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-11T23:00:00Z");
    let refuse = |times| {
        let no = Fault::Refuse("not now");
        app.razorpay().fail(Endpoint::CancelSubscription, no, times);
    };
    refuse(1);
    assert_eq!(send(&app).await, 0);
    // It has heard, and did nothing: that can be taken back, and meant again.
    ask(&app, "resume", json!({})).await.ok();
    ask(&app, "cancel", json!({})).await.ok();
    travel(&app, "2026-02-11T23:51:00Z");
    refuse(1);
    assert_eq!(send(&app).await, 1);
    assert_eq!(app.razorpay().subscription(&id)["status"], "cancelled");
    hear(&app).await;
    let left = stored(&app).await;
    assert_eq!(
        (&left["status"], &left["grace"]),
        (&json!("canceled"), &Value::Null)
    );
    assert_eq!(runs(&app).await, 5000);
    travel(&app, "2026-02-12T00:00:00Z");
    assert_eq!(runs(&app).await, 100);
    assert_eq!(stored(&app).await["grace"]["ends_at"], GRACE);
    // Told again, it stays so.
    let late = app.razorpay().update_subscription(&id, |_| {});
    app.deliver_razorpay(&late).await;
    app.apply_webhooks().await;
    assert_eq!(stored(&app).await["grace"]["ends_at"], GRACE);
}

#[actix_web::test]
async fn whoever_ends_it_at_once_loses_what_was_left_of_it() {
    let app = TestApp::with_razorpay().await;
    leaving(&app).await;
    travel(&app, "2026-02-11T22:30:00Z");
    assert_eq!(send(&app).await, 1);
    let ended = ask(&app, "cancel", json!({"when": "now"})).await.ok();
    assert_eq!(
        (&ended["status"], &ended["grace"]["ends_at"]),
        (&json!("canceled"), &json!("2026-02-18T22:30:00Z"))
    );
    assert_eq!(runs(&app).await, 100);
    hear(&app).await;
    assert_eq!(stored(&app).await, ended);
}

#[actix_web::test]
async fn nothing_is_sent_while_somebody_changes_the_subscription() {
    let app = TestApp::with_razorpay().await;
    leaving(&app).await;
    travel(&app, "2026-02-11T22:30:00Z");
    let taken = "UPDATE subscription_leases SET changing_until = '2026-02-11T22:32:00Z'";
    diesel::sql_query(taken)
        .execute(&mut app.connect())
        .unwrap();
    assert_eq!(send(&app).await, 0);
    assert_eq!(cancellations(&app).len(), 0);
    travel(&app, "2026-02-11T22:32:00Z");
    assert_eq!(send(&app).await, 1);
    let held = "SELECT count(*) FROM subscription_leases WHERE changing_until IS NOT NULL";
    assert_eq!(count(&app, held), 0);
}

#[actix_web::test]
async fn what_was_renewed_all_the_same_ends_with_its_new_period() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-12T00:10:00Z");
    assert_eq!(runs(&app).await, 100);
    app.deliver_razorpay(&app.razorpay().end_period(&id)).await;
    app.apply_webhooks().await;
    let renewed = stored(&app).await;
    assert_eq!(
        (
            &renewed["cancel_at_period_end"],
            &renewed["current_period_end"]
        ),
        (&json!(true), &json!("2026-03-12T00:00:00Z"))
    );
    assert_eq!(runs(&app).await, 5000, "it was paid for");
    assert_eq!(send(&app).await, 0);
    travel(&app, "2026-03-11T23:00:00Z");
    assert_eq!(send(&app).await, 1);

    // Even one that had heard of its end: it is told again.
    let seconds = |text: &str| crate::support::steps::at(text).timestamp();
    let renewed = app.razorpay().update_subscription(&id, |s| {
        s["current_start"] = json!(seconds("2026-03-12T00:00:00Z"));
        s["current_end"] = json!(seconds("2026-04-12T00:00:00Z"));
    });
    app.deliver_razorpay(&renewed).await;
    app.apply_webhooks().await;
    travel(&app, "2026-04-11T23:00:00Z");
    assert_eq!(send(&app).await, 1);
    assert_eq!(send(&app).await, 0);
}

#[actix_web::test]
async fn what_was_not_told_in_time_is_ended_at_once() {
    let app = TestApp::with_razorpay().await;
    let id = leaving(&app).await;
    travel(&app, "2026-02-12T00:10:00Z");
    assert_eq!(send(&app).await, 1);
    assert_eq!(app.razorpay().subscription(&id)["status"], "cancelled");
    let ended = stored(&app).await;
    assert_eq!(
        (&ended["status"], &ended["grace"]["ends_at"]),
        (&json!("canceled"), &json!(GRACE)),
        "what was paid was over before"
    );
    hear(&app).await;
    assert_eq!(stored(&app).await, ended);
}

#[actix_web::test]
async fn a_trial_that_was_cancelled_runs_until_its_end() {
    let mut catalogue: Value =
        serde_json::from_str(include_str!("../../../catalogue/default.json")).unwrap();
    catalogue["tiers"][1]["trial_days"] = json!(14);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    let app = TestApp::builder()
        .with_razorpay()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .start()
        .await;
    let id = leaving(&app).await;
    let trial = stored(&app).await;
    assert_eq!(
        (&trial["status"], &trial["cancel_at_period_end"]),
        (&json!("trialing"), &json!(true))
    );
    travel(&app, "2026-01-25T21:00:00Z");
    assert_eq!(send(&app).await, 0);
    travel(&app, "2026-01-25T23:00:00Z");
    assert_eq!(send(&app).await, 1);
    assert_eq!(app.razorpay().subscription(&id)["status"], "cancelled");
    assert_eq!(app.razorpay().payments().len(), 0);
    hear(&app).await;
    assert_eq!(stored(&app).await["status"], "canceled");
    assert_eq!(runs(&app).await, 5000);
    travel(&app, "2026-01-26T00:00:00Z");
    assert_eq!(runs(&app).await, 100);
    assert_eq!(
        stored(&app).await["grace"]["ends_at"],
        "2026-02-02T00:00:00Z"
    );
}
