//! The billing meter: what is told to it, what is taken back, and what it has counted.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::METER_EVENT_NAME;
use super::lists::Paging;
use super::objects::instant;
use super::params::{Params, Refusal};
use super::state::State;

/// The only meter.
pub(crate) const METER_ID: &str = "mtr_fake";
const IDENTIFIER_MAX_CHARS: usize = 100;
/// How long an identifier is known, and how long its event can be taken back.
const KNOWN_FOR: TimeDelta = TimeDelta::hours(24);
const OLDEST: TimeDelta = TimeDelta::days(35);
const NEWEST: TimeDelta = TimeDelta::minutes(5);

/// One event that the meter took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterEvent {
    pub(crate) identifier: String,
    /// The idempotency key that it came under.
    pub(crate) key: Option<String>,
    /// As told: whether there is such a customer is not looked at.
    pub(crate) customer: String,
    pub(crate) value: i64,
    /// When it was used.
    pub(crate) timestamp: DateTime<Utc>,
    /// When it was told.
    pub(crate) received_at: DateTime<Utc>,
    /// Taken back by an adjustment.
    pub(crate) cancelled: bool,
    /// Why it turned out to be of no use.
    pub(crate) refused: Option<String>,
}

impl MeterEvent {
    /// Whether it will be billed.
    pub(crate) fn counts(&self) -> bool {
        !self.cancelled && self.refused.is_none()
    }
}

/// What the meter knows.
#[derive(Debug, Default)]
pub(crate) struct MeterBook {
    pub(crate) events: Vec<MeterEvent>,
    /// How long summaries do not show what was told.
    pub(crate) lag: TimeDelta,
}

impl MeterBook {
    /// What will be billed of a span.
    pub(crate) fn counted(&self, customer: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
        self.billable(customer)
            .filter(|event| (from..to).contains(&event.timestamp))
            .map(|event| event.value)
            .sum()
    }

    pub(crate) fn total(&self, customer: &str) -> i64 {
        self.billable(customer).map(|event| event.value).sum()
    }

    fn billable(&self, customer: &str) -> impl Iterator<Item = &MeterEvent> {
        self.events
            .iter()
            .filter(move |event| event.customer == customer && event.counts())
    }

    fn known(&mut self, identifier: &str, now: DateTime<Utc>) -> Option<&mut MeterEvent> {
        self.events
            .iter_mut()
            .rev()
            .find(|event| event.identifier == identifier && now - event.received_at < KNOWN_FOR)
    }
}

impl State {
    pub(crate) fn create_meter_event(
        &mut self,
        mut params: Params,
        key: Option<&str>,
    ) -> Result<Value, Refusal> {
        let event_name = meter_name(&mut params)?;
        let payload = params.map("payload")?;
        let given = params.optional("identifier");
        let timestamp = params.integer("timestamp")?.map_or(self.now, instant);
        params.finish()?;
        let customer = payload_word(&payload, "stripe_customer_id")?;
        let value = whole_number(&payload_word(&payload, "value")?)?;
        let identifier = given.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        if identifier.is_empty() || identifier.chars().count() > IDENTIFIER_MAX_CHARS {
            return Err(Refusal::invalid(
                None,
                "identifier",
                "Invalid string: must be at most 100 characters",
            ));
        }
        if timestamp < self.now - OLDEST {
            return Err(Refusal::invalid(
                Some("timestamp_too_far_in_past"),
                "timestamp",
                "The timestamp must be within the past 35 days.",
            ));
        }
        if timestamp > self.now + NEWEST {
            return Err(Refusal::invalid(
                Some("timestamp_in_future"),
                "timestamp",
                "The timestamp must not be more than 5 minutes in the future.",
            ));
        }
        if self.meter.known(&identifier, self.now).is_some() {
            let message = format!("An event already exists with identifier {identifier}.");
            return Err(Refusal::invalid(
                Some("duplicate_meter_event"),
                "identifier",
                message,
            ));
        }
        self.meter.events.push(MeterEvent {
            identifier: identifier.clone(),
            key: key.map(str::to_owned),
            customer,
            value,
            timestamp,
            received_at: self.now,
            cancelled: false,
            refused: None,
        });
        Ok(json!({
            "object": "billing.meter_event", "created": self.now.timestamp(), "event_name": event_name,
            "identifier": identifier, "livemode": false, "payload": payload, "timestamp": timestamp.timestamp(),
        }))
    }

    pub(crate) fn adjust_meter_event(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let event_name = meter_name(&mut params)?;
        params.choice("type", &["cancel"])?.ok_or_else(|| {
            Refusal::invalid(
                Some("parameter_missing"),
                "type",
                "Missing required param: type.",
            )
        })?;
        let identifier = params.required("cancel[identifier]")?;
        params.finish()?;
        let now = self.now;
        let Some(event) = self.meter.known(&identifier, now) else {
            let told = self.meter.events.iter().any(|e| e.identifier == identifier);
            let message = if told {
                format!(
                    "Event with identifier {identifier} was received more than 24 hours ago and cannot be canceled."
                )
            } else {
                format!("No such meter event: '{identifier}'")
            };
            let code = (!told).then_some("resource_missing");
            return Err(Refusal::invalid(code, "cancel[identifier]", message));
        };
        event.cancelled = true;
        Ok(json!({
            "object": "billing.meter_event_adjustment", "cancel": {"identifier": identifier},
            "event_name": event_name, "livemode": false, "status": "pending", "type": "cancel",
        }))
    }

