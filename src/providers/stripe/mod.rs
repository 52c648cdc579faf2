//! Stripe: typed requests of the async-stripe crates, sent over our own transport and answered into our own structs.

mod event;
mod objects;
mod signature;

use std::collections::HashMap;
use std::fmt::Write as _;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use stripe_billing::subscription::RetrieveSubscription;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_client_core::{StripeMethod, StripeRequest, VERSION};
use stripe_core::customer::CreateCustomer;
use stripe_product::price::RetrievePrice;
use stripe_shared::CheckoutSessionMode;
use url::Url;

use super::transport::{Call, Reply, Transport};
use super::{
    CheckoutRequest, CheckoutSession, CheckoutStatus, FinalInvoice, NewCustomer, Page, PastEvent,
    PlanChange, PortalRequest, Provider, ProviderCharge, ProviderError, ProviderPrice,
    RefusedUsage, Reported, Retracted, SignatureFault, UsageReport, WebhookError,
};
use crate::domain::provider_event::{IncomingEvent, ProviderName, ProviderSubscription};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// Stripe's limit for `client_reference_id`. Our customer ids may be longer; the metadata has room for all of them.
const CLIENT_REFERENCE_MAX_CHARS: usize = 200;

/// Stripe's limit for an idempotency key.
const IDEMPOTENCY_KEY_MAX_CHARS: usize = 255;

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

    async fn send<T: DeserializeOwned>(
        &self,
        request: &(impl StripeRequest + Sync),
        idempotency_key: Option<&str>,
    ) -> Result<T, ProviderError> {
        let call = self.call(request, idempotency_key)?;
        let reply = self.transport.send(&call).await?;
        if (200..300).contains(&reply.status) {
            return read(&reply.body);
        }
        Err(self.refusal(&reply, idempotency_key.is_some()))
    }

    fn call(
        &self,
        request: &impl StripeRequest,
        idempotency_key: Option<&str>,
    ) -> Result<Call, ProviderError> {
        let request = request.build();
        let mut url = self.settings.api_base.clone();
        url.set_path(&format!("/v1{}", request.path));
        url.set_query(request.query.as_deref().filter(|query| !query.is_empty()));
        let mut call = match request.method {
            StripeMethod::Get => Call::get(url),
            StripeMethod::Post => Call::post_form(url, request.body.unwrap_or_default()),
            StripeMethod::Delete => {
                return Err(ProviderError::Unreadable {
                    reason: "deletions are not sent by this version".to_owned(),
                });
            }
        };
        // The types that made this request and the shapes it may have belong to one API version.
        call = call
            .header(AUTHORIZATION, self.authorization.clone())
            .header(
                STRIPE_VERSION,
                HeaderValue::from_str(VERSION.as_str()).unwrap_or(HeaderValue::from_static("")),
            );
        if let Some(key) = idempotency_key {
            call = call.idempotent(IDEMPOTENCY_KEY, idempotency_header(key));
        }
        Ok(call)
    }

    fn refusal(&self, reply: &Reply, keyed: bool) -> ProviderError {
        let detail = serde_json::from_slice::<objects::ErrorBody>(&reply.body)
            .unwrap_or_default()
            .error;
        if reply.is_transient() || (reply.status >= 500 && !keyed) {
            let reason = match detail.code {
                Some(code) => format!("answered {} ({code})", reply.status),
                None => format!("answered {}", reply.status),
            };
            return ProviderError::Unavailable {
                reason,
                retry_after: reply.retry_after,
            };
        }
        if reply.status >= 500 {
            // Stripe keeps this failure under the idempotency key and says that repeating is no use: only a new attempt
            // with a new key can succeed.
            let message = "the attempt failed at Stripe for good".to_owned();
            return ProviderError::Rejected {
                status: reply.status,
                code: detail.code.or(detail.kind),
                message,
            };
        }
        if reply.status == 404 {
            return ProviderError::NotFound;
        }
        // Stripe's words about a bad key quote a part of it.
        let message = match (reply.status, detail.message) {
            (401, _) => "the API key is not valid".to_owned(),
            (403, _) => "the API key lacks a permission".to_owned(),
            (_, Some(message)) => {
                let message =
                    message.replace(self.settings.secret_key.expose_secret(), "[redacted]");
                let message: String = message.chars().take(500).collect();
                detail
                    .param
                    .map_or(message.clone(), |param| format!("{message} [{param}]"))
            }
            (_, None) => "no reason given".to_owned(),
        };
        ProviderError::Rejected {
            status: reply.status,
            code: detail.code.or(detail.kind),
            message,
        }
    }
}

#[async_trait]
impl Provider for Stripe {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
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

    fn parse_event(&self, body: &[u8]) -> Result<IncomingEvent, WebhookError> {
        event::parse(body)
    }

    async fn fetch_subscription(&self, id: &str) -> Result<ProviderSubscription, ProviderError> {
        let request = RetrieveSubscription::new(path_id(id)?);
        Ok(self
            .send::<objects::Subscription>(&request, None)
            .await?
            .normalize())
    }

    async fn create_customer(&self, customer: &NewCustomer) -> Result<String, ProviderError> {
        let mut request = CreateCustomer::new().metadata(HashMap::from([(
            "customer_id".to_owned(),
            customer.customer_id.clone(),
        )]));
        if let Some(email) = customer.email.as_deref().filter(|email| !email.is_empty()) {
            request = request.email(email);
        }
        if let Some(name) = customer.name.as_deref().filter(|name| !name.is_empty()) {
            request = request.name(name);
        }
        Ok(self
            .send::<objects::Identified>(&request, Some(&customer.idempotency_key))
            .await?
            .id)
    }

