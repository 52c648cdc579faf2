//! An event in the inbox is applied: lease the subscription, fetch it from the provider, write what the provider said.
//!
//! No network call is inside a transaction, and a fetch that was overtaken by a newer one is never written: the lease's
//! fencing number is checked in the transaction that writes.

mod meaning;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use self::meaning::{owner, plan_of, report};
use super::context::{Context, Storefront};
use super::subscriptions::{Occasion, apply_report, first_seen};
use crate::domain::provider_event::{Hint, ProviderName, ProviderStatus};
use crate::providers::ProviderError;
use crate::store::checkout_sessions::{self, Ending};
use crate::store::clock::deciding_time;
use crate::store::inbox::{self, Claimed, Status};
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions::Cause;
use crate::store::{customers, provider_customers, subscriptions};

/// How long a claimed event is hidden from other workers; longer than the provider's calls may take with their retries.
const HIDDEN_FOR: TimeDelta = TimeDelta::seconds(120);
/// Longest wait between two attempts.
const LONGEST_BACK_OFF: TimeDelta = TimeDelta::hours(1);

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    /// May succeed later.
    #[error("{0}")]
    Later(String),
    /// Somebody else leased the subscription after this fetch began; a fetch of our own is due.
    #[error("overtaken by a newer fetch of the same subscription")]
    Overtaken,
    /// Needs a person.
    #[error("{0}")]
    Never(String),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for NotApplied {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<ProviderError> for NotApplied {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::NotFound => Self::Never(error.to_string()),
            // A refusal may be of our key, which an operator replaces; what this version cannot read, the next one may.
            ProviderError::Rejected { .. }
            | ProviderError::Unavailable { .. }
            | ProviderError::Unreadable { .. } => Self::Later(error.to_string()),
        }
    }
}

/// Applies the event that is due first. Returns `false` where none is due.
///
/// # Errors
/// Where the database is away; the event stays due.
pub async fn apply_next(context: &Context) -> Result<bool, StoreError> {
    let now = context.clock().now();
    let claimed = pool::run(&context.pool, move |conn| {
        inbox::claim(conn, now, now + HIDDEN_FOR).map_err(StoreError::from)
    })
    .await?;
    let Some(event) = claimed else {
        return Ok(false);
    };
    let (provider, event_id) = (event.provider.clone(), event.event_id.clone());
    let Ok(provider) = provider.parse::<ProviderName>() else {
        return Ok(true);
    };
    match apply(context, provider, &event).await {
        Ok(()) => tracing::info!(%provider, event_id, kind = event.event_type, "event applied"),
        Err(NotApplied::Store(error)) => {
            tracing::warn!(%provider, event_id, %error, "event not applied: the database did not do it");
            park(context, provider, event, error.to_string()).await?;
        }
        Err(overtaken @ NotApplied::Overtaken) => {
            let (reason, now) = (overtaken.to_string(), context.clock().now());
            retry(context, provider, event.event_id, reason, now).await?;
        }
        Err(NotApplied::Later(reason)) => {
            tracing::warn!(%provider, event_id, reason, attempts = event.attempts, "event parked");
            park(context, provider, event, reason).await?;
        }
        Err(NotApplied::Never(reason)) => {
            tracing::error!(%provider, event_id, reason, "event failed: an operator must look at it");
            settle(
                context,
                provider,
                event.event_id,
                Status::Failed,
                Some(reason),
            )
            .await?;
        }
    }
    Ok(true)
}

async fn park(
    context: &Context,
    provider: ProviderName,
    event: Claimed,
    reason: String,
) -> Result<(), StoreError> {
    let exponent = u32::try_from(event.attempts).unwrap_or(0).min(12);
    let back_off = TimeDelta::seconds(1i64 << exponent).min(LONGEST_BACK_OFF);
    // Spread by the event's own id: no two events of one outage come back in step.
    let spread =
        TimeDelta::milliseconds(i64::from(crc32fast::hash(event.event_id.as_bytes()) % 1000));
    let next = context.clock().now() + back_off + spread;
    retry(context, provider, event.event_id, reason, next).await
}

async fn retry(
    context: &Context,
    provider: ProviderName,
    event_id: String,
    reason: String,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    pool::run(&context.pool, move |conn| {
        inbox::park(conn, provider, &event_id, &reason, at).map_err(StoreError::from)
    })
    .await
}

async fn settle(
    context: &Context,
    provider: ProviderName,
    event_id: String,
    status: Status,
    error: Option<String>,
) -> Result<(), StoreError> {
    let now = context.clock().now();
    pool::run(&context.pool, move |conn| {
        inbox::settle(conn, provider, &event_id, status, error.as_deref(), now)
            .map_err(StoreError::from)
    })
    .await
}

