//! No body makes the reader of Razorpay's events panic, and what it reads can be stored.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plangate::domain::provider_event::Hint;
use plangate::providers::Provider as _;
use plangate::providers::razorpay::{Razorpay, RazorpaySettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use secrecy::SecretString;

static RAZORPAY: LazyLock<Razorpay> = LazyLock::new(|| {
    let settings = RazorpaySettings {
        key_id: "rzp_test_fuzz".to_owned(),
        key_secret: SecretString::from("fuzz"),
        webhook_secrets: vec![SecretString::from("fuzz")],
        api_base: "https://api.razorpay.com".parse().unwrap(),
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    Razorpay::new(settings, transport).unwrap()
});

/// One of each kind that is read differently.
const KINDS: [&str; 6] = [
    "subscription.charged",
    "subscription.updated",
    "payment_link.paid",
    "refund.processed",
    "payment.dispute.lost",
    "of.no.interest",
];

fn storable(hint: &Hint) {
    if let Some(subject) = hint.subject() {
        assert!(!subject.is_empty() && subject.chars().count() <= 255);
    }
    if let Hint::SubscriptionPaid { payment, .. } = hint {
        assert!(!payment.id.is_empty() && payment.id.chars().count() <= 255);
        assert!(payment.amount >= 0 && payment.currency.len() == 3);
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(hint) = RAZORPAY.hint(data) {
        storable(&hint);
        assert_eq!(RAZORPAY.hint(data), Ok(hint));
    }
    // The same bytes as the payload of an event: few mutations of a whole event stay one.
    for kind in KINDS {
        let mut body = format!(r#"{{"entity":"event","event":"{kind}","payload":"#).into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"}");
        if let Ok(hint) = RAZORPAY.hint(&body) {
            storable(&hint);
        }
    }
});