    pub(crate) fn list_meters(url: &str, mut params: Params) -> Result<Value, Refusal> {
        let paging = Paging::read(&mut params)?;
        let status = params.choice("status", &["active", "inactive"])?;
        params.finish()?;
        paging.page(url, "billing.meter", &[meter()], |meter| {
            status
                .as_ref()
                .is_none_or(|status| meter["status"] == *status)
        })
    }

    pub(crate) fn find_meter(id: &str, params: Params) -> Result<Value, Refusal> {
        params.finish()?;
        if id == METER_ID {
            Ok(meter())
        } else {
            Err(Refusal::missing(404, "id", "billing meter", id))
        }
    }

    pub(crate) fn summarize_meter(
        &self,
        url: &str,
        id: &str,
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let paging = Paging::read(&mut params)?;
        let customer = params.required("customer")?;
        let from = params.required_integer("start_time")?;
        let to = params.required_integer("end_time")?;
        let window = params.choice("value_grouping_window", &["day", "hour"])?;
        params.finish()?;
        Self::find_meter(id, Params::new(std::collections::BTreeMap::new()))?;
        if !self.customers.contains_key(&customer) {
            return Err(Refusal::missing(400, "customer", "customer", &customer));
        }
        let step = match window.as_deref() {
            Some("day") => 86_400,
            Some(_) => 3_600,
            None => 60,
        };
        for (name, at) in [("start_time", from), ("end_time", to)] {
            if at % step != 0 {
                let message =
                    format!("{name} must align with a boundary of {step} seconds, in UTC.");
                return Err(Refusal::invalid(None, name, message));
            }
        }
        if to <= from {
            return Err(Refusal::invalid(
                None,
                "end_time",
                "end_time must be after start_time.",
            ));
        }
        let width = if window.is_some() { step } else { to - from };
        let mut summaries = Vec::new();
        for begin in (from..to).step_by(usize::try_from(width).unwrap_or(usize::MAX)) {
            let end = (begin + width).min(to);
            if let Some(sum) = self.summary(&customer, begin, end) {
                summaries.push(json!({
                    "id": format!("mtrusg_{begin}"), "object": "billing.meter_event_summary",
                    "aggregated_value": sum, "end_time": end, "livemode": false, "meter": id, "start_time": begin,
                }));
            }
        }
        summaries.reverse();
        paging.page(url, "billing.meter_event_summary", &summaries, |_| true)
    }

    /// The sum of a span, as a number with a fraction; `None`: there is nothing in it.
    fn summary(&self, customer: &str, from: i64, to: i64) -> Option<Value> {
        let span = instant(from)..instant(to);
        let seen: Vec<_> = self
            .meter
            .billable(customer)
            .filter(|event| span.contains(&event.timestamp))
            .filter(|event| event.received_at + self.meter.lag <= self.now)
            .map(|event| event.value)
            .collect();
        if seen.is_empty() {
            return None;
        }
        let sum: i64 = seen.iter().sum();
        Some(serde_json::from_str(&format!("{sum}.0")).expect("it is a number"))
    }

    /// Events turn out to be of no use. Returns the thin event that says so.
    pub(crate) fn refuse_usage(&mut self, identifiers: &[&str], code: &str) -> Value {
        let mut samples = Vec::new();
        for event in &mut self.meter.events {
            if identifiers.contains(&event.identifier.as_str()) {
                event.refused = Some(code.to_owned());
                // Stripe names the request's idempotency key there.
                let request = event.key.as_ref().unwrap_or(&event.identifier);
                samples.push(json!({
                    "error_message": format!("The event cannot be used: {code}."),
                    "request": {"identifier": request},
                }));
            }
        }
        let count = samples.len();
        let stamp = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let data = json!({
            "developer_message_summary": format!("Events that are invalid: {count}"),
            "reason": {
                "error_count": count,
                "error_types": [{"code": code, "error_count": count, "sample_errors": samples}],
            },
            "validation_end": stamp(self.now), "validation_start": stamp(self.now - TimeDelta::seconds(10)),
        });
        let related = json!({
            "id": METER_ID, "type": "billing.meter", "url": format!("/v1/billing/meters/{METER_ID}"),
        });
        self.thin_event("v1.billing.meter.error_report_triggered", &related, &data)
    }
}

fn meter() -> Value {
    json!({
        "id": METER_ID, "object": "billing.meter", "created": 1_700_000_000,
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": {"formula": "sum"}, "display_name": "Runs", "event_name": METER_EVENT_NAME,
        "event_time_window": null, "livemode": false, "status": "active",
        "status_transitions": {"deactivated_at": null}, "updated": 1_700_000_000,
        "value_settings": {"event_payload_key": "value"},
    })
}

fn meter_name(params: &mut Params) -> Result<String, Refusal> {
    let name = params.required("event_name")?;
    if name == METER_EVENT_NAME {
        return Ok(name);
    }
    Err(Refusal::invalid(
        Some("resource_missing"),
        "event_name",
        format!("No active meter found for event name: '{name}'"),
    ))
}

fn payload_word(payload: &Value, key: &str) -> Result<String, Refusal> {
    let word = payload[key].as_str().filter(|word| !word.is_empty());
    word.map(str::to_owned).ok_or_else(|| {
        let name = format!("payload[{key}]");
        let message = format!("Missing required param: {name}.");
        Refusal::invalid(Some("parameter_missing"), &name, message)
    })
}

fn whole_number(value: &str) -> Result<i64, Refusal> {
    value.parse().map_err(|_| {
        Refusal::invalid(
            Some("meter_event_invalid_value"),
            "payload[value]",
            format!("The value must be a whole number: {value}"),
        )
    })
}
