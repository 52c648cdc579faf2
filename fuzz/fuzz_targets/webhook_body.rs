//! No body makes the reader of Stripe's events panic, and what it reads can be stored.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plangate::domain::provider_event::Hint;
use plangate::providers::Provider as _;
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use secrecy::SecretString;

static STRIPE: LazyLock<Stripe> = LazyLock::new(|| {
    let settings = StripeSettings {
        secret_key: SecretString::from("sk_test_fuzz"),
        publishable_key: None,
        webhook_secrets: vec![SecretString::from("whsec_fuzz")],
        api_base: "https://api.stripe.com".parse().unwrap(),
        meter_event_name: None,
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    Stripe::new(settings, transport).unwrap()
});

/// One of each kind that is read differently.
const KINDS: [&str; 10] = [
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.subscription.updated",
    "customer.deleted",
    "invoice.created",
    "invoice.paid",
    "charge.refunded",
    "charge.dispute.created",
    "refund.updated",
    "of.no.interest",
];

fn storable(hint: &Hint) {
    if let Some(subject) = hint.subject() {
        assert!(!subject.is_empty() && subject.chars().count() <= 255);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(hint) = STRIPE.hint(data) {
        storable(&hint);
        assert_eq!(STRIPE.hint(data), Ok(hint));
    }
    // The same bytes as the object of an event: few mutations of a whole event stay one.
    for kind in KINDS {
        let mut body = format!(
            r#"{{"id":"evt_1","object":"event","type":"{kind}","livemode":false,"data":{{"object":"#
        )
        .into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"}}");
        if let Ok(hint) = STRIPE.hint(&body) {
            storable(&hint);
        }
    }
});
