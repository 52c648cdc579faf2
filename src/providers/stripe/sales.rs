//! Customers, prices, checkouts and the portal.

use std::collections::HashMap;

use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionSubscriptionData,
    ExpireCheckoutSession, RetrieveCheckoutSession,
};
use stripe_core::customer::CreateCustomer;
use stripe_product::price::RetrievePrice;
use stripe_shared::CheckoutSessionMode;

use super::Stripe;
use super::objects::{Identified, Portal, Price, Session};
use super::wire::path_id;
use crate::providers::{
    CheckoutRequest, CheckoutSession, CheckoutStatus, NewCustomer, PortalRequest, ProviderError,
    ProviderPrice,
};

/// Stripe's limit for `client_reference_id`. Our customer ids may be longer; the metadata has room for all of them.
const CLIENT_REFERENCE_MAX_CHARS: usize = 200;

impl Stripe {
    pub(super) async fn make_customer(
        &self,
        customer: &NewCustomer,
    ) -> Result<String, ProviderError> {
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
            .send::<Identified>(&request, Some(&customer.idempotency_key))
            .await?
            .id)
    }

    pub(super) async fn look_at_price(&self, id: &str) -> Result<ProviderPrice, ProviderError> {
        let request = RetrievePrice::new(path_id(id)?);
        Ok(self.send::<Price>(&request, None).await?.normalize())
    }

    pub(super) async fn open_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError> {
        let typed = checkout_session(request);
        self.send::<Session>(&typed, Some(&request.idempotency_key))
            .await?
            .normalize()
    }

    pub(super) async fn look_at_checkout(
        &self,
        id: &str,
    ) -> Result<CheckoutSession, ProviderError> {
        let request = RetrieveCheckoutSession::new(path_id(id)?);
        self.send::<Session>(&request, None).await?.normalize()
    }

    pub(super) async fn close_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let request = ExpireCheckoutSession::new(path_id(id)?);
        match self.change::<Session>(&request).await {
            Err(refused @ ProviderError::Rejected { status: 400, .. }) => {
                let session = self.look_at_checkout(id).await?;
                if session.status == CheckoutStatus::Open {
                    Err(refused)
                } else {
                    Ok(session)
                }
            }
            outcome => outcome?.normalize(),
        }
    }

    /// Every visit has an address of its own, so no two may be answered from one key.
    pub(super) async fn visit_portal(
        &self,
        request: &PortalRequest,
    ) -> Result<String, ProviderError> {
        let typed = CreateBillingPortalSession::new()
            .customer(request.provider_customer_id.clone())
            .return_url(request.return_url.clone());
        Ok(self.change::<Portal>(&typed).await?.url)
    }
}

/// Our marks on what is sold: whose it is, and as which version of which plan.
pub(super) fn marks(
    customer_id: &str,
    plan_tier: &str,
    plan_version: i32,
) -> HashMap<String, String> {
    HashMap::from([
        ("customer_id".to_owned(), customer_id.to_owned()),
        ("plan_tier".to_owned(), plan_tier.to_owned()),
        ("plan_version".to_owned(), plan_version.to_string()),
    ])
}

pub(super) fn checkout_session(request: &CheckoutRequest) -> CreateCheckoutSession {
    let metadata = marks(
        &request.customer_id,
        &request.plan_tier,
        request.plan_version,
    );
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
    subscription.trial_period_days = request.trial_days.filter(|days| *days > 0);
    let mut typed = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Subscription)
        .customer(request.provider_customer_id.clone())
        .line_items(items)
        .metadata(metadata)
        .subscription_data(subscription)
        .success_url(request.success_url.clone())
        .cancel_url(request.cancel_url.clone());
    if request.promotion_codes {
        typed = typed.allow_promotion_codes(true);
    }
    if request.customer_id.chars().count() <= CLIENT_REFERENCE_MAX_CHARS {
        typed = typed.client_reference_id(request.customer_id.clone());
    }
    typed
}
