//! Signatures that others made, and what is not signed.

use chrono::DateTime;
use secrecy::SecretString;

use super::razorpay;
use crate::domain::provider_event::{Hint, IncomingEvent};
use crate::providers::signing::{any_matches, unhex};
use crate::providers::{Provider as _, SignatureFault, WebhookError};

const KEY: (&str, &str) = ("rzp_test_1", "EnLs21M47BllR3X8PSFtjtbd");
const PAID: (&str, &str) = ("pay_IDZNwZZFtnjyym", "sub_ID6MOhgkcoHj9I");
const VOUCHED: &str = "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693";

/// Secret, message and signature as Razorpay's libraries and pages have them.
const VECTORS: [(&str, &str, &str); 3] = [
    (
        "123456",
        r#"{"a":1,"b":2,"c":{"d":3}}"#,
        "2fe04e22977002e6c7cb553adab8b460cb9e2a4970d5953cb27a8472752e3bbc",
    ),
    (KEY.1, "pay_IDZNwZZFtnjyym|sub_ID6MOhgkcoHj9I", VOUCHED),
    (
        KEY.1,
        "plink_IH3cNucfVEgV68|TSsd1989|paid|pay_IH3d0ara9bSsjQ",
        "07ae18789e35093e51d0a491eb9922646f3f82773547e5b0f67ee3f2d3bf7d5b",
    ),
];

#[test]
fn signatures_of_razorpays_own_making_match_their_messages_alone() {
    for (secret, message, signature) in VECTORS {
        let secrets = [SecretString::from("other"), SecretString::from(secret)];
        let matches = |message: &str, signature: &str| {
            any_matches(
                &secrets,
                &[message.as_bytes()],
                &[unhex(signature).unwrap()],
            )
        };
        assert!(matches(message, signature), "{message}");
        for (_, other, another) in VECTORS.iter().filter(|other| other.1 != message) {
            assert!(!matches(other, signature) && !matches(message, another));
        }
    }
}

fn verified(
    secrets: &[&str],
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<IncomingEvent, WebhookError> {
    let header = |name: &str| {
        let found = headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    razorpay(KEY, secrets)
        .unwrap()
        .verify_webhook(&header, body, DateTime::UNIX_EPOCH)
}

#[test]
fn a_webhook_must_be_signed_with_one_of_the_secrets() {
    let (secret, body, signature) = VECTORS[0];
    let signed = [("x-razorpay-signature", signature)];
    let checked = |secrets: &[&str], headers: &[(&str, &str)], body: &str| {
        verified(secrets, headers, body.as_bytes()).unwrap_err()
    };
    // Rightly signed, and no event.
    for secrets in [&[secret][..], &["old", secret], &[secret, "new"]] {
        assert!(matches!(
            checked(secrets, &signed, body),
            WebhookError::NotAnEvent { .. }
        ));
    }
    let refused = |fault| WebhookError::BadSignature(fault);
    let no_match = refused(SignatureFault::NoMatch);
    assert_eq!(checked(&["new"], &signed, body), no_match);
    assert_eq!(checked(&[], &signed, body), no_match);
    assert_eq!(checked(&[secret], &signed, &format!("{body} ")), no_match);
    // What checkouts are signed with signs no webhook.
    assert_eq!(checked(&[KEY.1], &signed, body), no_match);
    assert_eq!(
        checked(&[secret], &[], body),
        refused(SignatureFault::Missing)
    );
    for malformed in [
        "",
        &signature[1..],
        &format!("{signature}0"),
        &"g".repeat(64),
    ] {
        let headers = [("x-razorpay-signature", malformed)];
        assert_eq!(
            checked(&[secret], &headers, body),
            refused(SignatureFault::Malformed),
            "{malformed}"
        );
    }
}

const BODY: &str = r#"{"entity":"event","event":"invoice.paid","payload":{}}"#;
/// Of that body, by `whsec`.
const SIGNED: &str = "a377e153200ebd8c9d3a65237aa0721c3302f62a8b53ac6edcf9626f3ba384b2";
/// The digest of that body.
const DIGEST: &str = "4a16982319cc7bddd3804df5abdf599dbde0f4885470e082e171cfeef22787a0";

#[test]
fn the_events_id_is_that_of_the_header_or_stands_for_the_body() {
    let id_under = |id: Option<&str>| {
        let mut headers = vec![("x-razorpay-signature", SIGNED)];
        headers.extend(id.map(|id| ("x-razorpay-event-id", id)));
        verified(&["whsec"], &headers, BODY.as_bytes()).unwrap()
    };
    let event = id_under(Some("FXiGFYFLxDVBpD"));
    assert_eq!(
        event,
        IncomingEvent {
            event_id: "FXiGFYFLxDVBpD".to_owned(),
            event_type: "invoice.paid".to_owned(),
            livemode: false,
            hint: Hint::Ignored,
        }
    );
    let (longest, too_long) = ("e".repeat(255), "e".repeat(256));
    assert_eq!(id_under(Some(&longest)).event_id, longest);
    for insane in [None, Some(""), Some("a\0b"), Some(too_long.as_str())] {
        assert_eq!(
            id_under(insane).event_id,
            format!("body-{DIGEST}"),
            "{insane:?}"
        );
    }
}

#[test]
fn a_payment_is_vouched_for_with_the_key() {
    let (payment, subscription) = PAID;
    let vouches = |key, payment: &str, subscription: &str, signature: &str| {
        razorpay(key, &["w"])
            .unwrap()
            .vouches_for_payment(payment, subscription, signature)
    };
    assert_eq!(vouches(KEY, payment, subscription, VOUCHED), Some(true));
    for (payment, subscription, signature) in [
        (payment, "sub_other", VOUCHED),
        ("pay_other", subscription, VOUCHED),
        (subscription, payment, VOUCHED),
        (payment, subscription, VECTORS[0].2),
        (payment, subscription, &VOUCHED[1..]),
        (payment, subscription, ""),
        // What a payment link is signed with, read in another way.
        (
            "plink_IH3cNucfVEgV68",
            "TSsd1989|paid|pay_IH3d0ara9bSsjQ",
            VECTORS[2].2,
        ),
    ] {
        assert_eq!(
            vouches(KEY, payment, subscription, signature),
            Some(false),
            "{payment} {subscription} {signature}"
        );
    }
    let other = ("rzp_test_1", "another");
    assert_eq!(vouches(other, payment, subscription, VOUCHED), Some(false));
}