async fn apply(
    context: &Context,
    provider: ProviderName,
    claimed: &Claimed,
) -> Result<(), NotApplied> {
    let storefront = context
        .storefront(provider)
        .ok_or_else(|| NotApplied::Later("the provider is not configured".to_owned()))?;
    let event = storefront
        .provider
        .parse_event(&claimed.body)
        .map_err(|error| NotApplied::Never(error.to_string()))?;
    let event_id = claimed.event_id.clone();
    match event.hint {
        Hint::Ignored => Ok(settle(context, provider, event_id, Status::Ignored, None).await?),
        Hint::CheckoutClosed { session_id } => {
            close_checkout(context, provider, event_id, session_id).await
        }
        Hint::Subscription {
            provider_subscription_id,
        } => {
            refresh(
                context,
                storefront,
                &provider_subscription_id,
                event_id,
                None,
            )
            .await
        }
        Hint::CheckoutCompleted {
            session_id,
            provider_subscription_id,
            customer_id,
            ..
        } => {
            let purchase = Purchase {
                session_id,
                customer_id,
            };
            match provider_subscription_id {
                Some(subscription) => {
                    refresh(context, storefront, &subscription, event_id, Some(purchase)).await
                }
                // A checkout that sold no subscription is none of ours.
                None => Ok(settle(context, provider, event_id, Status::Ignored, None).await?),
            }
        }
    }
}

async fn close_checkout(
    context: &Context,
    provider: ProviderName,
    event_id: String,
    session_id: String,
) -> Result<(), NotApplied> {
    let now = context.clock().now();
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            if let Some((customer, attempt)) =
                checkout_sessions::of_session(conn, provider, &session_id)?
            {
                checkout_sessions::end(conn, &customer, attempt, Ending::Expired, now)?;
            }
            inbox::settle(conn, provider, &event_id, Status::Processed, None, now)?;
            Ok(())
        })
    })
    .await
}

/// A checkout that ran through.
struct Purchase {
    session_id: String,
    customer_id: Option<String>,
}

/// Makes the stored subscription what the provider says it is.
async fn refresh(
    context: &Context,
    storefront: &Storefront,
    id: &str,
    event_id: String,
    purchase: Option<Purchase>,
) -> Result<(), NotApplied> {
    let provider = storefront.provider.name();
    let lease = {
        let id = id.to_owned();
        pool::run(&context.pool, move |conn| {
            subscriptions::lease(conn, provider, &id).map_err(StoreError::from)
        })
        .await?
    };
    let fetched = storefront.provider.fetch_subscription(id).await?;
    let status = match &fetched.status {
        ProviderStatus::Known(status) => *status,
        ProviderStatus::Unknown(word) => {
            return Err(NotApplied::Later(format!(
                "the provider reports the unknown status \"{word}\""
            )));
        }
    };
    let rules = context.meter.rules().clone();
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            if !subscriptions::holds(conn, provider, &fetched.id, lease.fence)? {
                return Err(NotApplied::Overtaken);
            }
            let owner = owner(conn, provider, &lease, &fetched, purchase.as_ref())?;
            let now = deciding_time(conn, rules.clock.as_ref())?;
            let row = customers::lock_or_create(conn, &owner, now)?;
            let now = deciding_time(conn, rules.clock.as_ref())?;
            let plans = rules.book.refresh(conn)?;
            let stored = subscriptions::of_customer(conn, &owner)?
                .into_iter()
                .find(|s| s.provider == provider && s.provider_subscription_id == fetched.id);
            let plan = plan_of(conn, provider, &plans, &fetched, stored.as_ref())?;
            let report = report(&fetched, status, plan, stored.as_ref(), now);
            let base = stored.unwrap_or_else(|| {
                first_seen(
                    provider,
                    &fetched.id,
                    &report,
                    fetched.started_at.unwrap_or(now),
                )
            });
            let occasion = Occasion {
                fence: lease.fence,
                cause: Cause::Webhook(&event_id),
                now,
            };
            apply_report(
                conn,
                &plans,
                &owner,
                row.anchoring(),
                &base,
                report,
                occasion,
            )?;
            subscriptions::bind(conn, provider, &fetched.id, &owner)?;
            if let Some(name) = &fetched.provider_customer_id {
                provider_customers::bind(conn, &owner, provider, name, now)?;
            }
            if let Some(purchase) = &purchase
                && let Some((customer, attempt)) =
                    checkout_sessions::of_session(conn, provider, &purchase.session_id)?
            {
                checkout_sessions::end(conn, &customer, attempt, Ending::Complete, now)?;
            }
            inbox::settle(conn, provider, &event_id, Status::Processed, None, now)?;
            if lease.customer.is_none() {
                // What waited for this binding can go on.
                inbox::wake_parked(conn, now)?;
            }
            Ok(())
        })
    })
    .await
}
