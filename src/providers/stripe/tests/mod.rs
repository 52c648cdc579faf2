//! What is asked of Stripe and read from its objects, in present and former shapes. Wire traffic is tested in `tests/api`.

mod ends;
mod events;
mod fixtures;
mod history;
mod payments;
mod plans;
mod script;
mod usage;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Value, json};
use stripe_client_core::StripeRequest as _;

use stripe_product::price::RetrievePrice;

use super::objects::{Price, Session, Subscription};
use super::sales::checkout_session;
use super::wire::{idempotency_header, path_id, read};
use super::*;
use crate::domain::provider_event::ProviderStatus;
use crate::domain::subscription::SubscriptionStatus;
use crate::providers::CheckoutStatus;
use crate::providers::transport::{RetryPolicy, Timeouts};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn read_subscription(object: &Value) -> ProviderSubscription {
    read::<Subscription>(object.to_string().as_bytes())
        .unwrap()
        .normalize()
}

fn scale() -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1", "currency": "usd",
        "metadata": {"customer_id": "acme", "plan_tier": "scale", "plan_version": "3"},
        "billing_cycle_anchor": 100, "start_date": 100, "created": 90, "cancel_at_period_end": false, "cancel_at": null,
        "canceled_at": null, "ended_at": null, "trial_end": null, "pause_collection": null,
        "items": {"object": "list", "data": [
            {"id": "si_2", "price": {"id": "price_over", "recurring": {"usage_type": "metered"}},
             "current_period_start": 150, "current_period_end": 250},
            {"id": "si_1", "price": {"id": "price_flat", "recurring": {"usage_type": "licensed"}}, "quantity": 1,
             "current_period_start": 100, "current_period_end": 200},
        ]},
    })
}

#[test]
fn a_subscription_of_the_present_shape_is_read() {
    assert_eq!(
        read_subscription(&scale()),
        ProviderSubscription {
            id: "sub_1".to_owned(),
            provider_customer_id: Some("cus_1".to_owned()),
            customer_id: Some("acme".to_owned()),
            sold_as: Some(crate::domain::subscription::PlanRef {
                tier: "scale".to_owned(),
                version: 3
            }),
            status: ProviderStatus::Known(SubscriptionStatus::Active),
            price_ids: vec!["price_over".to_owned(), "price_flat".to_owned()],
            current_period_start: Some(at(100)),
            current_period_end: Some(at(200)),
            anchor: Some(at(100)),
            cancel_at_period_end: false,
            cancel_at: None,
            ended_at: None,
            trial_end: None,
            started_at: Some(at(100)),
            was_paid: false,
            unpaid_since: None,
            planned: None,
            change_unpaid: false,
        }
    );
}

#[test]
fn a_subscription_of_the_former_shape_is_read() {
    let read = read_subscription(&json!({
        "id": "sub_1", "status": "trialing", "customer": {"id": "cus_1", "object": "customer"}, "metadata": null,
        "current_period_start": 100, "current_period_end": 200, "trial_end": 200, "created": 90,
        "items": {"data": [{"id": "si_1", "plan": {"id": "plan_1", "usage_type": "licensed"}}, {"id": "si_2", "price": "price_2"}]},
    }));
    assert_eq!(
        (read.current_period_start, read.current_period_end),
        (Some(at(100)), Some(at(200)))
    );
    assert_eq!(read.price_ids, ["plan_1", "price_2"]);
    assert_eq!(read.provider_customer_id.as_deref(), Some("cus_1"));
    assert_eq!(
        (read.status, read.trial_end, read.started_at),
        (
            ProviderStatus::Known(SubscriptionStatus::Trialing),
            Some(at(200)),
            Some(at(90))
        )
    );
    assert_eq!((read.customer_id, read.sold_as), (None, None));
}

#[test]
fn a_period_is_taken_from_any_item_that_has_one() {
    let mut object = scale();
    object["items"]["data"][1]["current_period_start"] = Value::Null;
    assert_eq!(read_subscription(&object).current_period_end, Some(at(250)));
    object["items"]["data"] = json!([]);
    assert_eq!(read_subscription(&object).current_period_end, None);
}

#[test]
fn paused_collection_counts_as_paused_while_there_is_something_to_pause() {
    let mut object = scale();
    object["pause_collection"] = json!({"behavior": "void", "resumes_at": null});
    for (word, status) in [
        ("active", ProviderStatus::Known(SubscriptionStatus::Paused)),
        (
            "trialing",
            ProviderStatus::Known(SubscriptionStatus::Paused),
        ),
        (
            "past_due",
            ProviderStatus::Known(SubscriptionStatus::Paused),
        ),
        ("unpaid", ProviderStatus::Known(SubscriptionStatus::Paused)),
        (
            "canceled",
            ProviderStatus::Known(SubscriptionStatus::Canceled),
        ),
        (
            "incomplete",
            ProviderStatus::Known(SubscriptionStatus::Incomplete),
        ),
        (
            "incomplete_expired",
            ProviderStatus::Known(SubscriptionStatus::IncompleteExpired),
        ),
        ("dreaming", ProviderStatus::Unknown("dreaming".to_owned())),
    ] {
        object["status"] = json!(word);
        assert_eq!(read_subscription(&object).status, status, "{word}");
    }
}

