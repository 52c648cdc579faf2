//! The routes of a checkout and of the subscription that came of it.

use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use actix_web::{App, web};
use plangate::domain::api_key::KeyMode;
use plangate::domain::ids::CustomerId;
use plangate::domain::permission::TokenPermission;
use plangate::http::auth::identify;
use plangate::http::{configure, request_id};
use plangate::service::api_keys::ApiKeys;
use plangate::service::authentication::Authenticator;
use plangate::service::customer_tokens::CustomerTokens;
use plangate::store::clock::Clock as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use utoipa_actix_web::AppExt as _;

use crate::support::shop::Shop;

const ADMIN_KEY: &str = "an.operators.key-of-enough-characters";

fn tokens() -> CustomerTokens {
    CustomerTokens::new(&SecretString::from("a secret of thirty-two characters"))
}

/// A credential of the customer `acme`.
fn token(shop: &Shop, permissions: &[TokenPermission]) -> String {
    let acme = CustomerId::parse("acme").unwrap();
    let minted = tokens().mint(
        &acme,
        permissions,
        shop.clock.now(),
        chrono::TimeDelta::minutes(5),
    );
    minted.unwrap().token
}

async fn send(shop: &Shop, credential: &str, request: TestRequest) -> (u16, Value) {
    let clock = shop.clock.clone();
    let keys = ApiKeys::new(shop.context.pool.clone(), KeyMode::Test);
    let authenticator = Authenticator::new(
        Arc::new(keys),
        Arc::new(tokens()),
        Some(&SecretString::from(ADMIN_KEY)),
        Arc::new(move || clock.now()),
    );
    let (app, _) = App::new()
        .into_utoipa_app()
        .app_data(web::Data::new(authenticator))
        .app_data(web::Data::new(shop.context.clone()))
        .configure(configure)
        .split_for_parts();
    let app = init_service(app.wrap(from_fn(identify)).wrap(from_fn(request_id::track))).await;
    let request = request.insert_header((AUTHORIZATION, format!("Bearer {credential}")));
    let response = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    (status, read_body_json(response).await)
}

fn checkout(body: &Value) -> TestRequest {
    TestRequest::post()
        .uri("/billing/create-checkout")
        .set_json(body)
}

fn subscription(query: &str) -> TestRequest {
    TestRequest::get().uri(&format!("/billing/subscription{query}"))
}

async fn buy(shop: &Shop, body: Value) -> (u16, Value) {
    send(shop, ADMIN_KEY, checkout(&body)).await
}

#[actix_web::test]
async fn a_customer_buys_and_looks_at_the_subscription() {
    let shop = Shop::open();
    let customer = token(&shop, &[TokenPermission::Read, TokenPermission::Billing]);
    let keyed =
        checkout(&json!({"plan_tier": "pro"})).insert_header(("Idempotency-Key", "\"buy-1\""));
    let (status, open) = send(&shop, &customer, keyed).await;
    assert_eq!(status, 201, "{open}");
    let session_id = open["session_id"].as_str().unwrap();
    assert_eq!(
        open,
        json!({
            "checkout_url": format!("https://checkout.stripe.test/c/pay/{session_id}"),
            "session_id": session_id, "provider": "stripe", "expires_at": "2026-01-13T10:00:00Z",
            "publishable_key": "pk_test_fake",
        })
    );
    let (status, none) = send(&shop, &customer, subscription("")).await;
    assert_eq!(
        (status, &none["type"]),
        (404, &json!("/problems/not-found"))
    );

    let id = shop.pay(session_id).await;
    let expected = json!({
        "provider": "stripe", "provider_subscription_id": id, "status": "active", "plan_tier": "pro", "plan_version": 1,
        "current_period_start": "2026-01-12T10:00:00Z", "current_period_end": "2026-02-12T10:00:00Z",
        "cancel_at_period_end": false, "trial_end": null, "planned_change": null, "grace": null,
    });
    let (status, shown) = send(&shop, ADMIN_KEY, subscription("?customer_id=acme")).await;
    assert_eq!((status, shown), (200, expected));

    shop.deliver(&shop.fake.fail_payment(&id)).await;
    let (_, shown) = send(&shop, &customer, subscription("")).await;
    assert_eq!(
        (&shown["status"], &shown["grace"]),
        (
            &json!("past_due"),
            &json!({"tier": "pro", "ends_at": "2026-01-19T10:00:00Z"})
        )
    );
    let (status, due) = buy(&shop, json!({"customer_id": "acme", "plan_tier": "scale"})).await;
    assert_eq!(
        (status, &due["type"], &due["portal"]),
        (
            409,
            &json!("/problems/payment-due"),
            &json!("/billing/portal")
        )
    );
}

