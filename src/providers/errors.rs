//! Why a provider was not believed, or did not do what it was asked.

use std::time::Duration;

/// Why a webhook delivery is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Nothing proves that the provider sent it: nothing may be stored, and operators want to know.
    #[error("webhook signature refused: {0}")]
    BadSignature(SignatureFault),
    /// The provider signed it, but it is not an event.
    #[error("signed webhook body is no event: {reason}")]
    NotAnEvent {
        /// What is missing or wrong.
        reason: String,
    },
}

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// There is no signature header.
    #[error("header missing")]
    Missing,
    /// The header does not have the provider's form.
    #[error("header malformed")]
    Malformed,
    /// No configured secret makes this signature for this body.
    #[error("no configured secret matches")]
    NoMatch,
    /// Rightly signed, but at another time: a replay, or a clock that is wrong.
    #[error("timestamp outside the tolerance")]
    OutsideTolerance,
}

/// Why the provider did not do what it was asked. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The provider has no such object.
    #[error("the provider knows no such object")]
    NotFound,
    /// The provider understood and said no: the same request will be refused again.
    #[error("the provider refused the request ({status}{}): {message}", .code.as_deref().map(|c| format!(", {c}")).unwrap_or_default())]
    Rejected {
        /// HTTP status of the answer.
        status: u16,
        /// The provider's word for the reason.
        code: Option<String>,
        /// The provider's explanation, for operators.
        message: String,
    },
    /// The provider could not be reached or was overloaded, also after repeating. Whether a creation took effect is
    /// not known: repeat it with the same idempotency key.
    #[error("the provider is unavailable: {reason}")]
    Unavailable {
        /// What happened last.
        reason: String,
        /// How long the provider asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The provider answered with something this version cannot read.
    #[error("the provider's answer cannot be read: {reason}")]
    Unreadable {
        /// Where reading stopped.
        reason: String,
    },
    /// The provider has nothing of the kind, whatever is asked.
    #[error("the provider cannot do this: {what}")]
    Unsupported {
        /// What it has not.
        what: &'static str,
    },
}

impl ProviderError {
    /// Whether the same request may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
