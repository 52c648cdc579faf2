//! The Stripe provider on the wire, against the fake.

mod every_call;
mod life;
mod sales;
mod trouble;

use std::time::Duration;

use chrono::{DateTime, Utc};
use plangate::domain::provider_event::Hint;
use plangate::providers::stripe::Stripe;
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::providers::{CheckoutRequest, NewCustomer, Provider, WebhookError};

use crate::fake_stripe::{Delivery, FakePrice, FakeStripe};

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
    stock(&fake);
    let stripe = fake.provider(Timeouts::default(), brisk());
    (fake, stripe)
}

/// What is for sale.
fn stock(fake: &FakeStripe) {
    fake.add_price(FakePrice::monthly("price_pro", 4900));
    fake.add_price(FakePrice::monthly("price_scale", 19_900));
    fake.add_price(FakePrice::metered("price_overage", 1));
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
        starts_at: None,
        begun_at: DateTime::UNIX_EPOCH,
        idempotency_key: "checkout:1".to_owned(),
    }
}

fn verify(stripe: &Stripe, delivery: &Delivery, now: DateTime<Utc>) -> Result<Hint, WebhookError> {
    let header = |name: &str| (name == "stripe-signature").then(|| delivery.signature.clone());
    stripe
        .verify_webhook(&header, delivery.body.as_bytes(), now)
        .map(|event| event.hint)
}
