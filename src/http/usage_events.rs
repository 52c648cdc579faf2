//! Reported usage: our own events and CloudEvents, each understood by itself.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::{parse, parse_envelope, refuse_array};
use super::problem::{Problem, ProblemKind};
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::quantity::Quantity;
use crate::domain::timestamp::Timestamp;
use crate::meter::{Record, Recorded};
use crate::service::context::Context;

/// Most events in one call.
const EVENTS_MAX: usize = 1000;
/// Longest `source` of a CloudEvent, in characters.
const SOURCE_MAX: usize = 255;

/// Usage that already happened.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "run-0001", "customer_id": "acme", "feature": "attribution_runs", "quantity": 3,
    "occurred_at": "2026-01-20T10:00:00Z"}))]
pub struct UsageEvent {
    /// The caller's id: the idempotency key.
    #[schema(value_type = String, max_length = 255)]
    id: IdempotencyKey,
    /// Whose.
    #[schema(value_type = String)]
    customer_id: CustomerId,
    /// Key of a metered feature.
    feature: String,
    /// Units.
    quantity: Quantity,
    /// When it happened; now by default.
    occurred_at: Option<Timestamp>,
    /// Notes that are kept with the ledger entry.
    properties: Option<Map<String, Value>>,
}

/// A CloudEvent 1.0 in structured mode. Extension attributes are allowed, and not kept.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(example = json!({"specversion": "1.0", "id": "00001", "source": "attribution-service", "type": "attribution_runs",
    "subject": "acme", "time": "2026-01-20T10:00:00Z", "data": {"quantity": 3}}))]
pub struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// With `source` the idempotency key.
    #[schema(value_type = String, max_length = 255)]
    id: IdempotencyKey,
    /// With `id` the idempotency key.
    #[schema(min_length = 1, max_length = 255)]
    source: String,
    /// Key of a metered feature.
    #[serde(rename = "type")]
    kind: String,
    /// The customer.
    #[schema(value_type = String)]
    subject: CustomerId,
    /// When it happened; now by default.
    time: Option<Timestamp>,
    /// `quantity` (1 where it is missing); the rest is kept with the ledger entry.
    #[schema(value_type = Option<Object>)]
    data: Option<Map<String, Value>>,
}

/// 1 to 1000 events.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// The events.
    #[schema(value_type = Vec<UsageEvent>, min_items = 1, max_items = 1000)]
    events: Vec<Box<RawValue>>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordStatus {
    /// In the ledger now.
    Recorded,
    /// In the ledger before.
    Duplicate,
    /// Refused; `error` says why.
    Invalid,
}

/// What became of an event, and why.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"id": "run-0001", "status": "recorded"}))]
pub struct RecordResult {
    /// The event's own id; null where it has none.
    #[schema(required = true)]
    id: Option<String>,
    /// What became of it.
    status: RecordStatus,
    /// Why it was refused; only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of each event, in their order.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RecordResponse {
    /// One for each event.
    results: Vec<RecordResult>,
}

/// An event as far as it could be understood, with its id where it has one.
pub struct Understood {
    id: Option<String>,
    event: Result<Record, String>,
}

/// Reads the body of a media type that the route takes. 415 for any other.
pub fn read(media_type: &str, body: &[u8]) -> Result<Vec<Understood>, Problem> {
    let (pointer, events) = match media_type {
        "application/json" => {
            refuse_array(body)?;
            let request: RecordRequest = parse_envelope(body)?;
            let events = request
                .events
                .iter()
                .map(|event| understand(event, usage_event))
                .collect();
            ("/events", events)
        }
        "application/cloudevents+json" => {
            let event: Box<RawValue> = parse_envelope(body)?;
            ("", vec![understand(&event, cloud_event)])
        }
        "application/cloudevents-batch+json" => {
            let events: Vec<Box<RawValue>> = parse_envelope(body)?;
            (
                "",
                events
                    .iter()
                    .map(|event| understand(event, cloud_event))
                    .collect::<Vec<_>>(),
            )
        }
        _ => {
            let taken = "This route takes `application/json`, `application/cloudevents+json` and \
                         `application/cloudevents-batch+json`.";
            return Err(ProblemKind::UnsupportedMediaType.with_detail(taken));
        }
    };
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(Problem::validation(
            pointer,
            format!("must hold 1 to {EVENTS_MAX} events"),
        ));
    }
    Ok(events)
}

