//! Events that another worker took over, that nobody owns, or that the provider knows nothing of.

use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use super::{deliver, kept, standing};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{count, pay, subscribe, subscription_id};

/// Makes the subscription look as if it had been made by hand at the provider: nothing on it says whose it is.
fn disown(app: &TestApp, id: &str) -> Value {
    app.stripe().update_subscription(id, |s| {
        s["metadata"] = json!({});
        s["customer"] = json!(format!("cus_of_{id}"));
    })
}

#[actix_web::test]
async fn a_worker_that_lost_its_claim_writes_nothing() {
    let app = TestApp::with_stripe().await;
    let events = pay(&app, "acme", "pro").await;
    let stall = Fault::StallAfterEffect(Duration::from_millis(400));
    app.stripe().fail(Endpoint::Subscription, stall, 1);
    deliver(&app, &events[0]).await;
    let slow = app.apply_webhooks();
    let other = async {
        while app.stripe().requests_to(Endpoint::Subscription).is_empty() {
            tokio::task::yield_now().await;
        }
        let claimed = diesel::sql_query(
            "UPDATE webhooks SET attempts = 2, claimed_until = claimed_until + interval '1 second' \
             WHERE claimed_until IS NOT NULL",
        )
        .execute(&mut app.connect())
        .unwrap();
        assert_eq!(claimed, 1);
    };
    tokio::join!(slow, other);
    let row = kept(&app, &events[0]);
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("queued", 2),
        "{row:?}"
    );
    assert_eq!(row.error, None);
    assert_eq!(count(&app, "SELECT count(*) FROM subscriptions"), 0);
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM webhooks WHERE claimed_until IS NOT NULL"
        ),
        1
    );
    // The other one died over it: the event comes up again when its claim ends.
    app.advance(TimeDelta::seconds(121));
    app.apply_webhooks().await;
    let row = kept(&app, &events[0]);
    assert_eq!((row.status.as_str(), row.attempts), ("processed", 3));
}

#[actix_web::test]
async fn a_binding_wakes_what_waited_for_it_and_nothing_else() {
    let app = TestApp::with_stripe().await;
    let ours = pay(&app, "acme", "pro").await;
    let waiting = disown(&app, &subscription_id(&ours));
    let theirs = subscription_id(&pay(&app, "other", "pro").await);
    let unrelated = disown(&app, &theirs);
    for event in [&waiting, &unrelated] {
        deliver(&app, event).await;
    }
    app.apply_webhooks().await;
    let before = kept(&app, &unrelated);
    assert_eq!((before.status.as_str(), before.attempts), ("parked", 1));
    deliver(&app, &ours[2]).await;
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &waiting).status, "processed");
    assert_eq!(kept(&app, &unrelated), before);

    // Sold past Plangate, it will never be anybody's, and does not make the inbox late for ever.
    app.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &unrelated).status, "parked");
    app.advance(TimeDelta::hours(2));
    app.apply_webhooks().await;
    let row = kept(&app, &unrelated);
    assert_eq!(row.status, "ignored");
    assert!(row.error.unwrap().contains("no customer is bound"));
    let ready = app.get("/readyz?verbose").send().await.ok();
    assert_eq!(ready["checks"]["inbox"]["unprocessed"], 0);
}

#[actix_web::test]
async fn what_the_provider_does_not_show_is_asked_for_again_for_a_day() {
    let app = TestApp::with_stripe().await;
    let events = pay(&app, "acme", "pro").await;
    app.stripe()
        .fail(Endpoint::Subscription, Fault::status(404), 1);
    deliver(&app, &events[0]).await;
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &events[0]).status, "parked");
    app.advance(TimeDelta::seconds(5));
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &events[0]).status, "processed");
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");

    let ghost = app
        .stripe()
        .event("customer.subscription.updated", &json!({"id": "sub_ghost"}));
    deliver(&app, &ghost).await;
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &ghost).status, "parked");
    app.advance(TimeDelta::hours(24));
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &ghost).status, "failed");
    let ready = app.get("/readyz?verbose").send().await.ok();
    assert_eq!(ready["checks"]["inbox"]["failed"], 1);
    let figures = app.get("/metrics").send().await.text;
    assert!(figures.contains("plangate_inbox_failed 1\n"), "{figures}");
}

#[actix_web::test]
async fn a_provider_that_asks_for_patience_gets_it() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let busy = Fault::Status {
        status: 503,
        retry_after: Some(600),
        should_retry: Some(false),
    };
    app.stripe().fail(Endpoint::Subscription, busy, 1);
    let event = app.stripe().update_subscription(&id, |_| {});
    deliver(&app, &event).await;
    app.apply_webhooks().await;
    let wait = kept(&app, &event).next_attempt_at - app.clock.now();
    assert!((600..=601).contains(&wait.num_seconds()), "{wait}");
}

#[actix_web::test]
async fn a_visitor_of_a_payment_link_cannot_become_somebody_at_the_provider() {
    let app = TestApp::with_stripe().await;
    let id = subscription_id(&pay(&app, "payer", "pro").await);
    let later = disown(&app, &id);
    let linked = app.stripe().event(
        "checkout.session.completed",
        &json!({"id": "cs_link", "object": "checkout.session", "mode": "subscription", "status": "complete",
            "subscription": id, "customer": format!("cus_of_{id}"), "client_reference_id": "victim", "metadata": {}}),
    );
    for event in [&linked, &later] {
        deliver(&app, event).await;
        app.apply_webhooks().await;
        assert_eq!(kept(&app, event).status, "processed");
    }
    assert_eq!(standing(&app, "victim").await.0["tier"], "pro");
    let bound = "SELECT count(*) FROM provider_customers WHERE customer_id = 'victim'";
    assert_eq!(count(&app, bound), 0);
}
