//! A Razorpay that follows a script.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::{Razorpay, RazorpaySettings};
pub(super) use crate::providers::script::{Answer, Script, ok};

/// Answers as Razorpay does when it says no.
pub(super) fn no(status: u16, description: &str) -> Answer {
    let error = json!({
        "code": "BAD_REQUEST_ERROR", "description": description, "source": "business", "step": "payment_initiation",
        "reason": "input_validation_failed", "metadata": {},
    });
    Answer::Of(status, json!({ "error": error }))
}

/// The last page of a list.
pub(super) fn list(items: Value) -> Answer {
    let count = items.as_array().unwrap().len();
    ok(json!({"entity": "collection", "count": count, "items": items}))
}

impl Script {
    /// The provider, pointed at it.
    pub(super) fn razorpay(&self) -> Razorpay {
        let settings = RazorpaySettings {
            key_id: "rzp_test_script".to_owned(),
            key_secret: SecretString::from("script-secret"),
            webhook_secrets: vec![SecretString::from("script-webhook")],
            api_base: self.base(),
        };
        Razorpay::new(settings, Self::transport()).unwrap()
    }
}
