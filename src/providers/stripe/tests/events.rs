//! What webhook bodies ask to look at.

use serde_json::{Value, json};

use super::super::event::parse;
use crate::domain::provider_event::{Hint, IncomingEvent};
use crate::providers::WebhookError;

fn event(kind: &str, object: &Value) -> IncomingEvent {
    let body = json!({
        "id": "evt_1", "object": "event", "api_version": "2026-09-30.endive", "created": 1_767_225_600,
        "livemode": false, "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
        "type": kind, "data": {"object": object},
    });
    parse(body.to_string().as_bytes()).unwrap()
}

fn hint_of(kind: &str, object: &Value) -> Hint {
    event(kind, object).hint
}

fn subscription_hint(id: &str) -> Hint {
    Hint::Subscription {
        provider_subscription_id: id.to_owned(),
    }
}

fn not_an_event(body: &[u8]) -> String {
    match parse(body) {
        Err(WebhookError::NotAnEvent { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_shows_who_it_is() {
    let event = event("product.created", &json!({"id": "prod_1"}));
    assert_eq!(
        (event.event_id.as_str(), event.event_type.as_str()),
        ("evt_1", "product.created")
    );
    assert!(!event.livemode);
    assert_eq!(event.hint, Hint::Ignored);
}

#[test]
fn subscription_events_point_to_the_subscription() {
    let object =
        json!({"id": "sub_1", "object": "subscription", "status": "something_new", "items": null});
    for what in [
        "created",
        "updated",
        "deleted",
        "paused",
        "resumed",
        "pending_update_applied",
        "invented_later",
    ] {
        assert_eq!(
            hint_of(&format!("customer.subscription.{what}"), &object),
            subscription_hint("sub_1")
        );
    }
}

#[test]
fn invoices_point_to_their_subscription_in_both_shapes() {
    let now = json!({"id": "in_1", "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}});
    let expanded = json!({"id": "in_1", "parent": {"subscription_details": {"subscription": {"id": "sub_1", "object": "subscription"}}}});
    let before = json!({"id": "in_1", "subscription": "sub_1"});
    let before_expanded = json!({"id": "in_1", "subscription": {"id": "sub_1"}, "parent": null});
    let drawn = Hint::InvoiceDrawn {
        provider_subscription_id: "sub_1".to_owned(),
    };
    for object in [&now, &expanded, &before, &before_expanded] {
        for kind in ["invoice.paid", "invoice.payment_failed"] {
            assert_eq!(
                hint_of(kind, object),
                subscription_hint("sub_1"),
                "{kind} {object}"
            );
        }
        assert_eq!(hint_of("invoice.created", object), drawn, "{object}");
    }
}

#[test]
fn invoices_without_a_subscription_are_ignored() {
    for object in [
        json!({"id": "in_1"}),
        json!({"id": "in_1", "parent": {"type": "quote_details", "subscription_details": null}}),
    ] {
        assert_eq!(hint_of("invoice.paid", &object), Hint::Ignored);
    }
}

#[test]
fn a_completed_checkout_binds_customer_and_subscription() {
    let object = json!({
        "id": "cs_1", "mode": "subscription", "status": "complete", "customer": {"id": "cus_1"}, "subscription": "sub_1",
        "client_reference_id": "from-the-link", "metadata": {"customer_id": "acme"},
    });
    let expected = |customer_id: Option<&str>| Hint::CheckoutCompleted {
        session_id: "cs_1".to_owned(),
        provider_subscription_id: Some("sub_1".to_owned()),
        customer_id: customer_id.map(str::to_owned),
    };
    for kind in [
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
    ] {
        assert_eq!(hint_of(kind, &object), expected(Some("acme")));
    }
    let mut unmarked = object.clone();
    unmarked["metadata"] = Value::Null;
    assert_eq!(
        hint_of("checkout.session.completed", &unmarked),
        expected(Some("from-the-link"))
    );
    unmarked["client_reference_id"] = Value::Null;
    assert_eq!(
        hint_of("checkout.session.completed", &unmarked),
        expected(None)
    );
}

#[test]
fn a_checkout_that_came_to_nothing_is_closed() {
    for kind in [
        "checkout.session.expired",
        "checkout.session.async_payment_failed",
    ] {
        let closed = hint_of(
            kind,
            &json!({"id": "cs_1", "mode": "subscription", "metadata": {}}),
        );
        assert_eq!(
            closed,
            Hint::CheckoutClosed {
                session_id: "cs_1".to_owned()
            }
        );
    }
}

#[test]
fn checkouts_that_sell_no_subscription_are_ignored() {
    for kind in ["checkout.session.completed", "checkout.session.expired"] {
        assert_eq!(
            hint_of(kind, &json!({"id": "cs_1", "mode": "payment"})),
            Hint::Ignored
        );
    }
}

#[test]
fn money_that_goes_back_points_at_its_payment() {
    let charge = Hint::Charge {
        provider_charge_id: "ch_1".to_owned(),
    };
    let refunded = json!({"id": "ch_1", "object": "charge", "refunded": true});
    assert_eq!(hint_of("charge.refunded", &refunded), charge);
    for of_charge in [json!("ch_1"), json!({"id": "ch_1", "object": "charge"})] {
        let refund = json!({"id": "re_1", "object": "refund", "charge": of_charge});
        for kind in [
            "refund.created",
            "refund.updated",
            "refund.failed",
            "charge.refund.updated",
            "charge.dispute.created",
            "charge.dispute.closed",
            "charge.dispute.funds_withdrawn",
        ] {
            assert_eq!(hint_of(kind, &refund), charge, "{kind}");
        }
    }
    for unknown in [json!({"id": "re_1"}), json!({"id": "re_1", "charge": null})] {
        assert_eq!(hint_of("refund.created", &unknown), Hint::Ignored);
    }
}

#[test]
fn charges_of_which_nothing_went_back_are_ignored() {
    for kind in [
        "charge.succeeded",
        "charge.failed",
        "charge.pending",
        "charge.captured",
        "charge.updated",
        "charge.expired",
    ] {
        let charge = json!({"id": "ch_1", "object": "charge", "refunded": false});
        assert_eq!(hint_of(kind, &charge), Hint::Ignored, "{kind}");
    }
}

#[test]
fn a_customer_who_is_gone_is_told_of() {
    assert_eq!(
        hint_of("customer.deleted", &json!({"id": "cus_1"})),
        Hint::CustomerDeleted {
            provider_customer_id: "cus_1".to_owned()
        }
    );
    assert_eq!(
        hint_of("customer.updated", &json!({"id": "cus_1"})),
        Hint::Ignored
    );
}

#[test]
fn thin_events_tell_of_usage_that_could_not_be_used() {
    let thin = |kind: &str| {
        let body = json!({
            "id": "evt_test_1", "object": "v2.core.event", "type": kind,
            "livemode": true, "created": "2026-01-01T00:00:00.250Z",
            "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
        });
        parse(body.to_string().as_bytes()).unwrap()
    };
    let refused = thin("v1.billing.meter.error_report_triggered");
    assert_eq!(
        (refused.event_id.as_str(), refused.livemode, refused.hint),
        ("evt_test_1", true, Hint::UsageRefused)
    );
    assert_eq!(
        thin("v1.billing.meter.no_meter_found").hint,
        Hint::UsageRefused
    );
    // A name of the other generation means nothing in this one.
    assert_eq!(thin("customer.deleted").hint, Hint::Ignored);
    assert_eq!(
        hint_of("v1.billing.meter.no_meter_found", &json!({"id": "mtr_1"})),
        Hint::Ignored
    );
}

#[test]
fn signed_bodies_that_are_no_events_are_refused_with_the_reason() {
    let event = json!({"id": "evt_1", "object": "event", "type": "x", "livemode": false, "created": 1, "data": {"object": {}}});
    assert!(parse(event.to_string().as_bytes()).is_ok());
    for field in ["id", "object", "type", "livemode"] {
        let mut without = event.clone();
        without.as_object_mut().unwrap().remove(field);
        assert!(not_an_event(without.to_string().as_bytes()).contains(field));
    }
    let with = |field: &str, value: Value| {
        let mut changed = event.clone();
        changed[field] = value;
        changed.to_string()
    };
    assert_eq!(
        not_an_event(with("object", json!("charge")).as_bytes()),
        "it is another object"
    );
    assert!(not_an_event(with("id", json!("")).as_bytes()).contains("id"));
    assert!(not_an_event(with("id", json!("e".repeat(256))).as_bytes()).contains("id"));
    let pointless = with("type", json!("customer.subscription.updated"));
    assert!(
        not_an_event(pointless.as_bytes()).contains("data.object"),
        "{pointless}"
    );
    for body in [&b""[..], b"null", b"[]", b"{", b"\xff\xfe", b"payload=1"] {
        not_an_event(body);
    }
    not_an_event(format!("{event} {event}").as_bytes());
}
