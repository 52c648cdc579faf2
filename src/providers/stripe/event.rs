//! Stripe's webhook bodies, read into hints.

use serde::Deserialize;
use serde_json::Value;

use super::objects::{Identified, Invoice, Reference, Session};
use crate::domain::provider_event::{Hint, IncomingEvent};
use crate::providers::WebhookError;
use crate::providers::wire::{is_storable, not_an_event, read_event};

/// The wrapping of an event, of the snapshot form (`event`) and of the thin one (`v2.core.event`, without the object).
#[derive(Debug, Deserialize)]
struct Envelope {
    id: String,
    object: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    #[serde(default)]
    data: Value,
}

/// A refund or a dispute: only the payment it is about.
#[derive(Debug, Deserialize)]
struct OfCharge {
    charge: Option<Reference<Identified>>,
}

/// Reads a body whose signature was verified.
pub(super) fn parse(body: &[u8]) -> Result<IncomingEvent, WebhookError> {
    let envelope: Envelope = read_event(body)?;
    if !matches!(envelope.object.as_str(), "event" | "v2.core.event") {
        return Err(not_an_event("it is another object"));
    }
    for (name, value) in [("id", &envelope.id), ("type", &envelope.kind)] {
        if !is_storable(value) {
            return Err(not_an_event(format!(
                "its {name} is empty, too long, or none"
            )));
        }
    }
    let hint = match envelope.object.as_str() {
        "event" => hint(&envelope.kind, envelope.data)?,
        _ => thin_hint(&envelope.kind),
    };
    if hint.subject().is_some_and(|subject| !is_storable(subject)) {
        return Err(not_an_event(
            "the id of its object is empty, too long, or none",
        ));
    }
    Ok(IncomingEvent {
        event_id: envelope.id,
        event_type: envelope.kind,
        livemode: envelope.livemode,
        hint,
    })
}

fn hint(kind: &str, mut data: Value) -> Result<Hint, WebhookError> {
    let object = data.get_mut("object").map(Value::take).unwrap_or_default();
    match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            let session: Session = object_of(object)?;
            if !sells_subscriptions(&session) {
                return Ok(Hint::Ignored);
            }
            let customer_id = session.metadata.get("customer_id").map(str::to_owned);
            Ok(Hint::CheckoutCompleted {
                customer_id: customer_id
                    .or(session.client_reference_id.filter(|id| !id.is_empty())),
                session_id: session.id,
                provider_subscription_id: session.subscription.map(Reference::into_id),
            })
        }
        "checkout.session.expired" | "checkout.session.async_payment_failed" => {
            let session: Session = object_of(object)?;
            if !sells_subscriptions(&session) {
                return Ok(Hint::Ignored);
            }
            Ok(Hint::CheckoutClosed {
                session_id: session.id,
            })
        }
        "invoice.created" => Ok(object_of::<Invoice>(object)?.into_subscription_id().map_or(
            Hint::Ignored,
            |provider_subscription_id| Hint::InvoiceDrawn {
                provider_subscription_id,
            },
        )),
        "invoice.paid"
        | "invoice.payment_succeeded"
        | "invoice.payment_failed"
        | "invoice.payment_action_required"
        | "invoice.overdue"
        | "invoice.marked_uncollectible"
        | "invoice.voided" => Ok(object_of::<Invoice>(object)?.into_subscription_id().map_or(
            Hint::Ignored,
            |provider_subscription_id| Hint::Subscription {
                provider_subscription_id,
            },
        )),
        "charge.refunded" => {
            let Identified { id } = object_of(object)?;
            Ok(Hint::Charge {
                provider_charge_id: id,
            })
        }
        "customer.deleted" => {
            let Identified { id } = object_of(object)?;
            Ok(Hint::CustomerDeleted {
                provider_customer_id: id,
            })
        }
        // All of them, as below. What else happens to charges says nothing that their invoices do not.
        _ if ["refund.", "charge.refund.", "charge.dispute."]
            .iter()
            .any(|about| kind.starts_with(about)) =>
        {
            let OfCharge { charge } = object_of(object)?;
            Ok(charge.map_or(Hint::Ignored, |charge| Hint::Charge {
                provider_charge_id: charge.into_id(),
            }))
        }
        // All of them: what is new under this name still bears a subscription, and fetching it does no harm.
        _ if kind.starts_with("customer.subscription.") => {
            let Identified { id } = object_of(object)?;
            Ok(Hint::Subscription {
                provider_subscription_id: id,
            })
        }
        _ => Ok(Hint::Ignored),
    }
}

/// Thin events bear no object: they are fetched by their id.
fn thin_hint(kind: &str) -> Hint {
    match kind {
        "v1.billing.meter.error_report_triggered" | "v1.billing.meter.no_meter_found" => {
            Hint::UsageRefused
        }
        _ => Hint::Ignored,
    }
}

/// One-off payments of the same Stripe account are somebody else's business.
fn sells_subscriptions(session: &Session) -> bool {
    session
        .mode
        .as_deref()
        .is_none_or(|mode| mode == "subscription")
}

fn object_of<T: for<'de> Deserialize<'de>>(object: Value) -> Result<T, WebhookError> {
    serde_path_to_error::deserialize(object)
        .map_err(|error| not_an_event(format!("data.object.{error}")))
}
