//! Subscriptions of which news is overdue: a webhook may have been lost, or the provider gave up delivering it.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::NotApplied;
use super::refresh::{Errand, refresh};
use crate::domain::provider_event::ProviderName;
use crate::service::context::{Context, Storefront};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions;

/// News of a renewal takes about an hour, which the provider leaves for changes to the invoice.
const NEWS_TAKES: TimeDelta = TimeDelta::hours(2);
/// A subscription is not looked at again before.
const SEEN_FOR: TimeDelta = TimeDelta::hours(1);
/// A round of more would keep the provider from answering customers.
const ROUND: i64 = 50;

/// Fetches live subscriptions anew whose period ended without news, and those whose first payment is still to come, until the token is cancelled. Returns how many were
/// brought up to date.
///
/// # Errors
/// Where the database is away; the next round begins where this one ended.
pub async fn refresh_overdue(
    context: &Context,
    token: &CancellationToken,
) -> Result<usize, StoreError> {
    let mut refreshed = 0;
    for storefront in &context.storefronts {
        refreshed += refresh_overdue_of(context, storefront, token).await?;
    }
    Ok(refreshed)
}

async fn refresh_overdue_of(
    context: &Context,
    storefront: &Storefront,
    token: &CancellationToken,
) -> Result<usize, StoreError> {
    let provider = storefront.provider.name();
    let clock = Arc::clone(context.clock());
    let overdue: Vec<String> = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let seen = now - SEEN_FOR;
        let mut overdue = subscriptions::overdue(conn, provider, now - NEWS_TAKES, seen, ROUND)?;
        // There may be no event of a first payment that never comes.
        overdue.extend(subscriptions::awaiting_payment(
            conn, provider, seen, ROUND,
        )?);
        Ok::<_, StoreError>(overdue)
    })
    .await?;
    let mut refreshed = 0;
    for id in overdue {
        if token.is_cancelled() {
            break;
        }
        match refresh(context, storefront, &id, Errand::unasked()).await {
            Ok(_) => refreshed += 1,
            // News has come meanwhile.
            Err(NotApplied::Overtaken) => {}
            Err(NotApplied::Store(error)) => return Err(error),
            Err(error @ NotApplied::Away { .. }) => {
                tracing::warn!(%provider, %error, "overdue subscriptions wait: the provider is away");
                break;
            }
            Err(error) => {
                tracing::warn!(%provider, subscription = id, %error, "an overdue subscription was not refreshed");
                mark_seen(context, provider, id).await?;
            }
        }
    }
    Ok(refreshed)
}

async fn mark_seen(
    context: &Context,
    provider: ProviderName,
    id: String,
) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        subscriptions::mark_seen(conn, provider, &id, now).map_err(StoreError::from)
    })
    .await
}
