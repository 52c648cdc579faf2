//! Events and what they hint at, with everything about them that Razorpay does not keep to.

use serde_json::{Value, json};

use super::super::event::parse;
use crate::domain::provider_event::{Hint, PaymentMade};
use crate::providers::WebhookError;

fn hint(kind: &str, payload: Value) -> Result<Hint, WebhookError> {
    let body = json!({"entity": "event", "event": kind, "payload": payload});
    let parsed = parse(body.to_string().as_bytes());
    parsed.map(|(found, hint)| {
        assert_eq!(found, kind);
        hint
    })
}

fn subscription(id: &str) -> Hint {
    Hint::Subscription {
        provider_subscription_id: id.to_owned(),
    }
}

fn charge(id: &str) -> Hint {
    Hint::Charge {
        provider_charge_id: id.to_owned(),
    }
}

#[test]
fn every_event_is_read_as_what_it_is() {
    let entity = |object: Value| json!({ "entity": object });
    let of_subscription = || json!({"subscription": entity(json!({"id": "sub_1"}))});
    for what in [
        "authenticated",
        "activated",
        "pending",
        "halted",
        "updated",
        "paused",
        "resumed",
        "cancelled",
        "completed",
        "of_next_year",
    ] {
        let kind = format!("subscription.{what}");
        assert_eq!(
            hint(&kind, of_subscription()),
            Ok(subscription("sub_1")),
            "{kind}"
        );
    }
    for what in ["paid", "expired", "cancelled", "partially_paid"] {
        let kind = format!("payment_link.{what}");
        let payload = json!({"payment_link": entity(json!({"id": "plink_1"}))});
        let link = Hint::PaymentLink {
            provider_link_id: "plink_1".to_owned(),
        };
        assert_eq!(hint(&kind, payload), Ok(link), "{kind}");
    }
    for what in ["created", "processed", "failed", "speed_changed"] {
        let kind = format!("refund.{what}");
        let payload = json!({"refund": entity(json!({"id": "rfnd_1", "payment_id": "pay_1"}))});
        assert_eq!(hint(&kind, payload), Ok(charge("pay_1")), "{kind}");
        let payload = json!({"refund": entity(json!({"payment_id": null})), "payment": entity(json!({"id": "pay_2"}))});
        assert_eq!(hint(&kind, payload), Ok(charge("pay_2")), "{kind}");
        assert_eq!(hint(&kind, json!({})), Ok(Hint::Ignored), "{kind}");
    }
    let paid = || json!({"payment": entity(json!({"id": "pay_1"}))});
    assert_eq!(hint("payment.refunded", paid()), Ok(charge("pay_1")));
    for what in [
        "created",
        "under_review",
        "action_required",
        "won",
        "lost",
        "closed",
    ] {
        let kind = format!("payment.dispute.{what}");
        let payload = json!({"dispute": entity(json!({"id": "disp_1", "payment_id": "pay_1"}))});
        assert_eq!(hint(&kind, payload), Ok(charge("pay_1")), "{kind}");
        assert_eq!(hint(&kind, paid()), Ok(charge("pay_1")), "{kind}");
    }
    for kind in [
        "payment.failed",
        "payment.captured",
        "payment.authorized",
        "invoice.paid",
        "order.paid",
        "payment.disputed",
        "something",
    ] {
        assert_eq!(hint(kind, paid()), Ok(Hint::Ignored), "{kind}");
    }
}

#[test]
fn a_charge_is_kept_however_its_fields_are_spelled() {
    let body = include_str!("../fixtures/subscription_charged.json");
    let charged = Hint::SubscriptionPaid {
        provider_subscription_id: "sub_DEX6xcJ1HSW4CR".to_owned(),
        payment: PaymentMade {
            id: "pay_DEXFWroJ6LikKT".to_owned(),
            amount: 10_000,
            currency: "inr".to_owned(),
        },
    };
    let kind = "subscription.charged".to_owned();
    assert_eq!(parse(body.as_bytes()), Ok((kind, charged)));
}

