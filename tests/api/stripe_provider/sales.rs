//! Customers, prices and checkouts, and what gets lost on their way.

use std::time::Duration;

use chrono::{DateTime, Utc};
use plangate::domain::provider_event::{Hint, ProviderName, ProviderStatus};
use plangate::domain::subscription::SubscriptionStatus;
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::providers::{CheckoutRequest, CheckoutStatus, NewCustomer, Provider, ProviderError};
use serde_json::json;

use super::trouble::is_unavailable;
use super::{acme, brisk, scale, start, verify};
use crate::fake_stripe::{Endpoint, Fault};

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
