//! Customers, prices and checkout sessions.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{get, post, ready, send, session_params};
use crate::fake_stripe::{Endpoint, FakePrice, FakeStripe};

#[tokio::test]
async fn only_the_key_is_let_in() {
    let stripe = FakeStripe::start();
    let url = stripe.base().join("/v1/prices/price_1").unwrap();
    let client = reqwest::Client::new();
    assert_eq!(send(client.get(url.clone())).await.status, 401);
    assert_eq!(
        send(client.get(url).bearer_auth("sk_test_other"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn addresses_and_objects_that_do_not_exist_are_404() {
    let stripe = FakeStripe::start();
    for path in [
        "customers/cus_1",
        "prices/price_1",
        "checkout/sessions/cs_1",
        "subscriptions/sub_1",
    ] {
        let answer = get(&stripe, &format!("/v1/{path}")).await;
        assert_eq!(answer.error(), (404, "resource_missing", "id"), "{path}");
    }
    assert_eq!(get(&stripe, "/v1/widgets").await.status, 404);
    assert_eq!(get(&stripe, "/prices/price_1").await.status, 404);
}

#[tokio::test]
async fn unknown_parameters_are_refused_everywhere() {
    let (stripe, customer) = ready().await;
    let refused = post(&stripe, "/v1/customers", &[("emial", "a@b.example")], None).await;
    assert_eq!(refused.error(), (400, "parameter_unknown", "emial"));
    let mut params = session_params(&customer);
    params.push(("line_items[1][amount]", "5"));
    let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    assert_eq!(
        refused.error(),
        (400, "parameter_unknown", "line_items[1][amount]")
    );
    let refused = get(&stripe, "/v1/prices/price_flat?verbose=1").await;
    assert_eq!(refused.error(), (400, "parameter_unknown", "verbose"));
}

#[tokio::test]
async fn a_session_needs_its_parameters() {
    let (stripe, customer) = ready().await;
    for missing in [
        "mode",
        "customer",
        "success_url",
        "line_items[0][price]",
        "line_items[0][quantity]",
    ] {
        let mut params = session_params(&customer);
        params.retain(|(name, _)| *name != missing);
        let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
        assert_eq!(refused.error(), (400, "parameter_missing", missing));
    }
    let mut params = session_params(&customer);
    params.retain(|(name, _)| !name.starts_with("line_items"));
    let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    assert_eq!(refused.error(), (400, "parameter_missing", "line_items"));
    assert!(stripe.sessions().is_empty());
}

#[tokio::test]
async fn a_session_refuses_values_that_stripe_refuses() {
    let (stripe, customer) = ready().await;
    stripe.add_price(FakePrice {
        active: false,
        ..FakePrice::monthly("price_old", 100)
    });
    let long = "a".repeat(201);
    let long_value = "a".repeat(501);
    for (name, value) in [
        ("customer", "cus_nobody"),
        ("line_items[0][price]", "price_nothing"),
        ("line_items[0][price]", "price_old"),
        ("line_items[0][quantity]", "one"),
        ("client_reference_id", &long),
        ("metadata[customer_id]", &long_value),
        ("success_url", "/relative"),
        ("mode", "payment"),
    ] {
        let mut params = session_params(&customer);
        params.retain(|(other, _)| *other != name);
        params.push((name, value));
        let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
        assert_eq!(
            (refused.error().0, refused.error().2),
            (400, name),
            "{value}"
        );
    }
    let mut params = session_params(&customer);
    params.push(("line_items[1][quantity]", "1"));
    let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    assert_eq!(
        refused.error().2,
        "line_items[1][quantity]",
        "a metered price takes no quantity"
    );
}

#[tokio::test]
async fn a_key_remembers_its_answer() {
    let stripe = FakeStripe::start();
    let first = post(
        &stripe,
        "/v1/customers",
        &[("email", "a@b.example"), ("name", "A")],
        Some("k1"),
    )
    .await;
    let again = post(
        &stripe,
        "/v1/customers",
        &[("name", "A"), ("email", "a@b.example")],
        Some("k1"),
    )
    .await;
    assert_eq!(first.id(), again.id());
    assert_eq!(first.headers.get("idempotent-replayed"), None);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(stripe.customers().len(), 1);

    let other = post(
        &stripe,
        "/v1/customers",
        &[("email", "other@b.example")],
        Some("k1"),
    )
    .await;
    assert_eq!(
        (other.status, other.body["error"]["type"].as_str()),
        (400, Some("idempotency_error"))
    );
    post(
        &stripe,
        "/v1/customers",
        &[("email", "a@b.example"), ("name", "A")],
        Some("k2"),
    )
    .await;
    post(
        &stripe,
        "/v1/customers",
        &[("email", "a@b.example"), ("name", "A")],
        None,
    )
    .await;
    assert_eq!(stripe.customers().len(), 3);
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let stripe = FakeStripe::start();
    assert_eq!(
        post(
            &stripe,
            "/v1/customers",
            &[("email", "nonsense")],
            Some("k1")
        )
        .await
        .status,
        400
    );
    post(
        &stripe,
        "/v1/customers",
        &[("email", "a@b.example")],
        Some("k1"),
    )
    .await
    .id();
}

#[tokio::test]
async fn a_paid_checkout_makes_a_subscription_and_tells_of_it() {
    let (stripe, customer) = ready().await;
    let now: DateTime<Utc> = "2026-01-31T10:00:00.900Z".parse().unwrap();
    stripe.set_now(now);
    let session = post(
        &stripe,
        "/v1/checkout/sessions",
        &session_params(&customer),
        None,
    )
    .await
    .id();
    let events = stripe.complete_checkout(&session);

    let kinds: Vec<_> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "customer.subscription.created",
            "invoice.paid",
            "checkout.session.completed"
        ]
    );
    assert!(
        events
            .iter()
            .all(|e| e["created"] == json!(now.timestamp()) && e["livemode"] == json!(false))
    );
    let subscription = &events[0]["data"]["object"];
    let id = subscription["id"].as_str().unwrap();
    assert_eq!(
        events[1]["data"]["object"]["parent"]["subscription_details"]["subscription"],
        json!(id)
    );
    assert_eq!(events[2]["data"]["object"]["subscription"], json!(id));
    assert_eq!(
        get(&stripe, &format!("/v1/subscriptions/{id}")).await.body,
        *subscription
    );
    let items = subscription["items"]["data"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["quantity"], json!(1));
    assert_eq!(items[1].get("quantity"), None);
    let end: DateTime<Utc> = "2026-02-28T10:00:00Z".parse().unwrap();
    assert_eq!(items[0]["current_period_end"], json!(end.timestamp()));
    assert_eq!(subscription["metadata"], json!({"customer_id": "acme"}));
    let shown = get(&stripe, &format!("/v1/checkout/sessions/{session}"))
        .await
        .body;
    assert_eq!(
        (&shown["status"], &shown["url"]),
        (&json!("complete"), &Value::Null)
    );

    let renewed = stripe.renew_subscription(id);
    assert_eq!(
        renewed[0]["data"]["object"]["items"]["data"][0]["current_period_start"],
        json!(end.timestamp())
    );
    assert_eq!(
        stripe.fail_payment(id)[0]["type"],
        json!("invoice.payment_failed")
    );
    assert_eq!(stripe.subscription(id)["status"], json!("past_due"));
    assert_eq!(
        stripe.delete_subscription(id)["type"],
        json!("customer.subscription.deleted")
    );
    assert_eq!(
        get(&stripe, &format!("/v1/subscriptions/{id}")).await.body["status"],
        json!("canceled")
    );
}

#[tokio::test]
async fn only_an_open_session_expires() {
    let (stripe, customer) = ready().await;
    let session = post(
        &stripe,
        "/v1/checkout/sessions",
        &session_params(&customer),
        None,
    )
    .await
    .id();
    let path = format!("/v1/checkout/sessions/{session}/expire");
    assert_eq!(
        post(&stripe, &path, &[], None).await.body["status"],
        json!("expired")
    );
    assert_eq!(post(&stripe, &path, &[], None).await.status, 400);
    let other = post(
        &stripe,
        "/v1/checkout/sessions",
        &session_params(&customer),
        None,
    )
    .await
    .id();
    assert_eq!(
        stripe.let_checkout_expire(&other)["type"],
        json!("checkout.session.expired")
    );
}

#[tokio::test]
async fn every_request_is_recorded() {
    let (stripe, customer) = ready().await;
    post(
        &stripe,
        "/v1/checkout/sessions",
        &session_params(&customer),
        Some("k9"),
    )
    .await
    .id();
    assert_eq!(stripe.requests().len(), 2);
    let recorded = stripe.requests_to(Endpoint::CreateSession).remove(0);
    assert_eq!(recorded.params["line_items[0][price]"], "price_flat");
    assert_eq!(recorded.idempotency_key.as_deref(), Some("k9"));
}

#[tokio::test]
async fn a_trial_begins_without_a_payment() {
    let (stripe, customer) = ready().await;
    let now: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    stripe.set_now(now);
    let mut params = session_params(&customer);
    params.push(("subscription_data[trial_period_days]", "14"));
    params.push(("allow_promotion_codes", "true"));
    let session = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    assert_eq!(session.body["allow_promotion_codes"], true);
    let events = stripe.complete_checkout(&session.id());
    let subscription = &events[0]["data"]["object"];
    let end = now.timestamp() + 14 * 86_400;
    assert_eq!(subscription["status"], "trialing");
    assert_eq!(subscription["trial_start"], now.timestamp());
    for at in [
        &subscription["trial_end"],
        &subscription["items"]["data"][0]["current_period_end"],
    ] {
        assert_eq!(at, end);
    }
    assert_eq!(
        events[2]["data"]["object"]["payment_status"],
        "no_payment_required"
    );
    assert!(stripe.charges().is_empty());

    let id = subscription["id"].as_str().unwrap();
    stripe.end_period(id);
    assert_eq!(stripe.subscription(id)["status"], "active");
    assert_eq!(stripe.charges()[0]["amount"], 4900);

    for (name, value) in [
        ("subscription_data[trial_period_days]", "0"),
        ("allow_promotion_codes", "yes"),
    ] {
        let mut params = session_params(&customer);
        params.push((name, value));
        let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
        assert_eq!((refused.status, refused.error().2), (400, name));
    }
}

#[tokio::test]
async fn the_portal_wants_a_customer_and_an_address() {
    let (stripe, customer) = ready().await;
    let path = "/v1/billing_portal/sessions";
    let back = ("return_url", "https://app.example/account");
    let session = post(&stripe, path, &[("customer", &customer), back], None).await;
    session.id();
    assert!(
        session.body["url"]
            .as_str()
            .unwrap()
            .starts_with("https://")
    );
    assert_eq!(session.body["return_url"], back.1);
    let refused = post(&stripe, path, &[back], None).await;
    assert_eq!(refused.error(), (400, "parameter_missing", "customer"));
    let refused = post(&stripe, path, &[("customer", "cus_no"), back], None).await;
    assert_eq!(refused.error(), (400, "resource_missing", "customer"));
    let params = [("customer", customer.as_str()), ("return_url", "/account")];
    let refused = post(&stripe, path, &params, None).await;
    assert_eq!(refused.error(), (400, "url_invalid", "return_url"));
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let stripe = FakeStripe::start();
    let params = [("name", "A")];
    let first = post(&stripe, "/v1/customers", &params, Some("k1")).await;
    stripe.set_now(Utc::now() + chrono::TimeDelta::hours(25));
    let later = post(&stripe, "/v1/customers", &params, Some("k1")).await;
    assert_ne!(first.id(), later.id());
}
