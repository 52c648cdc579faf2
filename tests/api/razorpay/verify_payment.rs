//! What Checkout.js hands to a browser is checked, and grants nothing by itself.

use diesel::prelude::*;
use serde_json::{Value, json};

use super::{buy, order, runs};
use crate::fake_razorpay::{Endpoint, FakeRazorpay, Fault};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{grant, subscribe};

fn proof(customer: &str, payment: &str, subscription: &str) -> Value {
    json!({
        "customer_id": customer,
        "razorpay_payment_id": payment,
        "razorpay_subscription_id": subscription,
        "razorpay_signature": FakeRazorpay::checkout_signature(payment, subscription),
    })
}

async fn verify(app: &TestApp, proof: &Value) -> Answer {
    let call = app.post("/billing/verify-payment").json(proof.clone());
    call.send().await
}

#[actix_web::test]
async fn a_payment_that_was_made_is_seen_before_its_webhook() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    let events = app.razorpay().pay_checkout(&id);
    let proof = proof("acme", &app.razorpay().payment_of(&id), &id);
    let verified = verify(&app, &proof).await.ok();
    assert_eq!(verified["verified"], true);
    assert_eq!(
        (
            &verified["subscription"]["provider_subscription_id"],
            &verified["subscription"]["status"]
        ),
        (&json!(id), &json!("active"))
    );
    assert_eq!(runs(&app).await, 5000);
    assert_eq!(verify(&app, &proof).await.ok(), verified);
    app.deliver_razorpay(&events).await;
    app.apply_webhooks().await;
    assert_eq!(verify(&app, &proof).await.ok(), verified);

    // A frontend does it with its customer's token, without saying who that is.
    let body = json!({"permissions": ["billing"]});
    let minted = app.post("/customers/acme/tokens").json(body);
    let token = minted.send().await.expect(201)["token"].clone();
    let mut bare = proof.clone();
    bare.as_object_mut().unwrap().remove("customer_id");
    let call = app.post("/billing/verify-payment").json(bare);
    let by_token = call.key(token.as_str().unwrap()).send().await;
    assert_eq!(by_token.ok(), verified);
}

#[actix_web::test]
async fn a_wrong_signature_is_refused() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    app.razorpay().pay_checkout(&id);
    let good = proof("acme", &app.razorpay().payment_of(&id), &id);
    let of_another_payment = json!(FakeRazorpay::checkout_signature("pay_other", &id));
    let signature = good["razorpay_signature"].as_str().unwrap();
    for wrong in [
        of_another_payment,
        json!(signature.replace(&signature[..1], "g")),
        json!(&signature[2..]),
        json!("x"),
    ] {
        let mut forged = good.clone();
        forged["razorpay_signature"] = wrong;
        let refused = verify(&app, &forged).await;
        refused.problem(400, "bad-signature");
    }
    let seen = app.razorpay().requests_to(Endpoint::Subscription);
    assert_eq!(seen.len(), 0, "nothing is looked at for it");
    assert_eq!(runs(&app).await, 100);
}

#[actix_web::test]
async fn only_who_buys_a_subscription_can_show_its_payment() {
    let app = TestApp::builder()
        .with_stripe()
        .with_razorpay()
        .start()
        .await;
    let id = buy(&app, "acme", "pro").await;
    let theirs = proof("other", &app.razorpay().payment_of(&id), &id);
    verify(&app, &theirs).await.problem(404, "not-found");
    grant(&app, "other", "free").await;
    verify(&app, &theirs).await.problem(404, "not-found");
    let nobodys = proof("acme", "pay_1", "sub_nobodys");
    verify(&app, &nobodys).await.problem(404, "not-found");
    // Nor is one of another provider meant.
    let stripes = subscribe(&app, "payer", "pro").await;
    let stripes = proof("payer", "pay_1", &stripes);
    verify(&app, &stripes).await.problem(404, "not-found");

    let app = TestApp::with_stripe().await;
    let unsold = verify(&app, &theirs).await;
    unsold.problem(409, "provider-not-configured");
}

#[actix_web::test]
async fn a_signature_grants_nothing_that_the_subscription_does_not() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    let early = proof("acme", "pay_early", &id);
    let verified = verify(&app, &early).await.ok();
    assert_eq!(verified["verified"], true);
    assert_eq!(verified["subscription"]["status"], "incomplete");
    assert_eq!(runs(&app).await, 100);
}

#[actix_web::test]
async fn a_provider_that_is_away_is_no_reason_to_doubt_a_payment() {
    let app = TestApp::with_razorpay().await;
    let id = order(&app, "acme", "pro").await;
    app.razorpay().pay_checkout(&id);
    app.razorpay()
        .fail(Endpoint::Subscription, Fault::SERVER_ERROR, 3);
    let proof = proof("acme", &app.razorpay().payment_of(&id), &id);
    assert_eq!(
        verify(&app, &proof).await.ok(),
        json!({"verified": true, "subscription": null})
    );
    assert_eq!(runs(&app).await, 100);
}

#[actix_web::test]
async fn what_cannot_be_a_proof_is_told_apart() {
    let app = TestApp::with_razorpay().await;
    let good = proof("acme", "pay_1", "sub_1");
    let fields = [
        "razorpay_payment_id",
        "razorpay_subscription_id",
        "razorpay_signature",
    ];
    for field in fields {
        for bad in [
            json!(""),
            json!("a".repeat(256)),
            json!("a\u{0}b"),
            json!(7),
            Value::Null,
        ] {
            let mut body = good.clone();
            body[field] = bad.clone();
            let refused = verify(&app, &body).await;
            let refused = refused.problem(422, "validation-failed");
            assert_eq!(
                refused["errors"][0]["pointer"],
                format!("/{field}"),
                "{bad}"
            );
        }
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        verify(&app, &body).await.problem(422, "validation-failed");
    }
    let mut more = good.clone();
    more["razorpay_order_id"] = json!("order_1");
    verify(&app, &more).await.problem(422, "validation-failed");
    let mut anonymous = good;
    anonymous.as_object_mut().unwrap().remove("customer_id");
    let nobody = verify(&app, &anonymous).await;
    nobody.problem(422, "validation-failed");
}

#[actix_web::test]
async fn the_published_vector_is_good() {
    // The fake lets this key in nowhere; the proof needs no request.
    let app = TestApp::builder()
        .with_razorpay()
        .set("RAZORPAY_KEY_SECRET", "EnLs21M47BllR3X8PSFtjtbd")
        .start()
        .await;
    let customer = app.put("/customers/acme").json(json!({}));
    customer.send().await.expect(201);
    let session = "INSERT INTO checkout_sessions (customer_id, attempt_id, provider, plan_tier, plan_version, state, session_id, \
                   success_url, cancel_url, created_at, updated_at) \
                   VALUES ('acme', gen_random_uuid(), 'razorpay', 'pro', 1, 'open', 'sub_ID6MOhgkcoHj9I', '', '', now(), now())";
    diesel::sql_query(session)
        .execute(&mut app.connect())
        .unwrap();
    let vector = json!({
        "customer_id": "acme",
        "razorpay_payment_id": "pay_IDZNwZZFtnjyym",
        "razorpay_subscription_id": "sub_ID6MOhgkcoHj9I",
        "razorpay_signature": "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693",
    });
    assert_eq!(
        verify(&app, &vector).await.ok(),
        json!({"verified": true, "subscription": null})
    );
}
