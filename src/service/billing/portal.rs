//! The pages on which a provider lets customers look after cards and invoices.

use super::BillingError;
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::providers::{PortalRequest, ProviderError};
use crate::service::context::Context;
use crate::store::pool::{self, StoreError};
use crate::store::provider_customers;

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
    // The only provider that there is.
    let storefront = context
        .storefront(ProviderName::Stripe)
        .ok_or(BillingError::ProviderNotConfigured)?;
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
