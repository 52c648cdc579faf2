//! Bodies, signatures, and everything that goes wrong on the way.

use std::time::Duration;

use plangate::store::clock::Clock as _;
use serde_json::json;

use super::{get, post, ready, subscribe};
use crate::fake_razorpay::{Endpoint, FakeRazorpay, Fault, Quirk, WEBHOOK_SECRET, sign};
use crate::support::app::TestApp;

#[test]
fn signatures_are_the_documented_ones() {
    for (secret, message, hex) in [
        (
            "123456",
            r#"{"a":1,"b":2,"c":{"d":3}}"#,
            "2fe04e22977002e6c7cb553adab8b460cb9e2a4970d5953cb27a8472752e3bbc",
        ),
        (
            "EnLs21M47BllR3X8PSFtjtbd",
            "pay_IDZNwZZFtnjyym|sub_ID6MOhgkcoHj9I",
            "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693",
        ),
        (
            "EnLs21M47BllR3X8PSFtjtbd",
            "plink_IH3cNucfVEgV68|TSsd1989|paid|pay_IH3d0ara9bSsjQ",
            "07ae18789e35093e51d0a491eb9922646f3f82773547e5b0f67ee3f2d3bf7d5b",
        ),
    ] {
        assert_eq!(sign(message, secret), hex);
    }
}

#[tokio::test]
async fn an_event_says_what_it_contains_and_bears_its_id_outside() {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({})).await;
    let events = razorpay.pay_checkout(&id);
    let charged = &events[2].body;
    assert_eq!(charged["entity"], "event");
    assert_eq!(charged["contains"], json!(["subscription", "payment"]));
    assert_eq!(charged["created_at"], 1_769_853_600);
    assert_eq!(events[1].body["contains"], json!(["subscription"]));
    let delivery = razorpay.sign(&events[2]);
    assert_eq!(delivery.signature, sign(&delivery.body, WEBHOOK_SECRET));
    assert!(!delivery.body.contains(&delivery.event_id));
    assert_ne!(events[0].id, events[1].id);
}

#[tokio::test]
async fn quirks_are_switched_on_and_off() {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({})).await;
    razorpay.have_quirks(Quirk::ALL);
    let charged = razorpay.pay_checkout(&id).remove(2);
    assert_eq!(charged.body["contains"], json!(["subscription"]));
    assert!(charged.body["created_at"].is_null());
    assert_eq!(charged.body["payload"]["created_at"], 1_769_853_600);
    assert!(charged.entity("subscription")["current_end"].is_null());
    assert_eq!(charged.entity("payment")["amount"], 399_900);
    razorpay.have_quirks(
        Quirk::ALL
            .into_iter()
            .filter(|quirk| *quirk != Quirk::Nulls),
    );
    let charged = razorpay.end_period(&id).remove(0);
    assert_eq!(charged.entity("subscription")["notes"], json!({}));
    assert_eq!(charged.entity("payment")["contact"], 919_000_090_000_i64);
    assert_eq!(charged.entity("payment")["captured"], "1");
    let path = format!("/v1/payments/{}", razorpay.payment_of(&id));
    assert_eq!(get(&razorpay, &path).await.ok()["captured"], "1");
    razorpay.have_quirks([]);
    assert_eq!(get(&razorpay, &path).await.ok()["captured"], true);
    let subscription = razorpay.subscription(&id);
    let plain = razorpay.event("subscription.updated", &[("subscription", &subscription)]);
    assert_eq!(plain.entity("subscription"), &subscription);
}

#[tokio::test]
async fn faults_come_once_and_in_order() {
    let razorpay = ready();
    let plan = "/v1/plans/plan_pro";
    razorpay.fail(Endpoint::Plan, Fault::rate_limited(3), 1);
    razorpay.fail(Endpoint::Plan, Fault::SERVER_ERROR, 1);
    razorpay.fail(Endpoint::Plan, Fault::Refuse("Not today"), 1);
    razorpay.fail(Endpoint::Plan, Fault::Pass, 1);
    razorpay.fail(Endpoint::Plan, Fault::StallAfterEffect(Duration::ZERO), 1);
    let limited = get(&razorpay, plan).await;
    assert_eq!(
        (limited.status, &limited.headers["retry-after"]),
        (429, &"3".parse().unwrap())
    );
    let broken = get(&razorpay, plan).await;
    assert_eq!(
        (broken.status, &broken.body["error"]["code"]),
        (500, &json!("SERVER_ERROR"))
    );
    assert_eq!(get(&razorpay, plan).await.refusal(), "Not today");
    for _ in 0..3 {
        get(&razorpay, plan).await.ok();
    }
    razorpay.fail(Endpoint::CreateSubscription, Fault::DropBeforeEffect, 1);
    razorpay.fail(Endpoint::CreateSubscription, Fault::DropAfterEffect, 1);
    razorpay.fail(Endpoint::CreateSubscription, Fault::Garbage, 1);
    for made in [0, 1, 1] {
        create_and_lose_the_answer(&razorpay).await;
        assert_eq!(razorpay.subscriptions().len(), made);
    }
    post(&razorpay, "/v1/customers", json!({"name": "Acme"}))
        .await
        .ok();
}

async fn create_and_lose_the_answer(razorpay: &FakeRazorpay) {
    let body = json!({"plan_id": "plan_pro", "total_count": 12});
    let answer = super::post_request(razorpay, "/v1/subscriptions", &body)
        .send()
        .await;
    if let Ok(answer) = answer {
        let page = answer.text().await.unwrap();
        assert!(page.starts_with("<html>"), "{page}");
    }
}

#[tokio::test]
async fn the_service_takes_deliveries_and_shares_its_clock() {
    // Whose the subscription is nobody knows.
    let builder = TestApp::builder().with_stripe().with_razorpay();
    let app = builder.may_leave_events().start().await;
    app.advance(chrono::TimeDelta::days(3));
    let id = subscribe(app.razorpay(), json!({})).await;
    let sold = app.razorpay().subscription(&id);
    assert_eq!(sold["created_at"], app.clock.now().timestamp());
    app.razorpay().have_quirks(Quirk::ALL);
    let events = app.razorpay().pay_checkout(&id);
    assert_eq!(app.deliver_razorpay(&events).await.len(), 3);
    assert_eq!(app.deliver_razorpay(&events[..1]).await.len(), 1);
}
