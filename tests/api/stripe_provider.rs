//! The Stripe provider on the wire, against the fake.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use plangate::domain::provider_event::{Hint, ProviderName, ProviderStatus};
use plangate::domain::subscription::SubscriptionStatus;
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use plangate::providers::{
    CheckoutRequest, CheckoutStatus, NewCustomer, Provider, ProviderError, SignatureFault,
    WebhookError,
};
use secrecy::SecretString;
use serde_json::json;

use crate::fake_stripe::{Delivery, Endpoint, FakePrice, FakeStripe, Fault};

/// Repeats within milliseconds, and waits long for an answer so that a busy machine does not look like a fault.
fn brisk() -> RetryPolicy {
    RetryPolicy {
        attempts: 3,
        base_delay: Duration::from_millis(2),
        max_delay: Duration::from_millis(5),
        budget: Duration::from_secs(15),
    }
}

fn start() -> (FakeStripe, Stripe) {
    let fake = FakeStripe::start();
    fake.add_price(FakePrice::monthly("price_pro", 4900));
    fake.add_price(FakePrice::monthly("price_scale", 19_900));
    fake.add_price(FakePrice::metered("price_overage", 1));
    let stripe = fake.provider(Timeouts::default(), brisk());
    (fake, stripe)
}

fn acme() -> NewCustomer {
    NewCustomer {
        customer_id: "acme".to_owned(),
        email: Some("billing@acme.example".to_owned()),
        name: Some("Acme & Söhne".to_owned()),
        idempotency_key: "customer:acme:1".to_owned(),
    }
}

fn scale(provider_customer_id: &str) -> CheckoutRequest {
    CheckoutRequest {
        provider_customer_id: provider_customer_id.to_owned(),
        base_price_id: "price_scale".to_owned(),
        overage_price_id: Some("price_overage".to_owned()),
        customer_id: "acme".to_owned(),
        plan_tier: "scale".to_owned(),
        plan_version: 2,
        success_url: "https://app.example/ok?s={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: "https://app.example/no".to_owned(),
        trial_days: None,
        promotion_codes: false,
        idempotency_key: "checkout:1".to_owned(),
    }
}

fn verify(stripe: &Stripe, delivery: &Delivery, now: DateTime<Utc>) -> Result<Hint, WebhookError> {
    let header = |name: &str| (name == "stripe-signature").then(|| delivery.signature.clone());
    stripe
        .verify_webhook(&header, delivery.body.as_bytes(), now)
        .map(|event| event.hint)
}

