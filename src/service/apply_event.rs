//! An event in the inbox is applied: lease the subscription, fetch it from the provider, write what the provider said.
//!
//! No network call is inside a transaction, and a fetch that was overtaken by a newer one is never written: the lease's
//! fencing number is checked in the transaction that writes. So is the claim on the event: whoever lost it writes nothing.

mod charges;
mod customer_deleted;
mod endings;
mod meaning;
mod on_request;
mod overdue;
mod payment_links;
mod reconcile;
mod refresh;
mod refused_usage;
mod second_subscriptions;
mod stale_checkouts;
mod successors;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

pub use self::endings::end_next;
pub use self::on_request::{Look, NotSeen, Seen, see_now};
pub use self::overdue::refresh_overdue;
pub use self::reconcile::{
    ReconcileError, Shown, SubscriptionDrift, SubscriptionReconciliation, open_here,
    reconcile_subscriptions,
};
use self::refresh::{Errand, Purchase, refresh};
pub use self::stale_checkouts::close_stale_checkouts;
use super::context::Context;
use super::usage_reports::flush_soon;
use crate::domain::provider_event::{Hint, ProviderName};
use crate::providers::ProviderError;
use crate::store::checkout_sessions::{self, Ending};
use crate::store::clock::deciding_time;
use crate::store::inbox::{self, Claim, Claimed, Status};
use crate::store::pool::{self, StoreError};

/// How long a claim holds; longer than the provider's calls may take with their retries.
const CLAIMED_FOR: TimeDelta = TimeDelta::minutes(2);
/// Longest wait between two attempts.
const LONGEST_BACK_OFF: TimeDelta = TimeDelta::hours(1);
/// How long to wait for what may only be late: a customer's binding, or an object that the provider does not show yet.
const PATIENCE: TimeDelta = TimeDelta::hours(24);

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    /// May succeed later.
    #[error("{0}")]
    Later(String),
    /// What the provider says has no meaning here: a price that was never sold, a status that nobody knew. It waits until an operator or
    /// a later version knows.
    #[error("{0}")]
    Unclear(String),
    /// The provider cannot be asked now.
    #[error("{reason}")]
    Away {
        /// What happened.
        reason: String,
        /// How long the provider asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The provider has nothing of that id, or does not show it yet.
    #[error("the provider knows no such object")]
    Missing,
    /// Nothing tells yet whose it is; one that was sold past Plangate will never be anybody's.
    #[error("no customer is bound to this subscription")]
    Unowned,
    /// Somebody else leased the subscription or claimed the event after this worker did.
    #[error("overtaken by another worker")]
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
        let reason = error.to_string();
        match error {
            ProviderError::NotFound => Self::Missing,
            ProviderError::Unavailable { retry_after, .. } => Self::Away {
                reason,
                retry_after,
            },
            // A refusal may be of our key, which an operator replaces; what this version cannot read, the next one may.
            ProviderError::Rejected { .. } | ProviderError::Unreadable { .. } => {
                Self::Later(reason)
            }
            ProviderError::Unsupported { .. } => Self::Never(reason),
        }
    }
}

/// Applies the event that is due first. Returns `false` where none is due.
///
/// # Errors
/// Where the database is away; the event comes up again when its claim ends.
pub async fn apply_next(context: &Context) -> Result<bool, StoreError> {
    let clock = Arc::clone(context.clock());
    let claimed = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        inbox::claim(conn, now, now + CLAIMED_FOR).map_err(StoreError::from)
    })
    .await?;
    let Some(event) = claimed else {
        return Ok(false);
    };
    match apply(context, &event).await {
        Ok(()) => {
            let Claim {
                provider, event_id, ..
            } = &event.claim;
            tracing::info!(provider, event_id, kind = event.event_type, "event applied");
        }
        Err(error) => put_down(context, event, error).await?,
    }
    Ok(true)
}

/// What becomes of an event that was not applied.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Tried again so much later, as if it had not been tried.
    HandedBack(TimeDelta),
    /// Tried again so much later.
    Parked(TimeDelta),
    /// Not tried again.
    Settled(Status),
}

