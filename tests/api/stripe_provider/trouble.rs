//! A Stripe that is slow, broken, missing or imitated.

use std::time::{Duration, Instant};

use chrono::Utc;
use plangate::domain::provider_event::Hint;
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use plangate::providers::{NewCustomer, Provider, ProviderError, SignatureFault, WebhookError};
use secrecy::SecretString;
use serde_json::json;

use super::{acme, scale, start, verify};
use crate::fake_stripe::{Delivery, Endpoint, Fault};

pub(super) fn is_unavailable<T>(outcome: Result<T, ProviderError>) -> Option<Duration> {
    match outcome {
        Err(ref error @ ProviderError::Unavailable { retry_after, .. }) => {
            assert!(error.is_transient());
            retry_after
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it went through"),
    }
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    for fault in [
        Fault::CONFLICT,
        Fault::SERVER_ERROR,
        Fault::status(503),
        Fault::rate_limited(0),
    ] {
        let (fake, stripe) = start();
        fake.fail(Endpoint::CreateCustomer, fault, 2);
        fake.fail(Endpoint::Price, fault, 2);
        stripe.create_customer(&acme()).await.unwrap();
        stripe.price("price_pro").await.unwrap();
        assert_eq!(fake.requests().len(), 6, "{fault:?}");
        assert_eq!(fake.customers().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn lasting_trouble_is_reported_as_passing() {
    for fault in [
        Fault::CONFLICT,
        Fault::SERVER_ERROR,
        Fault::rate_limited(0),
        Fault::DropBeforeEffect,
    ] {
        let (fake, stripe) = start();
        fake.fail(Endpoint::Subscription, fault, 9);
        is_unavailable(stripe.fetch_subscription("sub_1").await);
        assert_eq!(fake.requests().len(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_long_rest_that_stripe_asks_for_is_left_to_the_caller() {
    let (fake, stripe) = start();
    fake.fail(Endpoint::Price, Fault::rate_limited(30), 1);
    let began = Instant::now();
    assert_eq!(
        is_unavailable(stripe.price("price_pro").await),
        Some(Duration::from_secs(30))
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it must not sleep past its budget"
    );
    assert_eq!(fake.requests().len(), 1, "nor ask again before the time");
}

#[tokio::test]
async fn a_short_rest_that_stripe_asks_for_is_kept() {
    let (fake, _) = start();
    let retry = RetryPolicy {
        base_delay: Duration::ZERO,
        ..RetryPolicy::default()
    };
    let stripe = fake.provider(Timeouts::default(), retry);
    fake.fail(Endpoint::Price, Fault::rate_limited(1), 1);
    let began = Instant::now();
    stripe.price("price_pro").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn stripes_word_on_repeating_goes_before_the_status() {
    let told = |status, word| Fault::Status {
        status,
        retry_after: None,
        should_retry: Some(word),
    };
    let (fake, stripe) = start();
    fake.fail(Endpoint::CreateCustomer, told(500, false), 1);
    let outcome = stripe.create_customer(&acme()).await;
    assert!(
        matches!(outcome, Err(ProviderError::Rejected { status: 500, .. })),
        "{outcome:?}"
    );
    assert_eq!(fake.requests().len(), 1);

    fake.fail(Endpoint::CreateCustomer, told(400, true), 1);
    stripe.create_customer(&acme()).await.unwrap();
    assert_eq!(fake.requests().len(), 3);

    fake.fail(Endpoint::Price, told(500, false), 1);
    is_unavailable(stripe.price("price_pro").await);
    assert_eq!(fake.requests().len(), 4);
}

#[tokio::test]
async fn an_answer_that_is_not_stripes_is_unreadable() {
    let (fake, stripe) = start();
    fake.fail(Endpoint::Price, Fault::Garbage, 1);
    let outcome = stripe.price("price_pro").await;
    assert!(
        matches!(outcome, Err(ProviderError::Unreadable { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn refusals_come_at_once_with_stripes_reason() {
    let (fake, stripe) = start();
    let outcome = stripe.create_checkout(&scale("cus_nobody")).await;
    let Err(ProviderError::Rejected {
        status: 400,
        code,
        message,
    }) = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(code.as_deref(), Some("resource_missing"));
    assert_eq!(message, "No such customer: 'cus_nobody' [customer]");
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn a_key_used_for_something_else_is_refused() {
    let (fake, stripe) = start();
    stripe.create_customer(&acme()).await.unwrap();
    let other = NewCustomer {
        name: Some("Other".to_owned()),
        ..acme()
    };
    let outcome = stripe.create_customer(&other).await;
    let Err(error @ ProviderError::Rejected { .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("idempotency_error"), "{error}");
    assert!(!error.is_transient());
    assert_eq!(fake.customers().len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_refused_without_showing_it() {
    let (fake, _) = start();
    let settings = StripeSettings {
        secret_key: SecretString::from("sk_test_secretive"),
        ..fake.settings()
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    let stripe = Stripe::new(settings, transport).unwrap();
    let error = stripe.price("price_pro").await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Rejected { status: 401, .. }),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains("secretive"));
}

#[tokio::test]
async fn a_stripe_that_cannot_be_reached_is_unavailable() {
    let (fake, _) = start();
    // A port that was free a moment ago: nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let api_base = url::Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let retry = RetryPolicy {
        base_delay: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let transport = Transport::new(Timeouts::default(), retry).unwrap();
    let stripe = Stripe::new(
        StripeSettings {
            api_base,
            meter_event_name: None,
            ..fake.settings()
        },
        transport,
    )
    .unwrap();
    is_unavailable(stripe.price("price_pro").await);
}

#[tokio::test]
async fn webhooks_are_believed_only_with_a_fresh_signature() {
    let (fake, stripe) = start();
    let now = Utc::now();
    let event = fake.event("customer.subscription.updated", &json!({"id": "sub_1"}));
    let signed = fake.sign(&event, now);
    let hint = Ok(Hint::Subscription {
        provider_subscription_id: "sub_1".to_owned(),
    });
    assert_eq!(verify(&stripe, &signed, now), hint);
    assert_eq!(stripe.hint(signed.body.as_bytes()), hint);

    let refused = |fault| Err(WebhookError::BadSignature(fault));
    let late = now + chrono::Duration::seconds(301);
    assert_eq!(
        verify(&stripe, &signed, late),
        refused(SignatureFault::OutsideTolerance)
    );
    let forged = Delivery {
        body: signed.body.replace("sub_1", "sub_2"),
        ..signed.clone()
    };
    assert_eq!(
        verify(&stripe, &forged, now),
        refused(SignatureFault::NoMatch)
    );
    let missing = stripe
        .verify_webhook(&|_| None, signed.body.as_bytes(), now)
        .map(|e| e.hint);
    assert_eq!(missing, refused(SignatureFault::Missing));
    let no_event = fake.sign(&json!({"hello": "world"}), now);
    assert!(matches!(
        verify(&stripe, &no_event, now),
        Err(WebhookError::NotAnEvent { .. })
    ));
}