#[actix_web::test]
async fn each_fault_has_its_status_and_its_place() {
    let shop = Shop::open();
    let url = |length: usize| format!("https://app.example/{}", "a".repeat(length));
    for (body, status, kind, pointer) in [
        (json!({"plan_tier": "gold"}), 404, "unknown-plan", None),
        (
            json!({"plan_tier": "free"}),
            422,
            "validation-failed",
            Some("/plan_tier"),
        ),
        (
            json!({"plan_tier": "No Tier"}),
            422,
            "validation-failed",
            Some("/plan_tier"),
        ),
        (
            json!({"plan_tier": "pro", "provider": "razorpay"}),
            409,
            "provider-not-configured",
            None,
        ),
        (
            json!({"plan_tier": "pro", "provider": "manual"}),
            422,
            "validation-failed",
            Some("/provider"),
        ),
        (
            json!({"plan_tier": "pro", "success_url": "https://evil.example/"}),
            422,
            "validation-failed",
            Some("/success_url"),
        ),
        (
            json!({"plan_tier": "pro", "cancel_url": url(2048)}),
            422,
            "validation-failed",
            Some("/cancel_url"),
        ),
        (
            json!({"plan_tier": "pro", "coupon": "x"}),
            422,
            "validation-failed",
            Some("/coupon"),
        ),
    ] {
        let mut whole = body.clone();
        whole["customer_id"] = json!("acme");
        let (got, problem) = buy(&shop, whole).await;
        assert_eq!(
            (got, problem["type"].as_str()),
            (status, Some(format!("/problems/{kind}").as_str())),
            "{body}"
        );
        assert_eq!(problem["errors"][0]["pointer"].as_str(), pointer, "{body}");
    }
    let (status, missing) = buy(&shop, json!({"plan_tier": "pro"})).await;
    assert_eq!(
        (status, &missing["errors"][0]["pointer"]),
        (422, &json!("/customer_id"))
    );
    let body = json!({"customer_id": "acme", "plan_tier": "pro"});
    let bad_key = checkout(&body).insert_header(("Idempotency-Key", ""));
    assert_eq!(send(&shop, ADMIN_KEY, bad_key).await.0, 400);
    assert_eq!(send(&shop, ADMIN_KEY, subscription("")).await.0, 400);
    assert_eq!(shop.fake.requests().len(), 0);
}

#[actix_web::test]
async fn a_token_buys_for_its_own_customer_and_only_with_the_permission() {
    let shop = Shop::open();
    let reader = token(&shop, &[TokenPermission::Read]);
    let body = json!({"plan_tier": "pro"});
    assert_eq!(send(&shop, &reader, checkout(&body)).await.0, 403);
    let buyer = token(&shop, &[TokenPermission::Billing]);
    let other = json!({"customer_id": "globex", "plan_tier": "pro"});
    assert_eq!(send(&shop, &buyer, checkout(&other)).await.0, 403);
    let of_other = subscription("?customer_id=globex");
    assert_eq!(send(&shop, &buyer, of_other).await.0, 403);
    assert_eq!(send(&shop, "nonsense", checkout(&body)).await.0, 401);
}

#[actix_web::test]
async fn the_document_describes_both_routes() {
    let (_, document) = App::new()
        .into_utoipa_app()
        .configure(configure)
        .split_for_parts();
    let document = serde_json::to_value(document).unwrap();
    let create = &document["paths"]["/billing/create-checkout"]["post"]["responses"];
    let statuses: Vec<_> = create.as_object().unwrap().keys().collect();
    assert_eq!(
        statuses,
        [
            "201", "400", "401", "403", "404", "409", "413", "415", "422", "500", "502", "503"
        ]
    );
    let read = &document["paths"]["/billing/subscription"]["get"]["responses"];
    assert_eq!(
        read["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Subscription"
    );
    for schema in [
        "Problem",
        "Subscription",
        "Checkout",
        "CreateCheckout",
        "SubscriptionGrace",
    ] {
        assert!(
            document["components"]["schemas"][schema].is_object(),
            "{schema}"
        );
    }
}