    async fn price(&self, id: &str) -> Result<ProviderPrice, ProviderError> {
        let request = RetrievePrice::new(path_id(id)?);
        Ok(self
            .send::<objects::Price>(&request, None)
            .await?
            .normalize())
    }

    async fn create_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError> {
        let typed = checkout_session(request);
        self.send::<objects::Session>(&typed, Some(&request.idempotency_key))
            .await?
            .normalize()
    }

    async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let request = RetrieveCheckoutSession::new(path_id(id)?);
        self.send::<objects::Session>(&request, None)
            .await?
            .normalize()
    }

    async fn expire_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let request = ExpireCheckoutSession::new(path_id(id)?);
        // Expiring is idempotent by nature. A key of its own for each call allows repeating after a lost answer
        // without ever getting yesterday's answer back.
        let key = uuid::Uuid::now_v7().to_string();
        match self.send::<objects::Session>(&request, Some(&key)).await {
            Err(refused @ ProviderError::Rejected { status: 400, .. }) => {
                let session = self.checkout_session(id).await?;
                if session.status == CheckoutStatus::Open {
                    Err(refused)
                } else {
                    Ok(session)
                }
            }
            outcome => outcome?.normalize(),
        }
    }

    async fn open_portal(&self, _request: &PortalRequest) -> Result<String, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn change_plan(&self, _change: &PlanChange) -> Result<(), ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn drop_planned_change(&self, _id: &str) -> Result<(), ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn cancel_at_period_end(&self, _id: &str) -> Result<(), ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn cancel_now(&self, _id: &str, _settle: FinalInvoice) -> Result<(), ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn resume(&self, _id: &str) -> Result<(), ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn refund_latest_payment(&self, _id: &str, _key: &str) -> Result<bool, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn charge(&self, _id: &str) -> Result<ProviderCharge, ProviderError> {
        Err(UNSUPPORTED)
    }
    fn takes_usage(&self) -> bool {
        self.settings.meter_event_name.is_some()
    }
    async fn report_usage(&self, _report: &UsageReport) -> Result<Reported, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn retract_usage(&self, _identifier: &str) -> Result<Retracted, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn usage_counted(
        &self,
        _customer: &str,
        _from: DateTime<Utc>,
        _until: DateTime<Utc>,
    ) -> Result<i64, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn refused_usage(&self, _event_id: &str) -> Result<Vec<RefusedUsage>, ProviderError> {
        Err(UNSUPPORTED)
    }
    async fn events(
        &self,
        _since: DateTime<Utc>,
        _page: Option<&str>,
    ) -> Result<Page<PastEvent>, ProviderError> {
        Err(UNSUPPORTED)
    }
    fn events_known_since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now - chrono::TimeDelta::days(30)
    }
    async fn subscriptions(
        &self,
        _page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError> {
        Err(UNSUPPORTED)
    }
    fn event_about(&self, _subscription_id: &str, event_id: &str) -> PastEvent {
        PastEvent {
            event: IncomingEvent {
                event_id: event_id.to_owned(),
                event_type: String::new(),
                livemode: self.livemode,
                hint: crate::domain::provider_event::Hint::Ignored,
            },
            body: Vec::new(),
        }
    }
}

const UNSUPPORTED: ProviderError = ProviderError::Unsupported { what: "not yet" };

fn checkout_session(request: &CheckoutRequest) -> CreateCheckoutSession {
    let metadata = HashMap::from([
        ("customer_id".to_owned(), request.customer_id.clone()),
        ("plan_tier".to_owned(), request.plan_tier.clone()),
        ("plan_version".to_owned(), request.plan_version.to_string()),
    ]);
    let mut base = CreateCheckoutSessionLineItems::new();
    base.price = Some(request.base_price_id.clone());
    base.quantity = Some(1);
    let mut items = vec![base];
    if let Some(price) = &request.overage_price_id {
        // Metered: the quantity comes from what is reported, so giving one is an error.
        let mut overage = CreateCheckoutSessionLineItems::new();
        overage.price = Some(price.clone());
        items.push(overage);
    }
    let mut subscription = CreateCheckoutSessionSubscriptionData::new();
    subscription.metadata = Some(metadata.clone());
    let typed = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Subscription)
        .customer(request.provider_customer_id.clone())
        .line_items(items)
        .metadata(metadata)
        .subscription_data(subscription)
        .success_url(request.success_url.clone())
        .cancel_url(request.cancel_url.clone());
    if request.customer_id.chars().count() <= CLIENT_REFERENCE_MAX_CHARS {
        typed.client_reference_id(request.customer_id.clone())
    } else {
        typed
    }
}

/// Ids go into the path as they are, so only what Stripe's ids are made of may pass.
fn path_id(id: &str) -> Result<&str, ProviderError> {
    let sane = !id.is_empty()
        && id.len() <= 255
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if sane {
        Ok(id)
    } else {
        Err(ProviderError::NotFound)
    }
}

/// The key itself where it fits, else its digest, which is as unique.
fn idempotency_header(key: &str) -> HeaderValue {
    let fits = !key.is_empty()
        && key.len() <= IDEMPOTENCY_KEY_MAX_CHARS
        && key.bytes().all(|b| b.is_ascii_graphic());
    let direct = fits.then(|| HeaderValue::from_str(key).ok()).flatten();
    direct.unwrap_or_else(|| {
        let mut digest = String::from("sha256-");
        for byte in Sha256::digest(key) {
            // Writing to a string cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        HeaderValue::from_str(&digest).unwrap_or(HeaderValue::from_static("sha256-"))
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProviderError> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(
        |error| ProviderError::Unreadable {
            reason: error.to_string(),
        },
    )
}

#[cfg(test)]
mod tests;