/// Records what could be understood, and tells what became of everything.
pub async fn record(context: &Context, events: Vec<Understood>) -> Result<RecordResponse, Problem> {
    let good = events
        .iter()
        .filter_map(|event| event.event.as_ref().ok())
        .cloned()
        .collect();
    let mut recorded = context.meter.record(good).await?.into_iter();
    let results = events
        .into_iter()
        .map(|Understood { id, event }| {
            let outcome = match event {
                Ok(_) => recorded.next(),
                Err(fault) => Some(Recorded::Invalid(fault)),
            };
            match outcome {
                Some(Recorded::Recorded) => Ok(RecordResult {
                    id,
                    status: RecordStatus::Recorded,
                    error: None,
                }),
                Some(Recorded::Duplicate) => Ok(RecordResult {
                    id,
                    status: RecordStatus::Duplicate,
                    error: None,
                }),
                Some(Recorded::Invalid(error)) => Ok(RecordResult {
                    id,
                    status: RecordStatus::Invalid,
                    error: Some(error),
                }),
                None => Err(Problem::internal(
                    "the meter answered fewer events than it was given",
                )),
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(RecordResponse { results })
}

/// Only what tells the event from the others.
#[derive(Deserialize)]
struct Named {
    id: String,
}

fn understand(event: &RawValue, read: impl Fn(&RawValue) -> Result<Record, String>) -> Understood {
    let event_text = event.get();
    let named: Result<Named, _> = serde_json::from_str(event_text);
    let is_object = event_text.starts_with('{');
    Understood {
        id: named.ok().filter(|_| is_object).map(|named| named.id),
        event: if is_object {
            read(event)
        } else {
            Err("must be an object".to_owned())
        },
    }
}

/// Reads one event; a fault is named with its place inside the event.
fn typed<T: serde::de::DeserializeOwned>(event: &RawValue) -> Result<T, String> {
    parse(event.get().as_bytes()).map_err(|problem| {
        let document = problem.document();
        match document.errors.first() {
            Some(fault) if fault.pointer.is_empty() => fault.detail.clone(),
            Some(fault) => format!("{}: {}", fault.pointer, fault.detail),
            None => document.detail.clone().into_owned(),
        }
    })
}

fn usage_event(event: &RawValue) -> Result<Record, String> {
    let event: UsageEvent = typed(event)?;
    Ok(Record {
        id: event.id,
        source: String::new(),
        customer: event.customer_id,
        feature: event.feature,
        quantity: event.quantity.get(),
        occurred_at: event.occurred_at.map(Timestamp::get),
        properties: event.properties.map(Value::Object),
    })
}

fn cloud_event(event: &RawValue) -> Result<Record, String> {
    let event: CloudEvent = typed(event)?;
    if event.specversion != "1.0" {
        return Err("/specversion: must be \"1.0\"".to_owned());
    }
    if !(1..=SOURCE_MAX).contains(&event.source.chars().count()) {
        return Err(format!("/source: must be 1 to {SOURCE_MAX} characters"));
    }
    let mut data = event.data.unwrap_or_default();
    let quantity: Quantity = match data.remove("quantity") {
        Some(quantity) => {
            serde_json::from_value(quantity).map_err(|error| format!("/data/quantity: {error}"))?
        }
        None => Quantity::default(),
    };
    Ok(Record {
        id: event.id,
        source: event.source,
        customer: event.subject,
        feature: event.kind,
        quantity: quantity.get(),
        occurred_at: event.time.map(Timestamp::get),
        properties: Some(data)
            .filter(|data| !data.is_empty())
            .map(Value::Object),
    })
}
