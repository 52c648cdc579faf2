//! Stripe: typed requests of the async-stripe crates, sent over our own transport and answered into our own structs.

mod account;
mod event;
mod history;
mod objects;
mod payments;
mod phases;
mod plan_change;
mod sales;
mod signature;
mod subscriptions;
mod usage;
mod wire;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::transport::Transport;
use super::{
    Capabilities, CheckoutRequest, CheckoutSession, FinalInvoice, NewCustomer, Page, PastEvent,
    PlanChange, PortalRequest, Provider, ProviderCharge, ProviderError, ProviderPrice, RefundShare,
    RefusedUsage, Reported, Retracted, SignatureFault, UsageBilling, UsageReport, WebhookError,
};
pub use account::configure;

use crate::domain::provider_event::{Hint, IncomingEvent, ProviderName, ProviderSubscription};

/// How to reach one Stripe account.
#[derive(Debug, Clone)]
pub struct StripeSettings {
    /// `sk_…` or `rk_…`.
    pub secret_key: SecretString,
    /// `pk_…`, for browsers.
    pub publishable_key: Option<String>,
    /// `whsec_…`; several while one is being replaced.
    pub webhook_secrets: Vec<SecretString>,
    /// Scheme and host, without `/v1`.
    pub api_base: Url,
    /// What usage above the limits is told as; `None`: none can be told.
    pub meter_event_name: Option<String>,
}

/// Why Stripe cannot be used with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeSetupError {
    /// The key is empty or holds characters that no header can carry.
    #[error("the Stripe secret key is empty or malformed")]
    BadSecretKey,
    /// With a blank secret anybody could sign.
    #[error("a Stripe webhook secret is blank")]
    BlankWebhookSecret,
    /// The base is no address of a host.
    #[error("the Stripe API base is not an http(s) address")]
    BadApiBase,
}

/// The Stripe account that sells the plans.
pub struct Stripe {
    settings: StripeSettings,
    authorization: HeaderValue,
    livemode: bool,
    transport: Transport,
}

impl Stripe {
    /// Checks the settings. Nothing is sent.
    pub fn new(settings: StripeSettings, transport: Transport) -> Result<Self, StripeSetupError> {
        let key = settings.secret_key.expose_secret();
        if key.trim().is_empty() {
            return Err(StripeSetupError::BadSecretKey);
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| StripeSetupError::BadSecretKey)?;
        authorization.set_sensitive(true);
        if settings
            .webhook_secrets
            .iter()
            .any(|secret| secret.expose_secret().trim().is_empty())
        {
            return Err(StripeSetupError::BlankWebhookSecret);
        }
        if !matches!(settings.api_base.scheme(), "http" | "https") {
            return Err(StripeSetupError::BadApiBase);
        }
        let livemode = key.contains("_live_");
        Ok(Self {
            settings,
            authorization,
            livemode,
            transport,
        })
    }
}

#[async_trait]
impl Provider for Stripe {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            idempotency_keys: true,
            shows_intentions: true,
            changes_plans: true,
            sets_prices: false,
            returns_browsers: true,
            customer_pages: true,
            usage: if self.settings.meter_event_name.is_some() {
                UsageBilling::Metered
            } else {
                UsageBilling::Unbilled
            },
        }
    }

    fn livemode(&self) -> bool {
        self.livemode
    }

    fn publishable_key(&self) -> Option<&str> {
        self.settings.publishable_key.as_deref()
    }

    fn verify_webhook(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<IncomingEvent, WebhookError> {
        let header = header("stripe-signature")
            .ok_or(WebhookError::BadSignature(SignatureFault::Missing))?;
        signature::verify(&header, body, &self.settings.webhook_secrets, now)
            .map_err(WebhookError::BadSignature)?;
        event::parse(body)
    }

    fn hint(&self, body: &[u8]) -> Result<Hint, WebhookError> {
        event::parse(body).map(|event| event.hint)
    }

    async fn fetch_subscription(&self, id: &str) -> Result<ProviderSubscription, ProviderError> {
        Ok(self.look_at_subscription(id).await?.normalize())
    }

    async fn create_customer(&self, customer: &NewCustomer) -> Result<String, ProviderError> {
        self.make_customer(customer).await
    }

    async fn price(&self, id: &str) -> Result<ProviderPrice, ProviderError> {
        self.look_at_price(id).await
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

    async fn open_portal(&self, request: &PortalRequest) -> Result<String, ProviderError> {
        self.visit_portal(request).await
    }

    async fn change_plan(&self, change: &PlanChange) -> Result<(), ProviderError> {
        self.put_on_plan(change).await
    }

    async fn drop_planned_change(&self, subscription_id: &str) -> Result<(), ProviderError> {
        self.drop_plan(subscription_id).await
    }

    async fn cancel_at_period_end(&self, subscription_id: &str) -> Result<(), ProviderError> {
        self.end_with_period(subscription_id).await
    }

    async fn cancel_now(
        &self,
        subscription_id: &str,
        settle: FinalInvoice,
    ) -> Result<(), ProviderError> {
        self.end_now(subscription_id, settle).await
    }

    async fn resume(&self, subscription_id: &str) -> Result<(), ProviderError> {
        self.take_end_back(subscription_id).await
    }

    async fn refund_latest_payment(
        &self,
        subscription_id: &str,
        share: RefundShare,
        idempotency_key: &str,
    ) -> Result<bool, ProviderError> {
        match share {
            RefundShare::Whole => {
                self.give_latest_payment_back(subscription_id, idempotency_key)
                    .await
            }
            // A change of plan is settled by proration.
            RefundShare::Unused { .. } => Err(ProviderError::Unsupported {
                what: "a part of a payment to be given back",
            }),
        }
    }

    async fn charge(&self, id: &str, told_by: &[u8]) -> Result<ProviderCharge, ProviderError> {
        match self.look_at_charge(id).await {
            Err(ProviderError::NotFound) => {
                payments::charge_in(told_by).ok_or(ProviderError::NotFound)
            }
            outcome => outcome,
        }
    }

    async fn report_usage(&self, report: &UsageReport) -> Result<Reported, ProviderError> {
        self.tell_usage(report).await
    }

    async fn retract_usage(&self, identifier: &str) -> Result<Retracted, ProviderError> {
        self.take_usage_back(identifier).await
    }

    async fn usage_counted(
        &self,
        provider_customer_id: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<i64, ProviderError> {
        self.sum_usage(provider_customer_id, from, until).await
    }

    async fn refused_usage(&self, event_id: &str) -> Result<Vec<RefusedUsage>, ProviderError> {
        self.unusable_usage(event_id).await
    }

    async fn events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<Page<PastEvent>, ProviderError> {
        self.past_events(since, page).await
    }

    fn events_known_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        history::events_known_since(now)
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
