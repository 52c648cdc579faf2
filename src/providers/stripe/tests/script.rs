//! A Stripe that follows a script.

use secrecy::SecretString;

use super::super::{Stripe, StripeSettings};
pub(super) use crate::providers::script::{Answer, Script, ok};

/// Answers as Stripe does when it says no.
pub(super) fn no(status: u16, code: &str, message: &str) -> Answer {
    let error =
        serde_json::json!({"type": "invalid_request_error", "code": code, "message": message});
    Answer::Of(status, serde_json::json!({ "error": error }))
}

impl Script {
    /// The provider, pointed at it.
    pub(super) fn stripe(&self) -> Stripe {
        let settings = StripeSettings {
            secret_key: SecretString::from("sk_test_script"),
            publishable_key: None,
            webhook_secrets: vec![SecretString::from("whsec_script")],
            api_base: self.base(),
            meter_event_name: Some("runs".to_owned()),
        };
        Stripe::new(settings, Self::transport()).unwrap()
    }

    /// The idempotency key of each request.
    pub(super) fn keys(&self) -> Vec<Option<String>> {
        self.headers("idempotency-key")
    }
}
