//! No header makes the check of Stripe's signatures panic, and none that was not made with the secret is believed.
#![no_main]

use std::sync::LazyLock;

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use plangate::providers::{Provider as _, WebhookError};
use secrecy::SecretString;

static STRIPE: LazyLock<Stripe> = LazyLock::new(|| {
    let settings = StripeSettings {
        secret_key: SecretString::from("sk_test_fuzz"),
        publishable_key: None,
        webhook_secrets: vec![
            SecretString::from("whsec_fuzz"),
            SecretString::from("whsec_former"),
        ],
        api_base: "https://api.stripe.com".parse().unwrap(),
        meter_event_name: None,
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    Stripe::new(settings, transport).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let now = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
    let (header, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &b"{}"[..]),
    };
    let header = String::from_utf8_lossy(header).into_owned();
    let given = |name: &str| (name == "stripe-signature").then(|| header.clone());
    let outcome = STRIPE.verify_webhook(&given, body, now);
    assert!(matches!(outcome, Err(WebhookError::BadSignature(_))));
});
