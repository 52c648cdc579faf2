//! Events as Stripe makes and signs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::lists::{Created, Paging};
use super::params::{Params, Refusal};
use super::state::State;

/// The API version in which events are rendered.
pub(crate) const API_VERSION: &str = "2026-09-30.endive";

/// One signed webhook request.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The bytes that were signed.
    pub(crate) body: String,
    /// For the header `Stripe-Signature`.
    pub(crate) signature: String,
}

impl Delivery {
    /// Posts it. Returns the status and body of the answer.
    pub(crate) async fn send(&self, client: &reqwest::Client, url: &str) -> (u16, String) {
        let request = client
            .post(url)
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", &self.signature)
            .body(self.body.clone());
        let response = request.send().await.expect("the delivery is answered");
        (
            response.status().as_u16(),
            response.text().await.expect("the answer is text"),
        )
    }
}

/// Signs any body with any secret.
pub(crate) fn sign(body: String, secret: &str, now: DateTime<Utc>) -> Delivery {
    let t = now.timestamp();
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length will do");
    let digest = mac
        .chain_update(format!("{t}.{body}"))
        .finalize()
        .into_bytes();
    let mut signature = format!("t={t},v1=");
    for byte in digest {
        write!(signature, "{byte:02x}").expect("a string takes everything");
    }
    Delivery { body, signature }
}

/// How long events can be asked for.
const REMEMBERED: TimeDelta = TimeDelta::days(30);
const MAX_TYPES: usize = 20;

/// Every event that was ever made.
#[derive(Debug, Default)]
pub(crate) struct EventBook {
    made: Vec<Value>,
    /// Thin events in their full form, by id.
    thin: BTreeMap<String, Value>,
    /// Of what the API was asked to do, and nobody took yet.
    untold: Vec<Value>,
    delivered: BTreeSet<String>,
}

impl EventBook {
    pub(crate) fn take_untold(&mut self, from: usize) -> Vec<Value> {
        self.untold.split_off(from)
    }

    pub(crate) fn untold(&self) -> usize {
        self.untold.len()
    }

    pub(crate) fn note_delivered(&mut self, event: &Value) {
        self.delivered
            .insert(event["id"].as_str().unwrap_or_default().to_owned());
    }

    /// From now on the event is known in this form.
    pub(crate) fn replace(&mut self, event: &Value) {
        if let Some(kept) = self.made.iter_mut().find(|e| e["id"] == event["id"]) {
            kept.clone_from(event);
        }
    }
}

impl State {
    /// Wraps an object, as it is now, in a new event. All events of one second share one `created`, as at Stripe.
    pub(crate) fn event(&mut self, kind: &str, object: &Value) -> Value {
        self.event_with(kind, json!({"object": object}))
    }

    /// The same, for whoever takes the events next.
    pub(crate) fn tell(&mut self, kind: &str, object: &Value) {
        let event = self.event(kind, object);
        self.events.untold.push(event);
    }

    /// Tells of a changed object what it was before; of one that did not change, nothing.
    pub(crate) fn tell_changed(&mut self, kind: &str, before: &Value, after: &Value) {
        let previous = previous_attributes(before, after);
        if previous.as_object().is_some_and(serde_json::Map::is_empty) {
            return;
        }
        let data = json!({"object": after, "previous_attributes": previous});
        let event = self.event_with(kind, data);
        self.events.untold.push(event);
    }

    fn event_with(&mut self, kind: &str, data: Value) -> Value {
        let event = json!({
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now.timestamp(),
            "data": data,
            "livemode": false,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": kind,
        });
        self.events.made.push(event.clone());
        event
    }

    /// An event that names an object only. Its data must be asked for.
    pub(crate) fn thin_event(&mut self, kind: &str, related: &Value, data: &Value) -> Value {
        let id = self.new_id("evt");
        let mut event = json!({
            "id": id, "object": "v2.core.event", "context": null,
            "created": self.now.to_rfc3339_opts(SecondsFormat::Millis, true),
            "livemode": false, "reason": null, "related_object": related, "type": kind,
        });
        let thin = event.clone();
        event["data"] = data.clone();
        self.events.thin.insert(id, event);
        thin
    }

    pub(crate) fn list_events(&self, url: &str, mut params: Params) -> Result<Value, Refusal> {
        let paging = Paging::read(&mut params)?;
        let created = Created::read(&mut params)?;
        let kind = params.optional("type");
        let kinds = params.list("types");
        let delivered = params.boolean("delivery_success")?;
        params.finish()?;
        if kind.is_some() && !kinds.is_empty() {
            return Err(Refusal::invalid(
                None,
                "types",
                "You may only specify one of these parameters: type, types.",
            ));
        }
        if kinds.len() > MAX_TYPES {
            return Err(Refusal::invalid(
                None,
                "types",
                format!("Array types has more than {MAX_TYPES} elements"),
            ));
        }
        let known: Vec<_> = self.remembered().rev().cloned().collect();
        paging.page(url, "event", &known, |event| {
            let name = event["type"].as_str().unwrap_or_default();
            let id = event["id"].as_str().unwrap_or_default();
            created.holds(event)
                && kind.as_deref().is_none_or(|kind| is_of(name, kind))
                && (kinds.is_empty() || kinds.iter().any(|kind| kind == name))
                && delivered.is_none_or(|wanted| wanted == self.events.delivered.contains(id))
        })
    }

    pub(crate) fn find_event(&self, id: &str) -> Result<Value, Refusal> {
        self.remembered()
            .find(|event| event["id"] == id)
            .cloned()
            .ok_or_else(|| Refusal::missing(404, "id", "event", id))
    }

    pub(crate) fn find_thin_event(&self, id: &str) -> Result<Value, Refusal> {
        self.events.thin.get(id).cloned().ok_or_else(|| Refusal {
            status: 404,
            body: json!({"error": {"code": "not_found", "message": format!("No such event: {id}")}}),
        })
    }

    fn remembered(&self) -> impl DoubleEndedIterator<Item = &Value> {
        let since = (self.now - REMEMBERED).timestamp();
        self.events
            .made
            .iter()
            .filter(move |event| event["created"].as_i64().is_some_and(|at| at >= since))
    }
}

/// Whether an event's name is the wanted one, which may end with a star.
fn is_of(name: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == wanted,
    }
}

fn previous_attributes(before: &Value, after: &Value) -> Value {
    let mut previous = json!({});
    for (name, value) in before.as_object().into_iter().flatten() {
        if after[name.as_str()] != *value {
            previous[name.as_str()] = value.clone();
        }
    }
    previous
}
