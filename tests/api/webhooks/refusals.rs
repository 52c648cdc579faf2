//! What a webhook's route refuses, whoever is said to have sent it.

use plangate::domain::provider_event::ProviderName;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::count;
use crate::{fake_razorpay, fake_stripe};

async fn both() -> TestApp {
    TestApp::builder()
        .with_stripe()
        .with_razorpay()
        .start()
        .await
}

/// A header that the provider would send with this body.
fn signed(app: &TestApp, provider: ProviderName, body: &str) -> (&'static str, String) {
    use plangate::store::clock::Clock as _;
    if provider == ProviderName::Razorpay {
        let signature = fake_razorpay::sign(body, fake_razorpay::WEBHOOK_SECRET);
        return ("x-razorpay-signature", signature);
    }
    let secret = fake_stripe::WEBHOOK_SECRET;
    let delivery = fake_stripe::sign(body.to_owned(), secret, app.clock.now());
    ("stripe-signature", delivery.signature)
}

async fn send(
    app: &TestApp,
    provider: ProviderName,
    body: &str,
    header: Option<(&str, &str)>,
) -> Answer {
    let call = app
        .post(&format!("/webhook/{provider}"))
        .anonymous()
        .body("application/json", body);
    match header {
        Some((name, value)) => call.header(name, value).send().await,
        None => call.send().await,
    }
}

#[actix_web::test]
async fn what_nobody_signed_or_is_no_event_is_refused_and_not_kept() {
    let app = both().await;
    for provider in [ProviderName::Stripe, ProviderName::Razorpay] {
        let event = json!({"entity": "event", "event": "subscription.charged"}).to_string();
        let (name, _) = signed(&app, provider, &event);
        let missing = send(&app, provider, &event, None).await;
        missing.problem(400, "bad-signature");
        let forged = "t=1,v1=00".to_owned();
        for wrong in ["", "0", &"0".repeat(64), &forged] {
            let refused = send(&app, provider, &event, Some((name, wrong))).await;
            refused.problem(400, "bad-signature");
        }
        for body in [
            "{\"entity\":",
            "[]",
            "\"event\"",
            "",
            "{\"entity\":\"refund\"}",
        ] {
            let (name, signature) = signed(&app, provider, body);
            let refused = send(&app, provider, body, Some((name, &signature))).await;
            refused.problem(400, "not-an-event");
        }
        let large = format!("{{\"entity\":\"{}\"}}", "x".repeat(1024 * 1024));
        let (name, signature) = signed(&app, provider, &large);
        let refused = send(&app, provider, &large, Some((name, &signature))).await;
        refused.problem(413, "payload-too-large");
    }
    assert_eq!(count(&app, "SELECT count(*) FROM webhooks"), 0);
}

#[actix_web::test]
async fn a_provider_that_is_not_set_up_has_no_webhooks() {
    let app = TestApp::with_stripe().await;
    for nobody in ["razorpay", "manual", "paypal", "Stripe"] {
        let path = format!("/webhook/{nobody}");
        let call = app.post(&path).anonymous().json(json!({}));
        call.send().await.problem(404, "not-found");
    }
}

#[actix_web::test]
async fn a_razorpay_event_without_an_id_is_known_by_its_body() {
    let app = both().await;
    let event = |at: i64| {
        json!({"entity": "event", "event": "order.paid", "payload": {}, "created_at": at})
            .to_string()
    };
    let mut ids = Vec::new();
    for (body, status) in [
        (event(1), "ignored"),
        (event(1), "duplicate"),
        (event(2), "ignored"),
    ] {
        let (name, signature) = signed(&app, ProviderName::Razorpay, &body);
        let header = Some((name, signature.as_str()));
        let kept = send(&app, ProviderName::Razorpay, &body, header).await.ok();
        assert_eq!(kept["received"], true);
        assert_eq!(kept["status"], status, "{kept}");
        ids.push(kept["event_id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    assert!(ids[0].as_str().unwrap().starts_with("body-"), "{ids:?}");
    let ids: Value = ids.into();
    assert_eq!(count(&app, "SELECT count(*) FROM webhooks"), 2, "{ids}");
}