fn fate(claim: &Claim, error: &NotApplied, age: TimeDelta) -> Fate {
    // Spread by the event's own id and the claim: no two events that met once meet again.
    let spread = |range: u32| {
        let turn = claim
            .claimed_until
            .map_or(0, |until| until.timestamp_micros());
        i64::from(
            (crc32fast::hash(claim.event_id.as_bytes()) ^ crc32fast::hash(&turn.to_le_bytes()))
                % range,
        )
    };
    let exponent = u32::try_from(claim.attempts).unwrap_or(0).min(12);
    let back_off = TimeDelta::seconds(1i64 << exponent);
    let parked = |at_least: TimeDelta| {
        let wait = back_off.max(at_least).min(LONGEST_BACK_OFF);
        Fate::Parked(wait + TimeDelta::milliseconds(spread(1000)))
    };
    match error {
        NotApplied::Overtaken => Fate::HandedBack(TimeDelta::milliseconds(50 + spread(201))),
        NotApplied::Unowned if age >= PATIENCE => Fate::Settled(Status::Ignored),
        NotApplied::Missing if age >= PATIENCE => Fate::Settled(Status::Failed),
        NotApplied::Never(_) => Fate::Settled(Status::Failed),
        NotApplied::Away {
            retry_after: Some(asked),
            ..
        } => parked(TimeDelta::from_std(*asked).unwrap_or(LONGEST_BACK_OFF)),
        NotApplied::Later(_)
        | NotApplied::Unclear(_)
        | NotApplied::Away { .. }
        | NotApplied::Missing
        | NotApplied::Unowned
        | NotApplied::Store(_) => parked(TimeDelta::zero()),
    }
}

async fn put_down(context: &Context, event: Claimed, error: NotApplied) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let claim = &event.claim;
        let reason = error.to_string();
        let fate = fate(claim, &error, now - event.received_at);
        let held = match fate {
            Fate::HandedBack(wait) => inbox::hand_back(conn, claim, &reason, now + wait),
            Fate::Parked(wait) => inbox::park(conn, claim, &reason, now + wait),
            Fate::Settled(status) => inbox::settle(conn, claim, status, Some(&reason), now),
        }?;
        let (provider, event_id) = (&claim.provider, &claim.event_id);
        if !held {
            tracing::debug!(provider, event_id, reason, "another worker is at the event");
        } else if fate == Fate::Settled(Status::Failed) {
            tracing::error!(
                provider,
                event_id,
                reason,
                "event failed: an operator must look at it"
            );
        } else if matches!(error, NotApplied::Unclear(_)) && claim.attempts == 1 {
            tracing::error!(
                provider,
                event_id,
                reason,
                "event not understood: an operator must configure what it names"
            );
        } else {
            tracing::warn!(
                provider,
                event_id,
                reason,
                attempts = claim.attempts,
                ?fate,
                "event not applied"
            );
        }
        Ok(())
    })
    .await
}

/// Settles an event in the transaction that applies it: without the claim, nothing of that stays.
fn settle(
    conn: &mut PgConnection,
    claim: &Claim,
    status: Status,
    now: DateTime<Utc>,
) -> Result<(), NotApplied> {
    if inbox::settle(conn, claim, status, None, now)? {
        Ok(())
    } else {
        Err(NotApplied::Overtaken)
    }
}

