//! Ends subscriptions at their provider that were found to have to end. Every step can be repeated, so that wherever a worker dies, another
//! one begins from the start.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use serde_json::json;

use super::NotApplied;
use super::refresh::{Errand, refresh};
use super::second_subscriptions::OURSELVES;
use crate::domain::provider_event::ProviderName;
use crate::providers::{FinalInvoice, ProviderError};
use crate::service::context::{Context, Storefront};
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscription_endings::{self, Claimed};

/// How long a claim holds; longer than all calls may take with their retries.
const CLAIMED_FOR: TimeDelta = TimeDelta::minutes(5);
/// Longest wait between two attempts: somebody is billed meanwhile.
const LONGEST_BACK_OFF: TimeDelta = TimeDelta::hours(1);
/// How long a refund is asked for that the provider refuses, because its account is empty perhaps. Then a person must see to it.
const PATIENCE: TimeDelta = TimeDelta::days(3);

/// Why a subscription was not ended, or not wholly.
#[derive(Debug, thiserror::Error)]
enum NotEnded {
    #[error("the provider is not configured")]
    NotConfigured,
    #[error("no refund: {0}")]
    NoRefund(ProviderError),
    #[error("not cancelled: {0}")]
    NotCancelled(ProviderError),
    #[error("{0}")]
    NotSeen(#[from] NotApplied),
}

impl NotEnded {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoRefund(ProviderError::Unavailable { retry_after, .. })
            | Self::NotCancelled(ProviderError::Unavailable { retry_after, .. })
            | Self::NotSeen(NotApplied::Away { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Whether it may be over by itself.
    const fn is_transient(&self) -> bool {
        match self {
            Self::NoRefund(error) | Self::NotCancelled(error) => error.is_transient(),
            Self::NotSeen(error) => matches!(
                error,
                NotApplied::Overtaken | NotApplied::Away { .. } | NotApplied::Store(_)
            ),
            Self::NotConfigured => false,
        }
    }
}

/// Ends the subscription whose end is due first. Returns `false` where none is due.
///
/// # Errors
/// Where the database is away; the end comes up again when its claim runs out.
pub async fn end_next(context: &Context) -> Result<bool, StoreError> {
    let clock = Arc::clone(context.clock());
    let claimed = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        subscription_endings::claim(conn, now, now + CLAIMED_FOR).map_err(StoreError::from)
    })
    .await?;
    let Some(claim) = claimed else {
        return Ok(false);
    };
    match carry_out(context, &claim).await {
        Ok(refunded) => finish(context, claim, refunded, None).await?,
        Err(NotEnded::NoRefund(error)) if is_given_up(context, &claim, &error) => {
            finish(context, claim, false, Some(error)).await?;
        }
        Err(error) => postpone(context, claim, error).await?,
    }
    Ok(true)
}

/// Returns whether a payment was given back.
async fn carry_out(context: &Context, claim: &Claimed) -> Result<bool, NotEnded> {
    let storefront = claim
        .provider
        .parse::<ProviderName>()
        .ok()
        .and_then(|name| context.storefront(name))
        .ok_or(NotEnded::NotConfigured)?;
    let id = &claim.provider_subscription_id;
    let refunded = refund(storefront, claim).await;
    // Also where no money can go back: nobody must be billed again meanwhile.
    storefront
        .provider
        .cancel_now(id, FinalInvoice::None)
        .await
        .map_err(NotEnded::NotCancelled)?;
    refresh(context, storefront, id, Errand::unasked()).await?;
    refunded
}

/// Whether a refund without which all else was done is not asked for any more.
fn is_given_up(context: &Context, claim: &Claimed, error: &ProviderError) -> bool {
    !error.is_transient() && context.clock().now() - claim.created_at >= PATIENCE
}

async fn refund(storefront: &Storefront, claim: &Claimed) -> Result<bool, NotEnded> {
    if !claim.refund {
        return Ok(false);
    }
    let id = &claim.provider_subscription_id;
    // The same for every attempt: an answer that was lost is asked for again, and no money goes back twice.
    let key = format!("refund:{id}");
    let refunded = storefront.provider.refund_latest_payment(id, &key).await;
    refunded.map_err(NotEnded::NoRefund)
}

async fn finish(
    context: &Context,
    claim: Claimed,
    refunded: bool,
    given_up: Option<ProviderError>,
) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let finished = conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            if !subscription_endings::finish(conn, &claim, now)? {
                return Ok(false);
            }
            let row = AuditRow::new(
                OURSELVES.to_owned(),
                "subscription.end",
                Some(&claim.customer_id),
                claim.provider_subscription_id.clone(),
                json!({"reason": claim.reason, "refunded": refunded,
                       "refund_error": given_up.as_ref().map(ToString::to_string)}),
                now,
            );
            audit::append(conn, &row)?;
            Ok::<_, diesel::result::Error>(true)
        })?;
        if finished && let Some(error) = given_up {
            tracing::error!(
                customer = claim.customer_id,
                subscription = claim.provider_subscription_id,
                %error,
                "subscription ended without its refund: an operator must give the money back"
            );
        } else if finished {
            tracing::warn!(
                customer = claim.customer_id,
                subscription = claim.provider_subscription_id,
                reason = claim.reason,
                refunded,
                "subscription ended at the provider"
            );
        }
        Ok(())
    })
    .await
}

async fn postpone(context: &Context, claim: Claimed, error: NotEnded) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let wait = wait_after(&claim, &error, now);
        let reason = error.to_string();
        let (customer, subscription) = (&claim.customer_id, &claim.provider_subscription_id);
        if !subscription_endings::postpone(conn, &claim, &reason, now + wait)? {
            tracing::debug!(customer, subscription, reason, "another worker ends it");
        } else if error.is_transient() {
            tracing::warn!(
                customer,
                subscription,
                reason,
                attempts = claim.attempts,
                "subscription not ended yet"
            );
        } else {
            tracing::error!(
                customer,
                subscription,
                reason,
                attempts = claim.attempts,
                "subscription not ended: an operator must look at it"
            );
        }
        Ok(())
    })
    .await
}

/// Doubles with each attempt; spread, so that what failed together is not tried together.
fn wait_after(claim: &Claimed, error: &NotEnded, now: DateTime<Utc>) -> TimeDelta {
    let seed = crc32fast::hash(claim.provider_subscription_id.as_bytes())
        ^ crc32fast::hash(&now.timestamp_micros().to_le_bytes());
    let spread = |range: u32| TimeDelta::milliseconds(i64::from(seed % range));
    if matches!(error, NotEnded::NotSeen(NotApplied::Overtaken)) {
        return TimeDelta::milliseconds(50) + spread(201);
    }
    let exponent = u32::try_from(claim.attempts).unwrap_or(0).min(12);
    let asked = error
        .retry_after()
        .and_then(|asked| TimeDelta::from_std(asked).ok())
        .unwrap_or_default();
    TimeDelta::seconds(1 << exponent)
        .max(asked)
        .min(LONGEST_BACK_OFF)
        + spread(1000)
}
