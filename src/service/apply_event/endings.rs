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
use crate::domain::duplicates::{duplicates, is_live_at_provider};
use crate::domain::payment::{EndingReason, Refund, Unused};
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::providers::{FinalInvoice, ProviderError, RefundShare};
use crate::service::context::{Context, Storefront};
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscription_endings::{self, Claimed};
use crate::store::subscriptions;

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
    #[error("it is the customer's only one")]
    Needed,
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
            Self::NotConfigured | Self::Needed => false,
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
        Err(NotEnded::Needed) => keep(context, claim).await?,
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
    if claim.reason == EndingReason::Duplicate.as_str() && !is_surplus(context, claim).await? {
        return Err(NotEnded::Needed);
    }
    // First: nobody must be billed again, whether money can go back or not. And as long as it lives, nothing has gone back.
    storefront
        .provider
        .cancel_now(id, FinalInvoice::None)
        .await
        .map_err(NotEnded::NotCancelled)?;
    let refunded = refund(storefront, claim).await;
    refresh(context, storefront, id, Errand::unasked()).await?;
    refunded
}

/// Whether the subscription is still one too many. It was found to be on what was known then: the other one may have ended before, and
/// the news of that be on its way. So every one that is open here is fetched before anything is done. Also where this one has ended
/// already: then an earlier attempt began to end it.
async fn is_surplus(context: &Context, claim: &Claimed) -> Result<bool, NotEnded> {
    for subscription in of_customer(context, claim).await? {
        let open = subscription.status.is_open();
        if let Some(storefront) = context.storefront(subscription.provider).filter(|_| open) {
            let id = &subscription.provider_subscription_id;
            refresh(context, storefront, id, Errand::unasked()).await?;
        }
    }
    let all = of_customer(context, claim).await?;
    let now = context.clock().now();
    let this = |s: &&Subscription| s.id == claim.subscription_id;
    if !all.iter().any(|s| this(&s) && is_live_at_provider(s, now)) {
        return Ok(true);
    }
    let (noted, customer) = (claim.clone(), claim.customer_id.clone());
    let ending = pool::run(&context.pool, move |conn| {
        let noted_too = subscription_endings::of_customer(conn, &customer, now)?;
        let others = noted_too.into_iter().map(|noted| noted.subscription_id);
        Ok::<_, StoreError>(
            others
                .filter(|id| *id != noted.subscription_id)
                .collect::<Vec<_>>(),
        )
    })
    .await
    .map_err(NotApplied::from)?;
    let lasting = all.iter().filter(|s| !ending.contains(&s.id));
    let found = duplicates(lasting, &context.book().plans(), now);
    Ok(found.is_some_and(|found| found.surplus.iter().any(this)))
}

async fn of_customer(context: &Context, claim: &Claimed) -> Result<Vec<Subscription>, NotApplied> {
    let customer = claim.customer_id.clone();
    pool::run(&context.pool, move |conn| {
        subscriptions::of_customer(conn, &customer).map_err(NotApplied::from)
    })
    .await
}

/// The subscription is not one too many any more: it goes on.
async fn keep(context: &Context, claim: Claimed) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let kept = conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            if !subscription_endings::forget(conn, &claim)? {
                return Ok(false);
            }
            let row = AuditRow::new(
                OURSELVES.to_owned(),
                "subscription.keep",
                Some(&claim.customer_id),
                claim.provider_subscription_id.clone(),
                json!({"reason": claim.reason}),
                now,
            );
            audit::append(conn, &row)?;
            Ok::<_, diesel::result::Error>(true)
        })?;
        if kept {
            tracing::warn!(
                customer = claim.customer_id,
                subscription = claim.provider_subscription_id,
                "the customer's other subscription has ended meanwhile: this one goes on"
            );
        }
        Ok(())
    })
    .await
}

/// Whether a refund without which all else was done is not asked for any more.
fn is_given_up(context: &Context, claim: &Claimed, error: &ProviderError) -> bool {
    !error.is_transient() && context.clock().now() - claim.created_at >= PATIENCE
}

async fn refund(storefront: &Storefront, claim: &Claimed) -> Result<bool, NotEnded> {
    let id = &claim.provider_subscription_id;
    let share = match claim.refund() {
        Refund::None => return Ok(false),
        Refund::Whole => RefundShare::Whole,
        Refund::UnusedSince(since) => {
            // It has ended by now: the period that it shows is its last, and was paid for.
            let shown = storefront.provider.fetch_subscription(id).await;
            let shown = shown.map_err(NotEnded::NoRefund)?;
            let period = shown.current_period_start.zip(shown.current_period_end);
            let unused = period.and_then(|(start, end)| Unused::of(start, end, since));
            let Some(Unused { left, of }) = unused else {
                return Ok(false);
            };
            RefundShare::Unused { left, of }
        }
    };
    // The same for every attempt: an answer that was lost is asked for again, and no money goes back twice.
    let key = format!("refund:{id}");
    let refunded = storefront
        .provider
        .refund_latest_payment(id, share, &key)
        .await;
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
