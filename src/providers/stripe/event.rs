//! Stripe's webhook bodies, read into hints.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::objects::{Identified, Reference, Session, instant};
use crate::domain::provider_event::{Hint, IncomingEvent};
use crate::providers::WebhookError;

/// Ids are a few dozen characters; the inbox stores them under a unique index.
const MAX_ID_CHARS: usize = 255;

/// The wrapping of an event, of the snapshot form (`event`) and of the thin one (`v2.core.event`, without the object).
#[derive(Debug, Deserialize)]
struct Envelope {
    id: String,
    object: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    created: Created,
    #[serde(default)]
    data: Value,
}

/// Snapshot events count seconds, thin ones write the time out.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Created {
    Seconds(i64),
    Written(DateTime<Utc>),
}

/// An invoice: only the subscription it bills.
#[derive(Debug, Deserialize)]
struct Invoice {
    /// Before API version 2025-03-31.
    subscription: Option<Reference<Identified>>,
    parent: Option<InvoiceParent>,
}

#[derive(Debug, Deserialize)]
struct InvoiceParent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Debug, Deserialize)]
struct SubscriptionDetails {
    subscription: Option<Reference<Identified>>,
}

/// Reads a body whose signature was verified.
pub(super) fn parse(body: &[u8]) -> Result<IncomingEvent, WebhookError> {
    let envelope: Envelope = read(body)?;
    if !matches!(envelope.object.as_str(), "event" | "v2.core.event") {
        return Err(not_an_event("it is another object"));
    }
    for (name, value) in [("id", &envelope.id), ("type", &envelope.kind)] {
        if value.is_empty() || value.chars().count() > MAX_ID_CHARS {
            return Err(not_an_event(format!("its {name} is empty or too long")));
        }
    }
    let created_at = match envelope.created {
        Created::Seconds(seconds) => instant(Some(seconds)),
        Created::Written(instant) => Some(instant),
    }
    .ok_or_else(|| not_an_event("its time is out of range"))?;
    let hint = match envelope.object.as_str() {
        "event" => hint(&envelope.kind, envelope.data)?,
        // Thin events speak of meters so far, never of what the core follows.
        _ => Hint::Ignored,
    };
    Ok(IncomingEvent {
        event_id: envelope.id,
        event_type: envelope.kind,
        livemode: envelope.livemode,
        created_at,
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
                provider_customer_id: session.customer.map(Reference::into_id),
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
        "invoice.created"
        | "invoice.paid"
        | "invoice.payment_succeeded"
        | "invoice.payment_failed"
        | "invoice.payment_action_required"
        | "invoice.overdue"
        | "invoice.marked_uncollectible"
        | "invoice.voided" => {
            let invoice: Invoice = object_of(object)?;
            let by_parent = invoice
                .parent
                .and_then(|p| p.subscription_details)
                .and_then(|d| d.subscription);
            Ok(by_parent
                .or(invoice.subscription)
                .map_or(Hint::Ignored, |subscription| Hint::Subscription {
                    provider_subscription_id: subscription.into_id(),
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

/// One-off payments of the same Stripe account are somebody else's business.
fn sells_subscriptions(session: &Session) -> bool {
    session
        .mode
        .as_deref()
        .is_none_or(|mode| mode == "subscription")
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, WebhookError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(not_an_event)?;
    json.end().map_err(not_an_event)?;
    Ok(value)
}

fn object_of<T: for<'de> Deserialize<'de>>(object: Value) -> Result<T, WebhookError> {
    serde_path_to_error::deserialize(object)
        .map_err(|error| not_an_event(format!("data.object.{error}")))
}

fn not_an_event(reason: impl ToString) -> WebhookError {
    WebhookError::NotAnEvent {
        reason: reason.to_string(),
    }
}
