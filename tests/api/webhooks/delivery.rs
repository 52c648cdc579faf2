//! What becomes of a delivery at the door.

use chrono::TimeDelta;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use super::{deliver, events_kept, kept, plan, post, some_event, standing};
use crate::fake_stripe::{Delivery, WEBHOOK_SECRET, sign};
use crate::support::app::TestApp;
use crate::support::steps::pay;

#[actix_web::test]
async fn a_delivery_that_nobody_signed_now_is_refused_and_counted() {
    let app = TestApp::with_stripe().await;
    let event = some_event(&app);
    let now = app.clock.now();
    let body = event.to_string();
    let good = app.stripe().sign(&event, now);
    let signature = |signature: &str| Delivery {
        body: body.clone(),
        signature: signature.to_owned(),
    };
    let digest = good.signature.split_once("v1=").unwrap().1;
    let t = now.timestamp();
    let mut changed = good.clone();
    changed.body = body.replace("prod_1", "prod_2");
    let refused = [
        signature(""),
        signature("nonsense"),
        signature(&format!("t={t}")),
        signature(&format!("v1={digest}")),
        signature(&format!("t={t},v0={digest}")),
        signature(&format!("t={},v1={digest}", t + 1)),
        signature(&format!("t={t},v1={}", &digest[2..])),
        changed,
        sign(body.clone(), "whsec_another", now),
        sign(body.clone(), "", now),
        sign(body.clone(), WEBHOOK_SECRET, now - TimeDelta::seconds(301)),
        sign(body.clone(), WEBHOOK_SECRET, now + TimeDelta::seconds(301)),
    ];
    for delivery in &refused {
        let problem = post(&app, delivery).await.problem(400, "bad-signature");
        assert!(!problem.to_string().contains(digest), "{problem}");
    }
    let unsigned = app.post("/webhook/stripe").anonymous().json(event.clone());
    unsigned.send().await.problem(400, "bad-signature");
    assert_eq!(events_kept(&app), 0);
    let metrics = app.get("/metrics").anonymous().send().await.text;
    let failures = refused.len() + 1;
    let line =
        format!(r#"plangate_webhook_signature_failures_total{{provider="stripe"}} {failures}"#);
    assert!(metrics.lines().any(|found| found == line), "{metrics}");

    for age in [300, -300] {
        let delivery = sign(body.clone(), WEBHOOK_SECRET, now - TimeDelta::seconds(age));
        post(&app, &delivery).await.ok();
    }
    assert_eq!(events_kept(&app), 1);
}

#[actix_web::test]
async fn a_signed_body_that_is_no_event_is_refused() {
    let app = TestApp::with_stripe().await;
    let mut charge = some_event(&app);
    charge["object"] = json!("charge");
    let mut nameless = some_event(&app);
    nameless["id"] = json!("");
    let mut endless = some_event(&app);
    endless["id"] = json!("e".repeat(256));
    let mut pointless = some_event(&app);
    pointless["type"] = json!("customer.subscription.updated");
    pointless["data"] = json!({});
    let mut unspeakable = some_event(&app);
    unspeakable["id"] = json!("evt_\u{0}");
    let about = |id: String| {
        let mut event = some_event(&app);
        event["type"] = json!("customer.subscription.updated");
        event["data"]["object"]["id"] = json!(id);
        event
    };
    let bodies = [
        charge,
        nameless,
        endless,
        pointless,
        unspeakable,
        about("sub_\u{0}".to_owned()),
        about("s".repeat(5000)),
        about(String::new()),
        json!({}),
        json!([]),
        json!(null),
    ];
    let texts = ["", "{", "not json", "{\"id\": 1}", "\u{0}"].map(str::to_owned);
    for body in bodies.iter().map(Value::to_string).chain(texts) {
        let delivery = sign(body, WEBHOOK_SECRET, app.clock.now());
        post(&app, &delivery).await.problem(400, "not-an-event");
    }
    assert_eq!(events_kept(&app), 0);
}

#[actix_web::test]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let app = TestApp::with_stripe().await;
    let events = pay(&app, "acme", "pro").await;
    let delivery = app.stripe().sign(&events[0], app.clock.now());
    app.database.take_away();
    let refused = post(&app, &delivery).await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(503, "database-unavailable");
    app.database.bring_back();
    assert_eq!(post(&app, &delivery).await.ok()["status"], "queued");
    app.apply_webhooks().await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");
}

#[actix_web::test]
async fn a_delivery_is_kept_once_and_what_is_of_no_use_is_ignored() {
    let app = TestApp::with_stripe().await;
    let unknown = some_event(&app);
    let expected = |event: &Value, status: &str| json!({"received": true, "event_id": event["id"], "status": status});
    assert_eq!(deliver(&app, &unknown).await, expected(&unknown, "ignored"));
    assert_eq!(
        deliver(&app, &unknown).await,
        expected(&unknown, "duplicate")
    );
    let events = pay(&app, "acme", "pro").await;
    let mut live = events[0].clone();
    live["id"] = json!("evt_live");
    live["livemode"] = json!(true);
    assert_eq!(deliver(&app, &live).await, expected(&live, "ignored"));
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("free", "none", "default")
    );

    assert_eq!(
        deliver(&app, &events[0]).await,
        expected(&events[0], "queued")
    );
    assert_eq!(
        deliver(&app, &events[0]).await,
        expected(&events[0], "duplicate")
    );
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    assert_eq!(
        deliver(&app, &events[0]).await,
        expected(&events[0], "duplicate")
    );
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &events[0]).attempts, 1);
    assert_eq!(events_kept(&app), 3);

    // A body of a mebibyte is taken, one byte more is not; one that lies about its length neither.
    let fits = some_event(&app).to_string();
    let padded = |length: usize| fits.clone() + &" ".repeat(length - fits.len());
    let large = sign(padded(1024 * 1024), WEBHOOK_SECRET, app.clock.now());
    assert_eq!(post(&app, &large).await.ok()["status"], "ignored");
    let larger = sign(padded(1024 * 1024 + 1), WEBHOOK_SECRET, app.clock.now());
    post(&app, &larger).await.problem(413, "payload-too-large");
    let wrong = app.get("/webhook/stripe").anonymous().send().await;
    assert_eq!(wrong.header("allow"), Some("POST"));
    wrong.problem(405, "method-not-allowed");
    assert_eq!(events_kept(&app), 4);
    let metrics = app.get("/metrics").anonymous().send().await.text;
    for (status, times) in [("queued", 1), ("duplicate", 3), ("ignored", 3)] {
        let line =
            format!(r#"plangate_webhooks_total{{provider="stripe",status="{status}"}} {times}"#);
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }

    let without = TestApp::start().await;
    let delivery = app.stripe().sign(&unknown, without.clock.now());
    post(&without, &delivery).await.problem(404, "not-found");
}
