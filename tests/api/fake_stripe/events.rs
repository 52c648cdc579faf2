//! Events as Stripe makes and signs them.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

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

impl State {
    /// Wraps an object, as it is now, in a new event. All events of one second share one `created`, as at Stripe.
    pub(crate) fn event(&mut self, kind: &str, object: &Value) -> Value {
        json!({
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now.timestamp(),
            "data": {"object": object},
            "livemode": false,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": kind,
        })
    }
}