async fn apply(context: &Context, event: &Claimed) -> Result<(), NotApplied> {
    let provider = event
        .claim
        .provider
        .parse::<ProviderName>()
        .map_err(|error| NotApplied::Never(error.to_string()))?;
    let storefront = context
        .storefront(provider)
        .ok_or_else(|| NotApplied::Later("the provider is not configured".to_owned()))?;
    let hint = storefront
        .provider
        .hint(&event.body)
        .map_err(|error| NotApplied::Never(error.to_string()))?;
    let claim = event.claim.clone();
    match hint {
        Hint::CheckoutClosed { session_id } => {
            close_checkout(context, provider, claim, session_id).await
        }
        Hint::InvoiceDrawn {
            provider_subscription_id: id,
        } => {
            flush_soon(context, provider, &id).await?;
            refresh(context, storefront, &id, Errand::event(claim, None))
                .await
                .map(drop)
        }
        Hint::Subscription {
            provider_subscription_id: id,
        } => refresh(context, storefront, &id, Errand::event(claim, None))
            .await
            .map(drop),
        Hint::CheckoutCompleted {
            session_id,
            provider_subscription_id: Some(id),
            customer_id,
        } => {
            let purchase = Purchase {
                session_id,
                customer_id,
            };
            refresh(
                context,
                storefront,
                &id,
                Errand::event(claim, Some(purchase)),
            )
            .await
            .map(drop)
        }
        Hint::Charge {
            provider_charge_id: id,
        } => charges::apply(context, storefront, event, &id).await,
        Hint::CustomerDeleted {
            provider_customer_id: id,
        } => customer_deleted::apply(context, storefront, claim, id).await,
        Hint::UsageRefused => refused_usage::note(context, storefront, claim).await,
        Hint::PaymentLink {
            provider_link_id: id,
        } => payment_links::apply(context, storefront, claim, &id).await,
        Hint::SubscriptionPaid {
            provider_subscription_id: id,
            payment,
        } => refresh(
            context,
            storefront,
            &id,
            Errand::event(claim, None).paid(payment),
        )
        .await
        .map(drop),
        // A checkout that sold no subscription is none of ours.
        Hint::Ignored | Hint::CheckoutCompleted { .. } => ignore(context, claim).await,
    }
}

async fn ignore(context: &Context, claim: Claim) -> Result<(), NotApplied> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        settle(conn, &claim, Status::Ignored, now)
    })
    .await
}

async fn close_checkout(
    context: &Context,
    provider: ProviderName,
    claim: Claim,
    session_id: String,
) -> Result<(), NotApplied> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            if let Some((customer, attempt)) =
                checkout_sessions::of_session(conn, provider, &session_id)?
            {
                checkout_sessions::end(conn, &customer, attempt, Ending::Expired, now)?;
            }
            settle(conn, &claim, Status::Processed, now)
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(attempts: i32) -> Claim {
        Claim {
            provider: "stripe".to_owned(),
            event_id: "evt_1".to_owned(),
            attempts,
            claimed_until: Some("2026-01-12T00:02:00Z".parse().unwrap()),
        }
    }

    fn parked_seconds(claim: &Claim, error: &NotApplied) -> i64 {
        match fate(claim, error, TimeDelta::zero()) {
            Fate::Parked(wait) => wait.num_seconds(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn patience_doubles_up_to_an_hour_and_heeds_what_the_provider_asks() {
        let later = NotApplied::Later("not yet".to_owned());
        let away = |seconds| NotApplied::Away {
            reason: "away".to_owned(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(parked_seconds(&claim(1), &later), 2);
        assert_eq!(parked_seconds(&claim(5), &later), 32);
        assert_eq!(parked_seconds(&claim(i32::MAX), &later), 3600);
        assert_eq!(parked_seconds(&claim(1), &away(90)), 90);
        assert_eq!(parked_seconds(&claim(8), &away(90)), 256);
        assert_eq!(parked_seconds(&claim(1), &away(u64::MAX)), 3600);
    }

    #[test]
    fn what_may_only_be_late_is_given_up_after_a_day() {
        let (claim, day) = (claim(9), PATIENCE);
        let almost = day - TimeDelta::seconds(1);
        for (error, end) in [
            (NotApplied::Unowned, Status::Ignored),
            (NotApplied::Missing, Status::Failed),
        ] {
            assert!(matches!(fate(&claim, &error, almost), Fate::Parked(_)));
            assert_eq!(fate(&claim, &error, day), Fate::Settled(end));
        }
    }

    #[test]
    fn who_was_overtaken_comes_back_at_once_but_not_in_step() {
        let Fate::HandedBack(wait) = fate(&claim(1), &NotApplied::Overtaken, PATIENCE) else {
            panic!("it was handed back")
        };
        assert!((50..=250).contains(&wait.num_milliseconds()), "{wait}");
    }
}
