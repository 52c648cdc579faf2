//! A customer is gone at the provider: what was billed to them has ended, and the next purchase makes a new one.

use diesel::prelude::*;

use super::refresh::{Errand, refresh};
use super::{NotApplied, ignore, settle};
use crate::domain::provider_event::ProviderName;
use crate::service::context::{Context, Storefront};
use crate::store::checkout_sessions::{self, Ending};
use crate::store::clock::deciding_time;
use crate::store::inbox::{Claim, Status};
use crate::store::pool::{self, StoreError};
use crate::store::{customers, provider_customers, subscriptions};

/// Applies the event that says so.
pub(super) async fn apply(
    context: &Context,
    storefront: &Storefront,
    claim: Claim,
    provider_customer_id: String,
) -> Result<(), NotApplied> {
    let provider = storefront.provider.name();
    let Some((customer, open)) =
        with_open_subscriptions(context, provider, provider_customer_id.clone()).await?
    else {
        return ignore(context, claim).await;
    };
    // Each fetch takes a lease: what was fetched before the customer was gone is not written any more.
    for id in open {
        refresh(context, storefront, &id, Errand::unasked()).await?;
    }
    let clock = context.clock().clone();
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            customers::lock(conn, &customer)?;
            let now = deciding_time(conn, clock.as_ref())?;
            let gone = &provider_customer_id;
            if provider_customers::unbind(conn, &customer, provider, gone, now)?
                // Its session is for a payer who does not exist.
                && let Some(attempt) = checkout_sessions::under_way(conn, &customer, provider)?
            {
                let attempt = attempt.attempt_id;
                checkout_sessions::end(conn, &customer, attempt, Ending::Expired, now)?;
            }
            settle(conn, &claim, Status::Processed, now)
        })
    })
    .await
}

/// Who that is here, and the provider's ids of their subscriptions that have not ended.
async fn with_open_subscriptions(
    context: &Context,
    provider: ProviderName,
    provider_customer_id: String,
) -> Result<Option<(String, Vec<String>)>, StoreError> {
    pool::run(&context.pool, move |conn| {
        let found = provider_customers::customer_of(conn, provider, &provider_customer_id)?;
        let Some(customer) = found else {
            return Ok(None);
        };
        let open = subscriptions::of_customer(conn, &customer)?
            .into_iter()
            .filter(|s| s.provider == provider && s.status.is_open())
            .map(|s| s.provider_subscription_id)
            .collect();
        Ok(Some((customer, open)))
    })
    .await
}
