//! Webhooks as Razorpay makes and signs them.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::state::State;

const ACCOUNT: &str = "acc_BFQ7uQEaa7j2z7";
/// What stays when nearly everything is null.
const NEVER_NULL: [&str; 11] = [
    "id",
    "entity",
    "status",
    "plan_id",
    "amount",
    "currency",
    "created_at",
    "invoice_id",
    "payment_id",
    "subscription_id",
    "reference_id",
];

/// An event as it is sent. Its id is only in a header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FakeEvent {
    /// `x-razorpay-event-id`, the same in every delivery.
    pub(crate) id: String,
    pub(crate) body: Value,
}

impl FakeEvent {
    /// What happened, as in `subscription.charged`.
    pub(crate) fn kind(&self) -> &str {
        self.body["event"].as_str().expect("an event has a name")
    }

    /// The object of that name, as in `payment`; null if there is none.
    pub(crate) fn entity(&self, name: &str) -> &Value {
        &self.body["payload"][name]["entity"]
    }
}

/// A way in which real bodies differ from documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quirk {
    /// Notes that are empty are `{}` instead of `[]`.
    NotesAsObject,
    /// Phone numbers are numbers.
    ContactAsNumber,
    /// `captured` is `"1"`, also where a payment is fetched.
    CapturedAsText,
    /// The payment is there although `contains` does not name it.
    UnlistedPayment,
    /// `created_at` is inside the payload.
    CreatedAtInside,
    /// Nearly every field is null.
    Nulls,
}

impl Quirk {
    pub(crate) const ALL: [Self; 6] = [
        Self::NotesAsObject,
        Self::ContactAsNumber,
        Self::CapturedAsText,
        Self::UnlistedPayment,
        Self::CreatedAtInside,
        Self::Nulls,
    ];
}

/// One signed webhook request.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The bytes that were signed.
    pub(crate) body: String,
    /// For the header `X-Razorpay-Signature`.
    pub(crate) signature: String,
    /// For the header `x-razorpay-event-id`.
    pub(crate) event_id: String,
}

impl Delivery {
    /// The headers that bear on it, in lower case.
    pub(crate) fn headers(&self) -> [(&'static str, &str); 3] {
        [
            ("content-type", "application/json"),
            ("x-razorpay-signature", &self.signature),
            ("x-razorpay-event-id", &self.event_id),
        ]
    }

    /// Posts it. Returns the status and body of the answer.
    pub(crate) async fn send(&self, client: &reqwest::Client, url: &str) -> (u16, String) {
        let mut request = client.post(url).body(self.body.clone());
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let response = request.send().await.expect("the delivery is answered");
        (
            response.status().as_u16(),
            response.text().await.expect("the answer is text"),
        )
    }
}

/// Signs any text with any secret: lowercase hex of the HMAC.
pub(crate) fn sign(text: &str, secret: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length will do");
    let digest = mac.chain_update(text).finalize().into_bytes();
    let mut signature = String::new();
    for byte in digest {
        write!(signature, "{byte:02x}").expect("a string takes everything");
    }
    signature
}

impl State {
    /// An event about objects as they are now, each under its name; with [`Quirk::UnlistedPayment`] a payment is not named.
    pub(crate) fn event(&mut self, kind: &str, objects: &[(&str, &Value)]) -> FakeEvent {
        let unlisted = self.quirks.contains(&Quirk::UnlistedPayment);
        let contains: Vec<_> = objects
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !(unlisted && *name == "payment"))
            .collect();
        let payload: Map<_, _> = objects
            .iter()
            .map(|(name, object)| {
                let entity = json!({"entity": self.odd(object)});
                ((*name).to_owned(), entity)
            })
            .collect();
        let mut body = json!({
            "entity": "event", "account_id": ACCOUNT, "event": kind, "contains": contains,
            "payload": payload,
        });
        let created = json!(self.timestamp());
        if self.quirks.contains(&Quirk::CreatedAtInside) {
            body["payload"]["created_at"] = created;
        } else {
            body["created_at"] = created;
        }
        FakeEvent {
            id: self.new_id("evt"),
            body,
        }
    }

    /// The same, for whoever takes the events next.
    pub(crate) fn tell(&mut self, kind: &str, objects: &[(&str, &Value)]) {
        let event = self.event(kind, objects);
        self.untold.push(event);
    }

    /// A payment as it is fetched.
    pub(crate) fn shown(&self, payment: &Value) -> Value {
        let mut payment = payment.clone();
        if self.quirks.contains(&Quirk::CapturedAsText) && payment["captured"].is_boolean() {
            let captured = payment["captured"] == true;
            payment["captured"] = json!(if captured { "1" } else { "0" });
        }
        payment
    }

    /// An object with the quirks that are switched on.
    fn odd(&self, object: &Value) -> Value {
        let mut object = self.shown(object);
        let fields = object.as_object_mut().expect("entities are objects");
        for (name, value) in fields {
            let has = |quirk| self.quirks.contains(&quirk);
            match name.as_str() {
                "notes" if has(Quirk::NotesAsObject) && *value == json!([]) => *value = json!({}),
                "contact" if has(Quirk::ContactAsNumber) && value.is_string() => {
                    let digits = value.as_str().unwrap_or_default().trim_start_matches('+');
                    *value = json!(digits.parse::<u64>().expect("it is a phone number"));
                }
                name if has(Quirk::Nulls) && !NEVER_NULL.contains(&name) => *value = Value::Null,
                _ => {}
            }
        }
        object
    }
}
