//! Checkouts that should have closed by themselves, and of which nothing was heard: not every provider tells of it, and a webhook may
//! have been lost.

use std::sync::Arc;

use chrono::TimeDelta;
use diesel::prelude::*;
use tokio_util::sync::CancellationToken;

use super::NotApplied;
use super::refresh::{Errand, Purchase, refresh};
use crate::providers::{CheckoutStatus, ProviderError};
use crate::service::context::{Context, Storefront};
use crate::store::checkout_sessions::{self, Ending, OpenSession};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};

/// How long a provider's own word of it may take.
const NEWS_TAKES: TimeDelta = TimeDelta::minutes(10);
/// A checkout is not looked at again before.
const SEEN_FOR: TimeDelta = TimeDelta::hours(1);
/// A round of more would keep the provider from answering customers.
const ROUND: i64 = 50;

/// Looks at open checkouts whose time is over, until the token is cancelled: one that expired ends here, too, and the subscription of one
/// that was completed is fetched. Returns how many were settled.
///
/// # Errors
/// Where the database is away; the next round begins where this one ended.
pub async fn close_stale_checkouts(
    context: &Context,
    token: &CancellationToken,
) -> Result<usize, StoreError> {
    let mut settled = 0;
    for storefront in &context.storefronts {
        let (provider, clock) = (storefront.provider.name(), Arc::clone(context.clock()));
        let stale = pool::run(&context.pool, move |conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            let (expired, seen) = (now - NEWS_TAKES, now - SEEN_FOR);
            checkout_sessions::stale(conn, provider, expired, seen, ROUND).map_err(StoreError::from)
        })
        .await?;
        for session in stale {
            if token.is_cancelled() {
                return Ok(settled);
            }
            let id = session.session_id.clone();
            match settle(context, storefront, &session).await {
                Ok(()) => settled += 1,
                Err(NotApplied::Store(error)) => return Err(error),
                Err(error @ NotApplied::Away { .. }) => {
                    tracing::warn!(%provider, %error, "stale checkouts wait: the provider is away");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%provider, session_id = id, %error, "a stale checkout was not settled");
                    mark_seen(context, session).await?;
                }
            }
        }
    }
    Ok(settled)
}

async fn settle(
    context: &Context,
    storefront: &Storefront,
    session: &OpenSession,
) -> Result<(), NotApplied> {
    let shown = match storefront
        .provider
        .checkout_session(&session.session_id)
        .await
    {
        Ok(shown) => shown,
        // Made under another account, or so long ago that it is forgotten: nobody can pay it.
        Err(ProviderError::NotFound) => return end(context, session, Ending::Failed).await,
        Err(error) => return Err(error.into()),
    };
    match (shown.status, shown.provider_subscription_id) {
        (CheckoutStatus::Open, _) => Err(NotApplied::Later("it can still be paid".to_owned())),
        (CheckoutStatus::Expired, _) => end(context, session, Ending::Expired).await,
        (CheckoutStatus::Complete, Some(id)) => {
            let purchase = Purchase {
                session_id: session.session_id.clone(),
                customer_id: None,
            };
            let errand = Errand::unasked().bought(purchase);
            refresh(context, storefront, &id, errand).await.map(drop)
        }
        (CheckoutStatus::Complete, None) => end(context, session, Ending::Complete).await,
    }
}

async fn end(context: &Context, session: &OpenSession, ending: Ending) -> Result<(), NotApplied> {
    let (session, clock) = (session.clone(), Arc::clone(context.clock()));
    pool::run(&context.pool, move |conn: &mut PgConnection| {
        let now = deciding_time(conn, clock.as_ref())?;
        let (customer, attempt) = (session.customer_id.as_str(), session.attempt_id);
        checkout_sessions::end(conn, customer, attempt, ending, now).map_err(NotApplied::from)
    })
    .await
}

async fn mark_seen(context: &Context, session: OpenSession) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let (customer, attempt) = (session.customer_id.as_str(), session.attempt_id);
        checkout_sessions::mark_seen(conn, customer, attempt, now).map_err(StoreError::from)
    })
    .await
}
