//! Payment providers: one module each behind [`Provider`]. The core sees only `domain::provider_event` and the types here.

pub mod stripe;
pub mod transport;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::provider_event::{IncomingEvent, ProviderName, ProviderSubscription};

/// What the core asks of a payment provider.
///
/// Every call that creates something carries an idempotency key chosen by the caller, who stores it *before* the call:
/// an answer that got lost is then asked for again instead of being bought twice.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which provider this is.
    fn name(&self) -> ProviderName;

    /// Whether the configured key moves real money.
    fn livemode(&self) -> bool;

    /// The key a browser may see, if the provider has one.
    fn publishable_key(&self) -> Option<&str> {
        None
    }

    /// Proves that the provider sent these bytes, then reads them. `header` looks a request header up by its
    /// lower-case name; `body` must be the bytes as received; `now` decides whether the delivery is too old.
    fn verify_webhook(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<IncomingEvent, WebhookError>;

    /// Reads a body that was verified when it was stored. Gives the same result as the verification did.
    fn parse_event(&self, body: &[u8]) -> Result<IncomingEvent, WebhookError>;

    /// The subscription as it is now.
    async fn fetch_subscription(&self, id: &str) -> Result<ProviderSubscription, ProviderError>;

    /// Makes a customer and returns the provider's id of it.
    async fn create_customer(&self, customer: &NewCustomer) -> Result<String, ProviderError>;

    /// The price as the provider would charge it.
    async fn price(&self, id: &str) -> Result<ProviderPrice, ProviderError>;

    /// Opens a checkout for one subscription.
    async fn create_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError>;

    /// The checkout session as it is now.
    async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError>;

    /// Closes an open checkout. A session that was no longer open is returned as it is: the status tells whether the
    /// customer was quicker.
    async fn expire_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError>;
}

/// A customer to be made at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCustomer {
    /// Our own id, left in the provider's metadata.
    pub customer_id: String,
    /// Where receipts go.
    pub email: Option<String>,
    /// Name on receipts.
    pub name: Option<String>,
    /// Stays the same for every try to make this customer.
    pub idempotency_key: String,
}

/// A price at the provider, to be compared with the catalogue before anybody is sent to pay it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPrice {
    /// The provider's id.
    pub id: String,
    /// In the currency's smallest unit; absent for tiered prices and for fractions of that unit.
    pub unit_amount: Option<i64>,
    /// The same with up to twelve decimals, in the currency's smallest unit.
    pub unit_amount_decimal: Option<String>,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// `day`, `week`, `month` or `year`; absent for a one-time price.
    pub interval: Option<String>,
    /// How many intervals a period has.
    pub interval_count: Option<u32>,
    /// Whether the quantity comes from reported usage.
    pub metered: bool,
    /// Whether it can still be sold.
    pub active: bool,
    /// The provider's id of the product.
    pub product: Option<String>,
}

/// A checkout to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// Who pays, by the provider's id.
    pub provider_customer_id: String,
    /// The flat price of the plan.
    pub base_price_id: String,
    /// The metered price of usage above the plan's limit, where it has one.
    pub overage_price_id: Option<String>,
    /// Our own customer id, carried through to the subscription.
    pub customer_id: String,
    /// The plan sold.
    pub plan_tier: String,
    /// The catalogue version sold.
    pub plan_version: i32,
    /// Where the browser goes after the payment.
    pub success_url: String,
    /// Where the browser goes when the customer turns back.
    pub cancel_url: String,
    /// Stays the same for every try of this checkout, and belongs to these parameters alone.
    pub idempotency_key: String,
}

/// A checkout session at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// The provider's id.
    pub id: String,
    /// Where the customer pays; only while it is open.
    pub url: Option<String>,
    /// Whether it can still be paid.
    pub status: CheckoutStatus,
    /// When it stops being payable.
    pub expires_at: Option<DateTime<Utc>>,
    /// The subscription it made, once complete.
    pub provider_subscription_id: Option<String>,
}

/// Where a checkout session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// Can be paid.
    Open,
    /// The customer went through; a slow payment may still be on its way.
    Complete,
    /// Can no longer be paid.
    Expired,
}

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
}

impl ProviderError {
    /// Whether the same request may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
