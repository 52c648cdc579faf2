//! Ends with the period that were kept here are sent to their provider, shortly before the period ends.
//!
//! Until then they can be taken back. Whoever sends has the subscription's turn, as whoever takes back does, and notes it before the
//! provider is asked: where the answer is lost, the provider may have heard, so nothing can be taken back any more, and it is asked again.
//! An end that was sent twice is one end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::Connection as _;
use tokio_util::sync::CancellationToken;

use super::turn::{give_back, renew, try_take};
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Subscription, SubscriptionStatus};
use crate::providers::{FinalInvoice, ProviderError};
use crate::service::apply_event::{Look, NotSeen, see_now};
use crate::service::context::{Context, Storefront};
use crate::store::change_turns::Turn;
use crate::store::clock::deciding_time;
use crate::store::intended_ends::{self, DueEnd, Told};
use crate::store::pool::{self, StoreError};
use crate::store::{customers, subscriptions};

/// How long before the end the provider is told: long enough to outlast an outage, short enough to leave the customer the choice.
const BEFORE_THE_END: TimeDelta = TimeDelta::hours(2);
/// From then on every failure is an operator's business: the customer is about to be billed again.
const LAST_MINUTES: TimeDelta = TimeDelta::minutes(10);
/// A round of more would keep the provider from answering customers.
const ROUND: i64 = 100;

/// Sends the ends that are due, until the token is cancelled. Returns how many a provider has heard of.
///
/// # Errors
/// Where the database is away; what was noted by then is sent again later.
pub async fn send_ends(context: &Context, token: &CancellationToken) -> Result<usize, StoreError> {
    let mut heard = 0;
    let keeping = |storefront: &&Storefront| !storefront.provider.capabilities().shows_intentions;
    for storefront in context.storefronts.iter().filter(keeping) {
        let (provider, clock) = (storefront.provider.name(), Arc::clone(context.clock()));
        let due = pool::run(&context.pool, move |conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            intended_ends::due(conn, provider, now + BEFORE_THE_END, now, ROUND)
                .map_err(StoreError::from)
        })
        .await?;
        for end in due {
            if token.is_cancelled() {
                return Ok(heard);
            }
            match send_in_turn(context, storefront, end).await? {
                Sent::Heard => heard += 1,
                Sent::Not => {}
                Sent::Away => break,
            }
        }
    }
    Ok(heard)
}

/// What became of an end that was due.
enum Sent {
    /// The provider has heard of it.
    Heard,
    /// It is not due any more, or the provider refused, or somebody else is at the subscription.
    Not,
    /// The provider cannot be asked now.
    Away,
}

async fn send_in_turn(
    context: &Context,
    storefront: &Storefront,
    end: DueEnd,
) -> Result<Sent, StoreError> {
    let provider = storefront.provider.name();
    let Some(mut turn) = try_take(context, provider, &end.provider_subscription_id).await? else {
        return Ok(Sent::Not);
    };
    let sent = send(context, storefront, end, &mut turn).await;
    give_back(context, turn).await;
    sent
}

async fn send(
    context: &Context,
    storefront: &Storefront,
    end: DueEnd,
    turn: &mut Turn,
) -> Result<Sent, StoreError> {
    let (provider, id) = (
        storefront.provider.name(),
        end.provider_subscription_id.clone(),
    );
    match see_now(context, storefront, &id, Look::First).await {
        // What cannot be understood must end all the same.
        Ok(_) | Err(NotSeen::Unclear(_)) => {}
        Err(NotSeen::Overtaken) => return Ok(Sent::Not),
        Err(NotSeen::Store(error)) => return Err(error),
        Err(NotSeen::Away(reason)) => {
            if end.ends_at - context.clock().now() < LAST_MINUTES {
                tracing::error!(%provider, subscription = id, reason, "a cancelled subscription is about to be billed again: the provider is away");
            } else {
                tracing::warn!(%provider, reason, "ends wait: the provider is away");
            }
            return Ok(Sent::Away);
        }
    }
    if !renew(context, turn).await? {
        return Ok(Sent::Not);
    }
    let Some(due) = note_sending(context, provider, end).await? else {
        return Ok(Sent::Not);
    };
    let answer = ask(storefront, &due).await;
    let sent = match &answer {
        Ok(()) => Sent::Heard,
        Err(error) if error.is_transient() => Sent::Away,
        Err(_) => Sent::Not,
    };
    if let Err(error) = &answer {
        tell(&due, error);
    }
    note_answer(context, provider, due, answer).await?;
    // An end at once shows, and its webhook may be lost.
    if let Err(error) = see_now(context, storefront, &id, Look::First).await {
        tracing::warn!(%provider, subscription = id, %error, "what came of an end was not seen yet");
    }
    Ok(sent)
}

