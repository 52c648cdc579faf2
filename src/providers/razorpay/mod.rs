//! Razorpay: some twenty calls over our own transport, answered into tolerant structs.
//!
//! It has no checkout sessions: a subscription bears the address at which the customer authorizes it, so the subscription is the
//! session. It takes no idempotency keys but for refunds: whatever else is made bears a mark in its notes, or a reference, and is looked
//! for under that before it is made again.

mod account;
mod customers;
mod event;
mod history;
mod lenient;
mod links;
mod objects;
mod payments;
mod refunds;
mod sales;
mod subscriptions;
mod wire;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::signing::{any_matches, unhex};
use super::transport::Transport;
use super::wire::path_id;
use super::{
    Capabilities, CheckoutRequest, CheckoutSession, FinalInvoice, NewCustomer, Page, PastEvent,
    PaymentLink, PaymentLinkRequest, Provider, ProviderCharge, ProviderError, ProviderPrice,
    RefundShare, SignatureFault, UsageBilling, WebhookError,
};
use crate::domain::money::Currency;
use crate::domain::provider_event::{Hint, IncomingEvent, ProviderName, ProviderSubscription};

pub use account::configure;

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
    authorization: HeaderValue,
    livemode: bool,
    transport: Transport,
}

impl Razorpay {
    /// Checks the settings. Nothing is sent.
    pub fn new(
        settings: RazorpaySettings,
        transport: Transport,
    ) -> Result<Self, RazorpaySetupError> {
        let (id, secret) = (&settings.key_id, settings.key_secret.expose_secret());
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        // A colon would end the id for whoever reads the header.
        if !is_word(id) || !is_word(secret) || id.contains(':') {
            return Err(RazorpaySetupError::BadKey);
        }
        let credentials = STANDARD.encode(format!("{id}:{secret}"));
        let mut authorization = HeaderValue::from_str(&format!("Basic {credentials}"))
            .map_err(|_| RazorpaySetupError::BadKey)?;
        authorization.set_sensitive(true);
        if settings
            .webhook_secrets
            .iter()
            .any(|secret| secret.expose_secret().trim().is_empty())
        {
            return Err(RazorpaySetupError::BlankWebhookSecret);
        }
        if !matches!(settings.api_base.scheme(), "http" | "https") {
            return Err(RazorpaySetupError::BadApiBase);
        }
        let livemode = id.starts_with("rzp_live_");
        Ok(Self {
            settings,
            authorization,
            livemode,
            transport,
        })
    }
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
            returns_browsers: false,
            customer_pages: false,
            usage: UsageBilling::PaymentLink {
                currency: Currency::INR,
                least: 100,
            },
        }
    }

    fn livemode(&self) -> bool {
        self.livemode
    }

    fn publishable_key(&self) -> Option<&str> {
        Some(&self.settings.key_id)
    }

    /// Nothing in a delivery tells when it was signed, so none is too old.
    fn verify_webhook(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
        _now: DateTime<Utc>,
    ) -> Result<IncomingEvent, WebhookError> {
        let signature = header("x-razorpay-signature")
            .ok_or(WebhookError::BadSignature(SignatureFault::Missing))?;
        let signature =
            unhex(signature.trim()).ok_or(WebhookError::BadSignature(SignatureFault::Malformed))?;
        if !any_matches(&self.settings.webhook_secrets, &[body], &[signature]) {
            return Err(WebhookError::BadSignature(SignatureFault::NoMatch));
        }
        let (event_type, hint) = event::parse(body)?;
        Ok(IncomingEvent {
            event_id: event::id(header("x-razorpay-event-id"), body),
            event_type,
            // No event tells. One of the other mode is signed with another secret.
            livemode: self.livemode,
            hint,
        })
    }

    fn hint(&self, body: &[u8]) -> Result<Hint, WebhookError> {
        event::parse(body).map(|(_, hint)| hint)
    }

    fn vouches_for_payment(
        &self,
        payment_id: &str,
        subscription_id: &str,
        signature: &str,
    ) -> Option<bool> {
        // What is signed must not be readable in two ways.
        let are_ids = path_id(payment_id).is_ok() && path_id(subscription_id).is_ok();
        let signed: [&[u8]; 3] = [payment_id.as_bytes(), b"|", subscription_id.as_bytes()];
        let secrets = std::slice::from_ref(&self.settings.key_secret);
        let vouched =
            unhex(signature).is_some_and(|signature| any_matches(secrets, &signed, &[signature]));
        Some(are_ids && vouched)
    }

    async fn fetch_subscription(&self, id: &str) -> Result<ProviderSubscription, ProviderError> {
        Ok(self.look_at_subscription(id).await?.normalize())
    }

    async fn create_customer(&self, customer: &NewCustomer) -> Result<String, ProviderError> {
        self.make_customer(customer).await
    }

    async fn price(&self, id: &str) -> Result<ProviderPrice, ProviderError> {
        self.look_at_plan(id).await?.normalize()
    }

    async fn create_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError> {
        self.open_checkout(request).await
    }

    async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        self.look_at_checkout(id).await
    }

    async fn expire_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        self.close_checkout(id).await
    }

    async fn cancel_at_period_end(&self, subscription_id: &str) -> Result<(), ProviderError> {
        self.end_with_period(subscription_id).await
    }

    /// There is nothing to settle: usage is billed by payment links of its own.
    async fn cancel_now(
        &self,
        subscription_id: &str,
        _settle: FinalInvoice,
    ) -> Result<(), ProviderError> {
        self.end_now(subscription_id).await
    }

    /// A cancellation that was sent cannot be taken back; it is not shown either.
    async fn resume(&self, subscription_id: &str) -> Result<(), ProviderError> {
        self.take_pause_off(subscription_id).await
    }

    async fn refund_latest_payment(
        &self,
        subscription_id: &str,
        share: RefundShare,
        idempotency_key: &str,
    ) -> Result<bool, ProviderError> {
        self.give_latest_payment_back(subscription_id, share, idempotency_key)
            .await
    }

    async fn charge(&self, id: &str, told_by: &[u8]) -> Result<ProviderCharge, ProviderError> {
        self.look_at_payment(id, told_by).await
    }

    async fn create_payment_link(
        &self,
        request: &PaymentLinkRequest,
    ) -> Result<PaymentLink, ProviderError> {
        self.make_link(request).await
    }

    async fn payment_link(&self, id: &str) -> Result<PaymentLink, ProviderError> {
        self.look_at_link(id).await
    }

    fn events_known_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now
    }

    async fn subscriptions(
        &self,
        page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError> {
        self.all_subscriptions(page).await
    }

    fn event_about(&self, subscription_id: &str, event_id: &str) -> PastEvent {
        self.made_event(subscription_id, event_id)
    }
}

#[cfg(test)]
mod tests;
