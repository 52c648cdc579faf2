//! The provider's pages for customers, and the way there from the plan context.

use serde_json::{Value, json};

use super::ask;
use crate::fake_stripe::Endpoint;
use crate::support::app::TestApp;
use crate::support::steps::{grant, subscribe};

async fn context(app: &TestApp) -> Value {
    app.get("/plan-context?customer_id=acme").send().await.ok()
}

#[actix_web::test]
async fn who_has_paid_can_visit_the_providers_pages() {
    let app = TestApp::with_stripe().await;
    let nobody = ask(&app, "portal", json!({})).await;
    nobody.problem(409, "no-provider-customer");
    grant(&app, "acme", "pro").await;
    assert_eq!(context(&app).await["manage_billing"], Value::Null);
    let nobody = ask(&app, "portal", json!({})).await;
    nobody.problem(409, "no-provider-customer");

    let id = subscribe(&app, "acme", "scale").await;
    let link = context(&app).await["manage_billing"].clone();
    assert_eq!(link, json!({"method": "POST", "href": "/billing/portal"}));
    let first = ask(&app, "portal", json!({})).await.expect(201);
    let chosen = json!({"return_url": "https://app.example.com/billing?tab=plan"});
    let second = ask(&app, "portal", chosen).await.expect(201);
    let url = first["portal_url"].as_str().unwrap();
    assert!(url.starts_with("https://billing.stripe.test/p/session/"));
    assert_ne!(first, second, "each visit has an address of its own");
    let sent = app.stripe().requests_to(Endpoint::CreatePortalSession);
    let customer = app.stripe().subscription(&id)["customer"].clone();
    let returns: Vec<_> = sent
        .iter()
        .map(|request| {
            assert_eq!(json!(request.params["customer"]), customer);
            request.params["return_url"].as_str()
        })
        .collect();
    assert_eq!(
        returns,
        [
            "https://app.example.com/paid",
            "https://app.example.com/billing?tab=plan"
        ]
    );
    assert_ne!(sent[0].idempotency_key, sent[1].idempotency_key);

    // They stay open after the end, for the invoices.
    ask(&app, "cancel", json!({"when": "now"})).await.ok();
    ask(&app, "portal", json!({})).await.expect(201);
    assert_eq!(context(&app).await["manage_billing"], link);
}

#[actix_web::test]
async fn customers_are_only_sent_back_to_known_places() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "pro").await;
    for url in [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://user@app.example.com/",
        "javascript:alert(1)",
        "/billing",
    ] {
        let refused = ask(&app, "portal", json!({"return_url": url})).await;
        let refused = refused.problem(422, "validation-failed");
        assert_eq!(refused["errors"][0]["pointer"], "/return_url", "{url}");
    }
    let long = format!("https://app.example.com/{}", "a".repeat(2048));
    let refused = ask(&app, "portal", json!({"return_url": long})).await;
    refused.problem(422, "validation-failed");
    assert_eq!(
        app.stripe()
            .requests_to(Endpoint::CreatePortalSession)
            .len(),
        0
    );

    let app = TestApp::start().await;
    let unsold = ask(&app, "portal", json!({})).await;
    unsold.problem(409, "provider-not-configured");
}

#[actix_web::test]
async fn the_plan_context_leads_to_the_change_that_is_possible() {
    let app = TestApp::with_stripe().await;
    let way = async || context(&app).await["upgrade"]["checkout"].clone();
    assert_eq!(way().await["href"], "/billing/create-checkout");
    let id = subscribe(&app, "acme", "pro").await;
    let change = way().await;
    assert_eq!(
        change,
        json!({"method": "POST", "href": "/billing/change-plan",
               "body": {"customer_id": "acme", "plan_tier": "scale"}})
    );
    app.deliver(&app.stripe().fail_payment(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(way().await, Value::Null, "something is due first");
    app.deliver(&app.stripe().renew_subscription(&id)).await;
    app.apply_webhooks().await;
    let href = way().await["href"].as_str().unwrap().to_owned();
    let upgraded = app.post(&href).json(change["body"].clone()).send().await;
    assert_eq!(upgraded.ok()["plan_tier"], "scale");
    assert_eq!(context(&app).await["upgrade"], Value::Null);
    app.deliver(&app.stripe().take_events()).await;
    app.apply_webhooks().await;
}

#[actix_web::test]
async fn without_a_configured_address_one_must_be_given_by_whoever_can_come_back() {
    let app = TestApp::builder()
        .with_stripe()
        .set("PLANGATE_SUCCESS_URL", "")
        .start()
        .await;
    let nobody = ask(&app, "portal", json!({})).await;
    nobody.problem(409, "no-provider-customer");
    // A checkout makes the provider's customer.
    let order = json!({"customer_id": "acme", "plan_tier": "pro", "success_url": "https://app.example.com/paid"});
    let call = app.post("/billing/create-checkout").json(order);
    call.send().await.expect(201);
    let homeless = ask(&app, "portal", json!({})).await;
    let homeless = homeless.problem(422, "validation-failed");
    assert_eq!(homeless["errors"][0]["pointer"], "/return_url");
    let elsewhere = json!({"return_url": "https://elsewhere.example"});
    let refused = ask(&app, "portal", elsewhere).await;
    refused.problem(422, "validation-failed");
}