fn is_unavailable<T>(outcome: Result<T, ProviderError>) -> Option<Duration> {
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
async fn a_checkout_leads_to_a_subscription() {
    let (fake, stripe) = start();
    let now: DateTime<Utc> = "2026-01-31T10:00:00Z".parse().unwrap();
    fake.set_now(now);
    let customer = stripe.create_customer(&acme()).await.unwrap();
    let session = stripe.create_checkout(&scale(&customer)).await.unwrap();
    assert_eq!(
        (session.status, session.provider_subscription_id.as_deref()),
        (CheckoutStatus::Open, None)
    );
    assert!(session.url.unwrap().ends_with(&session.id));
    assert_eq!(session.expires_at, Some(now + chrono::Duration::days(1)));

    let events = fake.complete_checkout(&session.id);
    let hints: Vec<_> = events
        .iter()
        .map(|e| verify(&stripe, &fake.sign(e, now), now).unwrap())
        .collect();
    let complete = stripe.checkout_session(&session.id).await.unwrap();
    assert_eq!(
        (complete.status, complete.url),
        (CheckoutStatus::Complete, None)
    );
    let subscription_id = complete.provider_subscription_id.unwrap();
    let subscription_hint = Hint::Subscription {
        provider_subscription_id: subscription_id.clone(),
    };
    assert_eq!(hints[0], subscription_hint);
    assert_eq!(hints[1], subscription_hint);
    assert_eq!(
        hints[2],
        Hint::CheckoutCompleted {
            session_id: session.id,
            provider_subscription_id: Some(subscription_id.clone()),
            customer_id: Some("acme".to_owned()),
        }
    );

    let subscription = stripe.fetch_subscription(&subscription_id).await.unwrap();
    assert_eq!(
        subscription.status,
        ProviderStatus::Known(SubscriptionStatus::Active)
    );
    assert_eq!(subscription.price_ids, ["price_scale", "price_overage"]);
    assert_eq!(subscription.provider_customer_id, Some(customer));
    assert_eq!(
        (
            subscription.customer_id.as_deref(),
            subscription.sold_as.map(|sold| (sold.tier, sold.version))
        ),
        (Some("acme"), Some(("scale".to_owned(), 2)))
    );
    assert_eq!(
        (subscription.anchor, subscription.current_period_start),
        (Some(now), Some(now))
    );
    assert_eq!(
        subscription.current_period_end,
        Some("2026-02-28T10:00:00Z".parse().unwrap())
    );

    fake.update_subscription(&subscription_id, |s| {
        s["pause_collection"] = json!({"behavior": "void"});
    });
    assert_eq!(
        stripe
            .fetch_subscription(&subscription_id)
            .await
            .unwrap()
            .status,
        ProviderStatus::Known(SubscriptionStatus::Paused)
    );
    let deleted = fake.delete_subscription(&subscription_id);
    assert_eq!(
        verify(&stripe, &fake.sign(&deleted, now), now),
        Ok(subscription_hint)
    );
    let ended = stripe.fetch_subscription(&subscription_id).await.unwrap();
    assert_eq!(
        (ended.status, ended.ended_at),
        (
            ProviderStatus::Known(SubscriptionStatus::Canceled),
            Some(now)
        )
    );
}

#[tokio::test]
async fn requests_say_who_asks_and_in_which_version() {
    let (fake, stripe) = start();
    assert_eq!(
        (stripe.name(), stripe.livemode(), stripe.publishable_key()),
        (ProviderName::Stripe, false, Some("pk_test_fake"))
    );
    stripe.create_customer(&acme()).await.unwrap();
    let request = fake.requests().remove(0);
    assert_eq!(request.stripe_version.as_deref(), Some("2026-09-30.endive"));
    assert!(request.user_agent.unwrap().starts_with("plangate/"));
    assert_eq!(request.idempotency_key.as_deref(), Some("customer:acme:1"));
    assert_eq!(request.params["name"], "Acme & Söhne");
    assert_eq!(request.params["metadata[customer_id]"], "acme");
    let made = fake.customers().remove(0);
    assert_eq!(
        (&made["email"], &made["metadata"]),
        (
            &json!("billing@acme.example"),
            &json!({"customer_id": "acme"})
        )
    );
}

#[tokio::test]
async fn a_customer_without_an_address_is_made_too() {
    let (fake, stripe) = start();
    let bare = NewCustomer {
        email: None,
        name: Some(String::new()),
        ..acme()
    };
    stripe.create_customer(&bare).await.unwrap();
    assert_eq!(fake.customers()[0]["email"], json!(null));
}

#[tokio::test]
async fn a_price_shows_what_it_would_charge() {
    let (_fake, stripe) = start();
    let price = stripe.price("price_pro").await.unwrap();
    assert_eq!(
        (
            price.unit_amount,
            price.currency.as_str(),
            price.interval.as_deref()
        ),
        (Some(4900), "usd", Some("month"))
    );
    assert!(price.active && !price.metered);
    assert!(stripe.price("price_overage").await.unwrap().metered);
    assert_eq!(
        stripe.price("price_nowhere").await,
        Err(ProviderError::NotFound)
    );
}

#[tokio::test]
async fn expiring_tells_whether_the_customer_was_quicker() {
    let (fake, stripe) = start();
    let customer = stripe.create_customer(&acme()).await.unwrap();
    let session = stripe.create_checkout(&scale(&customer)).await.unwrap();
    assert_eq!(
        stripe.expire_checkout(&session.id).await.unwrap().status,
        CheckoutStatus::Expired
    );
    assert_eq!(
        stripe.expire_checkout(&session.id).await.unwrap().status,
        CheckoutStatus::Expired
    );
    let second = CheckoutRequest {
        idempotency_key: "checkout:2".to_owned(),
        ..scale(&customer)
    };
    let session = stripe.create_checkout(&second).await.unwrap();
    fake.complete_checkout(&session.id);
    let complete = stripe.expire_checkout(&session.id).await.unwrap();
    assert_eq!(complete.status, CheckoutStatus::Complete);
    assert!(complete.provider_subscription_id.is_some());
    assert_eq!(
        stripe.expire_checkout("cs_nowhere").await,
        Err(ProviderError::NotFound)
    );
}

#[tokio::test]
async fn a_lost_answer_does_not_make_a_second_customer() {
    for fault in [Fault::DropAfterEffect, Fault::DropBeforeEffect] {
        let (fake, stripe) = start();
        fake.fail(Endpoint::CreateCustomer, fault, 1);
        let id = stripe.create_customer(&acme()).await.unwrap();
        assert_eq!(fake.customers().len(), 1, "{fault:?}");
        assert_eq!(fake.customers()[0]["id"], json!(id));
        assert_eq!(fake.requests().len(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_late_answer_does_not_make_a_second_customer() {
    let (fake, _) = start();
    let timeouts = Timeouts {
        total: Duration::from_millis(250),
        ..Timeouts::default()
    };
    let stripe = fake.provider(
        timeouts,
        RetryPolicy {
            attempts: 20,
            ..brisk()
        },
    );
    fake.fail(
        Endpoint::CreateCustomer,
        Fault::StallAfterEffect(Duration::from_secs(1)),
        1,
    );
    let id = stripe.create_customer(&acme()).await.unwrap();
    assert!(fake.requests().len() >= 2);
    assert_eq!(fake.customers().len(), 1);
    assert_eq!(fake.customers()[0]["id"], json!(id));
}

#[tokio::test]
async fn a_lost_answer_does_not_open_a_second_session() {
    let (fake, stripe) = start();
    let customer = stripe.create_customer(&acme()).await.unwrap();
    fake.fail(Endpoint::CreateSession, Fault::DropAfterEffect, 2);
    let session = stripe.create_checkout(&scale(&customer)).await.unwrap();
    assert_eq!(fake.sessions().len(), 1);
    assert_eq!(fake.sessions()[0]["id"], json!(session.id));
    fake.fail(Endpoint::ExpireSession, Fault::DropAfterEffect, 1);
    assert_eq!(
        stripe.expire_checkout(&session.id).await.unwrap().status,
        CheckoutStatus::Expired
    );
}

#[tokio::test]
async fn a_later_call_with_the_same_key_finds_what_the_lost_one_made() {
    let (fake, stripe) = start();
    fake.fail(Endpoint::CreateCustomer, Fault::DropAfterEffect, 3);
    assert_eq!(is_unavailable(stripe.create_customer(&acme()).await), None);
    let id = stripe.create_customer(&acme()).await.unwrap();
    assert_eq!(fake.customers().len(), 1);
    assert_eq!(fake.customers()[0]["id"], json!(id));
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
    assert_eq!(
        stripe.parse_event(signed.body.as_bytes()).map(|e| e.hint),
        hint
    );

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