#[test]
fn words_that_stripe_does_not_use_are_unknown() {
    let mut object = scale();
    for word in ["expired", "", "ACTIVE"] {
        object["status"] = json!(word);
        assert_eq!(
            read_subscription(&object).status,
            ProviderStatus::Unknown(word.to_owned())
        );
    }
}

#[test]
fn what_cannot_be_read_says_where() {
    let mut object = scale();
    object["items"]["data"][0]["current_period_end"] = json!("soon");
    let error = read::<Subscription>(object.to_string().as_bytes()).unwrap_err();
    assert!(
        matches!(&error, ProviderError::Unreadable { reason } if reason.contains("items.data[0].current_period_end")),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[test]
fn prices_are_read() {
    let body = json!({
        "id": "price_1", "active": true, "currency": "USD", "unit_amount": 4900, "unit_amount_decimal": "4900",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed", "meter": null}, "product": "prod_1",
    });
    let price = read::<Price>(body.to_string().as_bytes())
        .unwrap()
        .normalize();
    assert_eq!(
        (
            price.unit_amount,
            price.currency.as_str(),
            price.active,
            price.metered
        ),
        (Some(4900), "usd", true, false)
    );
    assert_eq!(
        (price.interval.as_deref(), price.interval_count),
        (Some("month"), Some(1))
    );
    let body = json!({"id": "p", "active": false, "currency": "usd", "unit_amount": null, "unit_amount_decimal": "0.5", "recurring": null});
    let price = read::<Price>(body.to_string().as_bytes())
        .unwrap()
        .normalize();
    assert_eq!(
        (
            price.unit_amount,
            price.unit_amount_decimal.as_deref(),
            price.interval
        ),
        (None, Some("0.5"), None)
    );
}

#[test]
fn a_session_whose_status_is_not_known_is_not_guessed() {
    let session = |status: Value| {
        let body = json!({"id": "cs_1", "status": status, "subscription": {"id": "sub_1"}, "expires_at": 5});
        read::<Session>(body.to_string().as_bytes())
            .unwrap()
            .normalize()
    };
    let complete = session(json!("complete")).unwrap();
    assert_eq!(
        (
            complete.status,
            complete.provider_subscription_id.as_deref()
        ),
        (CheckoutStatus::Complete, Some("sub_1"))
    );
    for status in [json!("melted"), Value::Null] {
        assert!(matches!(
            session(status),
            Err(ProviderError::Unreadable { .. })
        ));
    }
}

fn form(request: &CheckoutRequest) -> Vec<(String, String)> {
    let body = checkout_session(request).build().body.unwrap();
    let mut pairs: Vec<_> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    pairs.sort();
    pairs
}

fn request() -> CheckoutRequest {
    CheckoutRequest {
        provider_customer_id: "cus_1".to_owned(),
        base_price_id: "price_flat".to_owned(),
        overage_price_id: Some("price_over".to_owned()),
        customer_id: "acme@example|1".to_owned(),
        plan_tier: "scale".to_owned(),
        plan_version: 3,
        success_url: "https://app.example/ok?session={CHECKOUT_SESSION_ID}".to_owned(),
        trial_days: None,
        promotion_codes: false,
        starts_at: None,
        begun_at: DateTime::UNIX_EPOCH,
        cancel_url: "https://app.example/no".to_owned(),
        idempotency_key: "k".to_owned(),
    }
}

#[test]
fn a_checkout_asks_for_exactly_what_is_sold() {
    let expected = [
        ("cancel_url", "https://app.example/no"),
        ("client_reference_id", "acme@example|1"),
        ("customer", "cus_1"),
        ("line_items[0][price]", "price_flat"),
        ("line_items[0][quantity]", "1"),
        ("line_items[1][price]", "price_over"),
        ("metadata[customer_id]", "acme@example|1"),
        ("metadata[plan_tier]", "scale"),
        ("metadata[plan_version]", "3"),
        ("mode", "subscription"),
        ("subscription_data[metadata][customer_id]", "acme@example|1"),
        ("subscription_data[metadata][plan_tier]", "scale"),
        ("subscription_data[metadata][plan_version]", "3"),
        (
            "success_url",
            "https://app.example/ok?session={CHECKOUT_SESSION_ID}",
        ),
    ];
    assert_eq!(
        form(&request()),
        expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
}

#[test]
fn a_long_customer_id_travels_in_the_metadata_alone() {
    let long = CheckoutRequest {
        customer_id: "a".repeat(201),
        ..request()
    };
    assert!(
        form(&long)
            .iter()
            .all(|(key, _)| key != "client_reference_id")
    );
    let fits = CheckoutRequest {
        customer_id: "a".repeat(200),
        ..request()
    };
    assert!(
        form(&fits)
            .iter()
            .any(|(key, _)| key == "client_reference_id")
    );
}

#[test]
fn only_ids_go_into_paths() {
    assert_eq!(path_id("sub_1AbC-9"), Ok("sub_1AbC-9"));
    for id in [
        "",
        "../customers",
        "sub_1/x",
        "sub_1?expand[]=x",
        "sub 1",
        "sub_é",
    ] {
        assert_eq!(path_id(id), Err(ProviderError::NotFound), "{id}");
    }
}

#[test]
fn keys_that_do_not_fit_into_the_header_are_digested() {
    assert_eq!(idempotency_header("customer:acme:1"), "customer:acme:1");
    let long = idempotency_header(&"k".repeat(256));
    assert_eq!(long.len(), "sha256-".len() + 64);
    assert_ne!(long, idempotency_header(&"k".repeat(257)));
    assert_eq!(
        idempotency_header("line\nbreak").len(),
        "sha256-".len() + 64
    );
}

fn stripe(key: &str, webhook_secret: &str) -> Result<Stripe, StripeSetupError> {
    let settings = StripeSettings {
        secret_key: SecretString::from(key),
        publishable_key: None,
        webhook_secrets: vec![SecretString::from(webhook_secret)],
        api_base: Url::parse("https://api.stripe.com").unwrap(),
        meter_event_name: None,
    };
    Stripe::new(
        settings,
        Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap(),
    )
}

#[test]
fn the_key_tells_the_mode() {
    for (key, livemode) in [
        ("sk_live_1", true),
        ("rk_live_1", true),
        ("sk_test_1", false),
        ("rk_test_1", false),
    ] {
        assert_eq!(
            stripe(key, "whsec_1").unwrap().livemode(),
            livemode,
            "{key}"
        );
    }
}

#[test]
fn settings_that_cannot_be_safe_are_refused() {
    assert_eq!(
        stripe("", "whsec_1").err(),
        Some(StripeSetupError::BadSecretKey)
    );
    assert_eq!(
        stripe("sk_test\n", "whsec_1").err(),
        Some(StripeSetupError::BadSecretKey)
    );
    assert_eq!(
        stripe("sk_test_1", " ").err(),
        Some(StripeSetupError::BlankWebhookSecret)
    );
}

#[test]
fn no_secret_shows_when_settings_are_printed() {
    let stripe = stripe("sk_test_hidden", "whsec_hidden").unwrap();
    let call = stripe.call(&RetrievePrice::new("price_1"), None);
    let printed = format!("{:?} {call:?}", stripe.settings);
    assert!(!printed.contains("hidden"), "{printed}");
}

#[test]
fn the_latest_invoice_tells_what_was_paid() {
    let read_with = |invoice: serde_json::Value| {
        let body = json!({
            "id": "sub_1", "status": "canceled", "latest_invoice": invoice,
            "items": {"data": [{"price": "price_pro", "current_period_start": 200, "current_period_end": 300}]},
        });
        let read = read::<Subscription>(body.to_string().as_bytes())
            .unwrap()
            .normalize();
        (read.was_paid, read.unpaid_since)
    };
    let invoice = |reason: &str, status: &str| json!({"id": "in_1", "created": 210, "billing_reason": reason, "status": status});
    assert_eq!(
        read_with(invoice("subscription_create", "paid")),
        (true, None)
    );
    assert_eq!(
        read_with(invoice("subscription_create", "open")),
        (false, None)
    );
    assert_eq!(
        read_with(invoice("subscription_cycle", "paid")),
        (true, None)
    );
    for status in ["open", "uncollectible"] {
        assert_eq!(
            read_with(invoice("subscription_cycle", status)),
            (true, Some(at(210))),
            "{status}"
        );
    }
    // Given by its id, it tells nothing.
    assert_eq!(read_with(json!("in_1")), (false, None));
    assert_eq!(read_with(json!(null)), (false, None));
}

#[tokio::test]
async fn every_request_bears_the_key_and_the_version() {
    let script = script::Script::of([
        script::ok(json!({"id": "cus_1"})),
        script::ok(json!({"id": "price_1", "active": true, "currency": "usd"})),
    ])
    .await;
    let customer = NewCustomer {
        customer_id: "acme".to_owned(),
        email: None,
        name: None,
        idempotency_key: "customer:acme:1".to_owned(),
    };
    let stripe = script.stripe();
    stripe.create_customer(&customer).await.unwrap();
    stripe.price("price_1").await.unwrap();
    let of_both = |value: &str| vec![Some(value.to_owned()); 2];
    assert_eq!(
        script.headers("authorization"),
        of_both("Bearer sk_test_script")
    );
    assert_eq!(
        script.headers("stripe-version"),
        of_both("2026-09-30.endive")
    );
}
