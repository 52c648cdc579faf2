//! Razorpay's webhook bodies, read into hints.

use serde::Deserialize;
use serde_json::Value;

use super::lenient::{as_text, as_whole};
use crate::domain::provider_event::{Hint, PaymentMade};
use crate::providers::WebhookError;
use crate::providers::signing::digest;
use crate::providers::wire::{is_storable, not_an_event, read_event};

/// The wrapping of an event. Its `contains` is not believed, nor is it read when it was made: some events have that elsewhere.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    entity: Value,
    #[serde(default)]
    event: Value,
    #[serde(default)]
    payload: Value,
}

/// What an event is told under in every delivery of it. Where the header that bears its id is missing or cannot be stored, its body
/// stands for it, which is the same in every delivery, too.
pub(super) fn id(header: Option<String>, body: &[u8]) -> String {
    header
        .filter(|id| is_storable(id))
        .unwrap_or_else(|| format!("body-{}", digest(body)))
}

/// Reads a body whose signature was verified: the event's type, and what to look at because of it.
pub(super) fn parse(body: &[u8]) -> Result<(String, Hint), WebhookError> {
    let envelope: Envelope = read_event(body)?;
    if envelope.entity.as_str() != Some("event") {
        return Err(not_an_event("it is another object"));
    }
    let kind = envelope.event.as_str().filter(|kind| is_storable(kind));
    let kind = kind.ok_or_else(|| not_an_event("its type is empty, too long, or none"))?;
    let hint = hint(kind, &Payload(&envelope.payload))?;
    if hint.subject().is_some_and(|subject| !is_storable(subject)) {
        return Err(not_an_event(
            "the id of its object is empty, too long, or none",
        ));
    }
    Ok((kind.to_owned(), hint))
}

/// The objects that an event bears.
struct Payload<'a>(&'a Value);

impl<'a> Payload<'a> {
    /// A field of one of them.
    fn field(&self, object: &str, field: &str) -> Option<&'a Value> {
        self.0.get(object)?.get("entity")?.get(field)
    }

    /// A field that names something.
    fn name(&self, object: &str, field: &str) -> Option<String> {
        self.field(object, field).and_then(as_text)
    }

    fn needed(&self, object: &str, field: &str) -> Result<String, WebhookError> {
        self.name(object, field)
            .ok_or_else(|| not_an_event(format!("payload.{object}.entity.{field} is missing")))
    }

    /// The payment that the event tells of, where it can be kept.
    fn payment(&self) -> Option<PaymentMade> {
        let currency = self.name("payment", "currency")?;
        let is_code = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_alphabetic());
        Some(PaymentMade {
            id: self.name("payment", "id").filter(|id| is_storable(id))?,
            amount: as_whole(self.field("payment", "amount")?).filter(|amount| *amount >= 0)?,
            currency: is_code.then(|| currency.to_ascii_lowercase())?,
        })
    }
}

fn hint(kind: &str, payload: &Payload<'_>) -> Result<Hint, WebhookError> {
    let (about, what) = kind.split_once('.').unwrap_or((kind, ""));
    Ok(match (about, what) {
        // All of them: what is new under this name still bears a subscription, and fetching it does no harm.
        ("subscription", what) => {
            let provider_subscription_id = payload.needed("subscription", "id")?;
            match payload.payment().filter(|_| what == "charged") {
                Some(payment) => Hint::SubscriptionPaid {
                    provider_subscription_id,
                    payment,
                },
                None => Hint::Subscription {
                    provider_subscription_id,
                },
            }
        }
        ("payment_link", _) => Hint::PaymentLink {
            provider_link_id: payload.needed("payment_link", "id")?,
        },
        ("refund", _) => charge(payload.name("refund", "payment_id"), payload),
        ("payment", "refunded") => charge(None, payload),
        ("payment", what) if what.starts_with("dispute.") => {
            charge(payload.name("dispute", "payment_id"), payload)
        }
        // A payment that failed among them: what follows for its subscription comes as `subscription.pending`.
        _ => Hint::Ignored,
    })
}

fn charge(payment_id: Option<String>, payload: &Payload<'_>) -> Hint {
    let payment_id = payment_id.or_else(|| payload.name("payment", "id"));
    payment_id.map_or(Hint::Ignored, |provider_charge_id| Hint::Charge {
        provider_charge_id,
    })
}

/// One of the objects that a verified body bears.
pub(super) fn borne_by<T: for<'de> Deserialize<'de>>(body: &[u8], object: &str) -> Option<T> {
    let mut envelope: Envelope = read_event(body).ok()?;
    let entity = envelope.payload.get_mut(object)?.get_mut("entity")?.take();
    serde_json::from_value(entity).ok()
}
