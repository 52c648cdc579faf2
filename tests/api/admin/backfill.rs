//! Events that were missed are fetched, and subscriptions that differ are found and mended.

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::store::clock::Clock as _;
use plangate::store::schema::subscriptions;
use serde_json::{Value, json};

use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{count, pay, subscribe, subscription_id};

async fn backfill(app: &TestApp, since: impl serde::Serialize) -> Answer {
    let body = json!({"provider": "stripe", "since": since});
    app.post("/admin/webhooks/backfill").json(body).send().await
}

async fn reconcile(app: &TestApp, repair: bool) -> Value {
    let body = json!({"repair": repair});
    let call = app.post("/admin/reconcile-subscriptions").json(body);
    call.send().await.ok()
}

async fn subscription(app: &TestApp, customer: &str) -> Answer {
    let path = format!("/billing/subscription?customer_id={customer}");
    app.get(&path).send().await
}

#[actix_web::test]
async fn what_happened_while_the_endpoint_was_down_is_fetched_and_applied_once() {
    let app = TestApp::with_stripe().await;
    let began = app.clock.now();
    let delivered = subscribe(&app, "delivered", "pro").await;
    // From here on nobody answers the provider.
    app.advance(TimeDelta::hours(1));
    let missed = subscription_id(&pay(&app, "missed", "scale").await);
    app.stripe().fail_payment(&delivered);
    app.stripe().event(
        "product.created",
        &json!({"id": "prod_1", "object": "product"}),
    );
    app.advance(TimeDelta::hours(1));
    subscription(&app, "missed").await.problem(404, "not-found");

    let first = backfill(&app, began).await.expect(202);
    assert_eq!(
        first["duplicates"], 3,
        "the checkout's events came by themselves: {first}"
    );
    let queued = first["queued"].as_u64().unwrap();
    assert_eq!(queued, 5, "{first}");
    app.apply_webhooks().await;
    let shown = subscription(&app, "missed").await.ok();
    assert_eq!(
        (
            &shown["provider_subscription_id"],
            &shown["plan_tier"],
            &shown["status"]
        ),
        (&json!(missed), &json!("scale"), &json!("active"))
    );
    assert_eq!(
        subscription(&app, "delivered").await.ok()["status"],
        "past_due"
    );

    // Again: everything is known.
    let again = backfill(&app, began).await.expect(202);
    assert_eq!(again["queued"], 0, "{again}");
    assert_eq!(again["fetched"], first["fetched"]);
    assert_eq!(again["duplicates"], again["fetched"]);
    // Only what happened since then is asked for.
    let none = backfill(&app, app.clock.now()).await.expect(202);
    assert_eq!(none["fetched"], 0, "{none}");
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM audit_log WHERE action = 'webhooks.backfill'"
        ),
        3
    );
}

#[actix_web::test]
async fn past_the_providers_memory_every_subscription_is_looked_at() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let began = app.clock.now();
    app.stripe()
        .update_subscription(&id, |s| s["status"] = json!("unpaid"));
    app.advance(TimeDelta::days(31));
    let found = backfill(&app, began).await.expect(202);
    assert_eq!(found["queued"], 1, "{found}");
    app.apply_webhooks().await;
    assert_eq!(subscription(&app, "acme").await.ok()["status"], "unpaid");
}

#[actix_web::test]
async fn where_no_events_are_kept_every_subscription_is_looked_at() {
    let app = TestApp::with_razorpay().await;
    let began = app.clock.now();
    let order = json!({"customer_id": "acme", "plan_tier": "pro", "provider": "razorpay"});
    let call = app.post("/billing/create-checkout").json(order);
    let opened = call.send().await.expect(201);
    // From here on nobody answers the provider.
    app.razorpay()
        .pay_checkout(opened["session_id"].as_str().unwrap());
    app.advance(TimeDelta::hours(1));
    subscription(&app, "acme").await.problem(404, "not-found");

    let fetch = async || {
        let body = json!({"provider": "razorpay", "since": began});
        let call = app.post("/admin/webhooks/backfill").json(body);
        call.send().await.expect(202)
    };
    let first = fetch().await;
    assert_eq!(
        (&first["fetched"], &first["queued"]),
        (&json!(1), &json!(1))
    );
    app.apply_webhooks().await;
    let shown = subscription(&app, "acme").await.ok();
    assert_eq!(
        (&shown["provider_subscription_id"], &shown["status"]),
        (&opened["session_id"], &json!("active"))
    );
    // Once an hour is enough.
    let again = fetch().await;
    assert_eq!(
        (&again["queued"], &again["duplicates"]),
        (&json!(0), &json!(1))
    );
}

