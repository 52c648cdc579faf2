//! The same objects as API versions 2024-06-20 and 2026-09-30 show them, read to the same meaning.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::objects::{
    Charge, Dispute, Invoice, MeterErrorReport, Reference, Refund, Session, Subscription,
    dispute_state,
};
use super::super::{event, wire::read};
use crate::domain::provider_event::{Hint, ProviderStatus, ProviderSubscription};
use crate::domain::subscription::{PlanRef, SubscriptionStatus};
use crate::providers::{CheckoutStatus, DisputeState, RefusedUsage};

macro_rules! both {
    ($file:literal) => {
        [
            include_str!(concat!("../fixtures/old/", $file)),
            include_str!(concat!("../fixtures/new/", $file)),
        ]
    };
}

fn day(text: &str) -> DateTime<Utc> {
    format!("{text}T00:00:00Z").parse().unwrap()
}

/// The hint of an event of that type about the object.
fn hint(kind: &str, object: &str) -> Hint {
    let object: Value = serde_json::from_str(object).unwrap();
    let body = json!({"id": "evt_1", "object": "event", "type": kind, "livemode": false, "data": {"object": object}});
    event::parse(body.to_string().as_bytes()).unwrap().hint
}

#[test]
fn subscriptions_mean_the_same_in_both_shapes() {
    for shape in both!("subscription.json") {
        let read = read::<Subscription>(shape.as_bytes()).unwrap();
        assert!(read.items()[0].is_metered() && !read.items()[1].is_metered());
        assert_eq!(read.items()[1].interval(), Some(("month", 1)));
        assert_eq!(
            read.normalize(),
            ProviderSubscription {
                id: "sub_1ScaleAcme".to_owned(),
                provider_customer_id: Some("cus_Acme".to_owned()),
                customer_id: Some("acme".to_owned()),
                sold_as: Some(PlanRef {
                    tier: "scale".to_owned(),
                    version: 3
                }),
                status: ProviderStatus::Known(SubscriptionStatus::Active),
                price_ids: vec!["price_ScaleOver".to_owned(), "price_ScaleFlat".to_owned()],
                current_period_start: Some(day("2026-01-01")),
                current_period_end: Some(day("2026-02-01")),
                anchor: Some(day("2026-01-01")),
                cancel_at_period_end: false,
                cancel_at: None,
                ended_at: None,
                trial_end: None,
                started_at: Some(day("2026-01-01")),
                was_paid: false,
                unpaid_since: None,
                planned: None,
                change_unpaid: false,
            }
        );
        let provider_subscription_id = "sub_1ScaleAcme".to_owned();
        assert_eq!(
            hint("customer.subscription.updated", shape),
            Hint::Subscription {
                provider_subscription_id
            }
        );
    }
}

#[test]
fn invoices_mean_the_same_in_both_shapes() {
    for shape in both!("invoice.json") {
        let invoice = read::<Invoice>(shape.as_bytes()).unwrap();
        assert_eq!(invoice.amount_paid, 19900);
        assert_eq!(
            invoice.into_subscription_id().as_deref(),
            Some("sub_1ScaleAcme")
        );
        let provider_subscription_id = "sub_1ScaleAcme".to_owned();
        assert_eq!(
            hint("invoice.created", shape),
            Hint::InvoiceDrawn {
                provider_subscription_id
            }
        );
    }
}

#[test]
fn charges_refunds_and_disputes_mean_the_same_in_both_shapes() {
    let charge_hint = Hint::Charge {
        provider_charge_id: "ch_1Scale".to_owned(),
    };
    for shape in both!("charge.json") {
        let charge = read::<Charge>(shape.as_bytes()).unwrap();
        assert_eq!((charge.amount, charge.disputed), (19900, false));
        let intent = charge.payment_intent.map(Reference::into_id);
        assert_eq!(intent.as_deref(), Some("pi_1Scale"));
        assert_eq!(hint("charge.refunded", shape), charge_hint);
    }
    for shape in both!("refund.json") {
        let refund = read::<Refund>(shape.as_bytes()).unwrap();
        assert_eq!(refund.amount_back(), 5000);
        assert_eq!(hint("refund.updated", shape), charge_hint);
        assert_eq!(hint("charge.refund.updated", shape), charge_hint);
    }
    for shape in both!("dispute.json") {
        let dispute = read::<Dispute>(shape.as_bytes()).unwrap();
        assert_eq!(dispute_state(&[dispute]), DisputeState::UnderReview);
        assert_eq!(hint("charge.dispute.created", shape), charge_hint);
    }
}

#[test]
fn checkout_sessions_mean_the_same_in_both_shapes() {
    for shape in both!("checkout_session.json") {
        let session = read::<Session>(shape.as_bytes())
            .unwrap()
            .normalize()
            .unwrap();
        assert_eq!(
            (session.status, session.expires_at),
            (CheckoutStatus::Complete, Some(day("2026-01-02")))
        );
        assert_eq!(
            hint("checkout.session.completed", shape),
            Hint::CheckoutCompleted {
                session_id: "cs_test_1Scale".to_owned(),
                provider_subscription_id: Some("sub_1ScaleAcme".to_owned()),
                customer_id: Some("acme".to_owned()),
            }
        );
    }
}

#[test]
fn reports_about_unusable_usage_mean_the_same_in_both_shapes() {
    let refused = |identifier: Option<&str>, reason: &str| RefusedUsage {
        identifier: identifier.map(str::to_owned),
        reason: format!("meter_event_customer_not_found: {reason}"),
    };
    for shape in both!("meter_error.json") {
        let event = event::parse(shape.as_bytes()).unwrap();
        assert_eq!(event.hint, Hint::UsageRefused);
        assert_eq!(
            read::<MeterErrorReport>(shape.as_bytes())
                .unwrap()
                .refused(),
            [
                refused(Some("overage-1"), "The customer does not exist."),
                refused(Some("overage-2"), "The customer does not exist."),
                refused(None, "1 more of it"),
            ]
        );
    }
}