#[test]
fn a_charge_without_a_payment_that_can_be_kept_is_news_of_the_subscription() {
    let payment = || json!({"id": "pay_1", "amount": "4900", "currency": "INR"});
    let charged = |payment: Value| {
        let payload =
            json!({"subscription": {"entity": {"id": "sub_1"}}, "payment": {"entity": payment}});
        hint("subscription.charged", payload).unwrap()
    };
    assert_eq!(
        charged(payment()),
        Hint::SubscriptionPaid {
            provider_subscription_id: "sub_1".to_owned(),
            payment: PaymentMade {
                id: "pay_1".to_owned(),
                amount: 4900,
                currency: "inr".to_owned(),
            },
        }
    );
    let with = |field: &str, value: Value| {
        let mut payment = payment();
        payment[field] = value;
        payment
    };
    for unusable in [
        Value::Null,
        json!([]),
        with("id", Value::Null),
        with("id", json!("pay\u{0}1")),
        with("id", json!("p".repeat(256))),
        with("amount", Value::Null),
        with("amount", json!(-1)),
        with("amount", json!(1.5)),
        with("amount", json!("much")),
        with("currency", json!("")),
        with("currency", json!("₹₹₹")),
        with("currency", json!("RUPEE")),
    ] {
        assert_eq!(
            charged(unusable.clone()),
            subscription("sub_1"),
            "{unusable}"
        );
    }
}

#[test]
fn other_bodies_are_no_events() {
    let cases = [
        json!({"entity": "subscription", "event": "subscription.activated"}),
        json!({"event": "subscription.activated", "payload": {"subscription": {"entity": {"id": "sub_1"}}}}),
        json!({"entity": "event"}),
        json!({"entity": "event", "event": ""}),
        json!({"entity": "event", "event": 5}),
        json!({"entity": "event", "event": "a\u{0}b"}),
        json!({"entity": "event", "event": "e".repeat(256)}),
        json!([]),
        json!("event"),
    ];
    for body in cases {
        let parsed = parse(body.to_string().as_bytes());
        assert!(
            matches!(parsed, Err(WebhookError::NotAnEvent { .. })),
            "{body}"
        );
    }
    for body in ["", "{", r#"{"entity":"event","event":"x"} x"#, "\u{0}"] {
        assert!(parse(body.as_bytes()).is_err(), "{body}");
    }
    for (kind, object, id) in [
        ("subscription.activated", "subscription", json!("sub\u{0}1")),
        (
            "subscription.activated",
            "subscription",
            json!("s".repeat(256)),
        ),
        ("subscription.activated", "subscription", Value::Null),
        ("subscription.charged", "subscription", json!("")),
        ("payment_link.paid", "payment_link", json!([])),
        ("payment.refunded", "payment", json!("pay\n1")),
    ] {
        let payload = json!({object: {"entity": {"id": id}}});
        assert!(hint(kind, payload.clone()).is_err(), "{kind} {payload}");
    }
}

#[test]
fn a_payload_of_any_shape_is_read_without_a_panic() {
    for payload in [
        json!(null),
        json!([]),
        json!({"subscription": []}),
        json!({"payment": {"entity": [1]}}),
    ] {
        for kind in ["subscription.charged", "payment_link.paid"] {
            assert!(hint(kind, payload.clone()).is_err(), "{kind} {payload}");
        }
        for kind in [
            "refund.processed",
            "payment.dispute.lost",
            "payment.refunded",
        ] {
            assert_eq!(
                hint(kind, payload.clone()),
                Ok(Hint::Ignored),
                "{kind} {payload}"
            );
        }
    }
}

#[test]
fn bodies_as_razorpay_sends_them_are_read() {
    let link = parse(include_bytes!("../fixtures/payment_link_paid.json"));
    let of_link = Hint::PaymentLink {
        provider_link_id: "plink_IH3cNucfVEgV68".to_owned(),
    };
    assert_eq!(link.map(|(_, hint)| hint), Ok(of_link));
    let lost = parse(include_bytes!("../fixtures/dispute_lost.json"));
    assert_eq!(lost.map(|(_, hint)| hint), Ok(charge("pay_EFtmUsbwpXwBH9")));
}