#[actix_web::test]
async fn a_backfill_that_breaks_off_keeps_what_it_has() {
    let app = TestApp::with_stripe().await;
    let began = app.clock.now();
    for n in 0..40 {
        pay(&app, &format!("customer-{n}"), "pro").await;
    }
    // The first page is told, the second is not.
    app.stripe().fail(Endpoint::Events, Fault::Pass, 1);
    let down = Fault::Status {
        status: 503,
        retry_after: None,
        should_retry: Some(false),
    };
    app.stripe().fail(Endpoint::Events, down, 1);
    backfill(&app, began).await.problem(502, "provider-failed");
    let kept = count(&app, "SELECT count(*) FROM webhooks");
    assert_eq!(kept, 100);
    let rest = backfill(&app, began).await.expect(202);
    assert_eq!(rest["duplicates"], 100, "{rest}");
    app.apply_webhooks().await;
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM subscriptions WHERE status = 'active'"
        ),
        40
    );
}

#[actix_web::test]
async fn nonsense_is_refused() {
    let app = TestApp::with_stripe().await;
    let tomorrow = app.clock.now() + TimeDelta::days(1);
    let refused = backfill(&app, tomorrow).await;
    assert_eq!(
        refused.problem(422, "validation-failed")["errors"][0]["pointer"],
        "/since"
    );
    let call = app.post("/admin/webhooks/backfill");
    let body = json!({"provider": "razorpay", "since": "2026-01-01T00:00:00Z"});
    call.json(body)
        .send()
        .await
        .problem(409, "provider-not-configured");
}

#[actix_web::test]
async fn subscriptions_that_differ_are_shown_and_repaired() {
    let app = TestApp::with_stripe().await;
    let same = subscribe(&app, "same", "pro").await;
    let lapsed = subscribe(&app, "lapsed", "pro").await;
    let unknown = subscription_id(&pay(&app, "unknown", "scale").await);
    let lost = subscribe(&app, "lost", "pro").await;
    app.stripe()
        .update_subscription(&lapsed, |s| s["status"] = json!("past_due"));
    // Of another account, say: the provider does not know it.
    diesel::update(subscriptions::table.filter(subscriptions::provider_subscription_id.eq(&lost)))
        .set(subscriptions::provider_subscription_id.eq("sub_of_nobody"))
        .execute(&mut app.connect())
        .unwrap();
    diesel::sql_query("UPDATE subscription_leases SET provider_subscription_id = 'sub_of_nobody' WHERE customer_id = 'lost'")
        .execute(&mut app.connect())
        .unwrap();
    app.stripe().update_subscription(&lost, |s| {
        s["status"] = json!("canceled");
        s["ended_at"] = json!(app.clock.now().timestamp());
    });

    let found = reconcile(&app, false).await;
    let drift = |found: &Value, id: &str| -> Option<Value> {
        let drifts = found["drifts"].as_array().unwrap();
        drifts
            .iter()
            .find(|drift| drift["provider_subscription_id"] == id)
            .cloned()
    };
    assert_eq!(drift(&found, &same), None);
    assert_eq!(drift(&found, &lost), None, "it ended and was never known");
    let changed = drift(&found, &lapsed).unwrap();
    assert_eq!(
        (
            &changed["stored"]["status"],
            &changed["provider"]["status"],
            &changed["repaired"]
        ),
        (&json!("active"), &json!("past_due"), &json!(false))
    );
    let new = drift(&found, &unknown).unwrap();
    assert_eq!(
        (&new["customer_id"], &new["stored"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!(new["provider"]["plan_tier"], "scale");
    let gone = drift(&found, "sub_of_nobody").unwrap();
    assert_eq!(
        (&gone["stored"]["status"], &gone["provider"]),
        (&json!("active"), &Value::Null)
    );
    assert_eq!(found["drifts"].as_array().unwrap().len(), 3, "{found}");
    let members: Vec<&String> = changed.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "customer_id",
            "provider",
            "provider_subscription_id",
            "repaired",
            "stored"
        ]
    );
    assert_eq!(
        subscription(&app, "lapsed").await.ok()["status"],
        "active",
        "only looked at"
    );

    let mended = reconcile(&app, true).await;
    assert_eq!(drift(&mended, &lapsed).unwrap()["repaired"], true);
    assert_eq!(drift(&mended, &unknown).unwrap()["repaired"], true);
    assert_eq!(drift(&mended, "sub_of_nobody").unwrap()["repaired"], false);
    assert_eq!(
        subscription(&app, "lapsed").await.ok()["status"],
        "past_due"
    );
    assert_eq!(
        subscription(&app, "unknown").await.ok()["plan_tier"],
        "scale"
    );
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM audit_log WHERE action = 'subscription.reconcile'"
        ),
        2
    );
    let left = reconcile(&app, false).await;
    assert_eq!(left["drifts"].as_array().unwrap().len(), 1, "{left}");
}