/// An end that is being sent.
struct Sending {
    subscription: Subscription,
    ends_at: DateTime<Utc>,
    /// What the provider was told before.
    before: Told,
    now: DateTime<Utc>,
}

impl Sending {
    fn left(&self) -> TimeDelta {
        self.ends_at - self.now
    }

    /// Rarely while the end is far, often where it is near; and ever more rarely once it is past.
    fn wait(&self) -> TimeDelta {
        let distance = self.left().abs() / 8;
        distance.clamp(TimeDelta::minutes(1), TimeDelta::hours(1))
    }
}

/// Notes that the provider is told, unless the end is not due any more: taken back, or come.
async fn note_sending(
    context: &Context,
    provider: ProviderName,
    end: DueEnd,
) -> Result<Option<Sending>, StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let id = &end.provider_subscription_id;
            // Whoever takes the intention back holds one of them.
            subscriptions::hold(conn, provider, id)?;
            customers::lock(conn, &end.customer_id)?;
            let now = deciding_time(conn, clock.as_ref())?;
            let stored = subscriptions::of_customer(conn, &end.customer_id)?
                .into_iter()
                .find(|s| s.provider == provider && s.provider_subscription_id == *id)
                .filter(|stored| stored.cancel_at_period_end && stored.status.is_open());
            let due = stored.and_then(|subscription| {
                let ends_at = subscription.current_period_end?;
                (ends_at < now + BEFORE_THE_END).then_some((subscription, ends_at))
            });
            let Some((subscription, ends_at)) = due else {
                return Ok(None);
            };
            let sending = Sending {
                subscription,
                ends_at,
                before: intended_ends::told(conn, provider, id)?,
                now,
            };
            let told = Told {
                sent_at: Some(now),
                retry_at: Some(now + sending.wait()),
            };
            intended_ends::note(conn, provider, id, told)?;
            Ok(Some(sending))
        })
    })
    .await
}

async fn ask(storefront: &Storefront, due: &Sending) -> Result<(), ProviderError> {
    use SubscriptionStatus as S;
    let (provider, id) = (
        storefront.provider.as_ref(),
        &due.subscription.provider_subscription_id,
    );
    let runs = matches!(due.subscription.status, S::Active | S::PastDue);
    if !runs || due.left() <= TimeDelta::zero() {
        // No period runs with which it could end: its first one has not begun, or its last is over. What was paid or promised until
        // then is left to the customer.
        return provider.cancel_now(id, FinalInvoice::Drawn).await;
    }
    match provider.cancel_at_period_end(id).await {
        Err(ProviderError::Rejected { .. }) if due.left() < LAST_MINUTES => {
            provider.cancel_now(id, FinalInvoice::Drawn).await
        }
        answer => answer,
    }
}

fn tell(due: &Sending, error: &ProviderError) {
    let provider = due.subscription.provider;
    let subscription = &due.subscription.provider_subscription_id;
    let minutes_left = due.left().num_minutes();
    if due.left() < LAST_MINUTES {
        tracing::error!(
            %provider,
            subscription,
            minutes_left,
            %error,
            "a cancelled subscription was not ended at its provider: an operator must end it there before it is billed again"
        );
    } else {
        tracing::warn!(%provider, subscription, minutes_left, %error, "a cancelled subscription was not ended at its provider yet");
    }
}

/// Writes down what the provider answered.
async fn note_answer(
    context: &Context,
    provider: ProviderName,
    due: Sending,
    answer: Result<(), ProviderError>,
) -> Result<(), StoreError> {
    let retry_at = |asked: Option<Duration>| {
        let asked = asked.and_then(|asked| TimeDelta::from_std(asked).ok());
        Some(due.now + due.wait().max(asked.unwrap_or_default()))
    };
    let told = match answer {
        Ok(()) => Told {
            sent_at: Some(due.now),
            retry_at: None,
        },
        Err(ProviderError::Unavailable { retry_after, .. }) => Told {
            sent_at: Some(due.now),
            retry_at: retry_at(retry_after),
        },
        // It has heard, and will not do it: what it was told before counts.
        Err(ProviderError::Rejected { .. } | ProviderError::Unsupported { .. }) => Told {
            sent_at: due.before.sent_at,
            retry_at: retry_at(None),
        },
        Err(ProviderError::NotFound | ProviderError::Unreadable { .. }) => Told {
            sent_at: Some(due.now),
            retry_at: retry_at(None),
        },
    };
    let id = due.subscription.provider_subscription_id;
    pool::run(&context.pool, move |conn| {
        intended_ends::note(conn, provider, &id, told).map_err(StoreError::from)
    })
    .await
}
