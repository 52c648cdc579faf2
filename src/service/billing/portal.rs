//! The pages on which a provider lets customers look after cards and invoices.

use super::{BillingError, subject};
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::providers::{PortalRequest, ProviderError};
use crate::service::checkout::is_mere_session;
use crate::service::context::{Context, Storefront};
use crate::store::pool::{self, StoreError};
use crate::store::{checkout_sessions, provider_customers, subscriptions};

/// A visit to be made.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Whose.
    pub customer: CustomerId,
    /// Where the browser goes afterwards; `None`: where it goes after a payment.
    pub return_url: Option<String>,
}

/// The address of the provider's pages for the customer; it is good for minutes, and each call gives another one.
pub async fn open_portal(context: &Context, visit: Visit) -> Result<String, BillingError> {
    let urls = &context.return_urls;
    let return_url = || {
        urls.choose(visit.return_url.as_deref(), urls.success_url.as_ref())
            .map_err(BillingError::ReturnUrl)
    };
    if visit.return_url.is_some() {
        // An address that may not be is told before anything else; that none is configured, only to whoever could come back.
        return_url()?;
    }
    let customer = visit.customer.clone();
    let (subscriptions, known_at) = pool::run(&context.pool, move |conn| {
        let customer = customer.as_str();
        let mut subscriptions = subscriptions::of_customer(conn, customer)?;
        let pages = checkout_sessions::not_gone_through(conn, customer)?;
        subscriptions.retain(|subscription| !is_mere_session(subscription, &pages));
        let known_at = provider_customers::known_at(conn, customer)?;
        Ok::<_, StoreError>((subscriptions, known_at))
    })
    .await?;
    let storefront = storefront_with_pages(context, &subscriptions, &known_at)?;
    let (customer, provider) = (visit.customer.clone(), storefront.provider.name());
    let bound = pool::run(&context.pool, move |conn| {
        provider_customers::known(conn, customer.as_str(), provider).map_err(StoreError::from)
    })
    .await?;
    let request = PortalRequest {
        provider_customer_id: bound.ok_or(BillingError::NoProviderCustomer)?,
        return_url: return_url()?,
    };
    match storefront.provider.open_portal(&request).await {
        Ok(url) => Ok(url),
        Err(ProviderError::Unsupported { .. }) => Err(BillingError::NoPortal),
        Err(error) => Err(error.into()),
    }
}

/// Whether there are pages for a customer with these subscriptions whom these providers know.
pub fn has_pages(
    context: &Context,
    subscriptions: &[Subscription],
    known_at: &[ProviderName],
) -> bool {
    storefront_with_pages(context, subscriptions, known_at).is_ok()
}

/// Whose pages are the customer's: those of whoever bills the customer now; where nobody does, those of a provider that knows the
/// customer, for the invoices that are left there.
fn storefront_with_pages<'a>(
    context: &'a Context,
    subscriptions: &[Subscription],
    known_at: &[ProviderName],
) -> Result<&'a Storefront, BillingError> {
    let has_pages = |storefront: &&Storefront| storefront.provider.capabilities().customer_pages;
    let billed_by = subject::of(subscriptions.to_vec(), &context.book().plans())
        .ok()
        .map(|subscription| subscription.provider);
    if let Some(provider) = billed_by {
        let storefront = context
            .storefront(provider)
            .ok_or(BillingError::ProviderNotConfigured)?;
        return Some(storefront)
            .filter(has_pages)
            .ok_or(BillingError::NoPortal);
    }
    let mut known = known_at
        .iter()
        .filter_map(|provider| context.storefront(*provider))
        .peekable();
    if known.peek().is_some() {
        return known.find(has_pages).ok_or(BillingError::NoPortal);
    }
    Err(if context.storefronts.is_empty() {
        BillingError::ProviderNotConfigured
    } else {
        BillingError::NoProviderCustomer
    })
}
