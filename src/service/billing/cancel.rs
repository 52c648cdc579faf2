//! An end: with the period, or at once.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::BillingError;
use super::successor::drop_successor;
use super::turn::{Held, in_turn};
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Subscription, SubscriptionStatus};
use crate::providers::FinalInvoice;
use crate::service::context::Context;
use crate::service::intentions::Intention;
use crate::store::pool;
use crate::store::subscriptions;

/// When a cancelled subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelWhen {
    /// At once: what is paid is lost, what the plan allowed is left for the grace.
    Now,
    /// When what is paid is over.
    PeriodEnd,
}

/// Cancels the customer's subscription. One that is cancelled stays as it is. Returns our id of it.
pub async fn cancel(
    context: &Context,
    customer: CustomerId,
    when: CancelWhen,
) -> Result<Uuid, BillingError> {
    let cancelled = in_turn(context, &customer, async |held| {
        let shows_intentions = held.provider().capabilities().shows_intentions;
        match when {
            CancelWhen::PeriodEnd if shows_intentions => end_with_period(held).await,
            CancelWhen::PeriodEnd if has_a_period(&held.subscription, context.clock().now()) => {
                intend_to_end(held, &customer).await
            }
            // Nothing is paid that could run out first.
            CancelWhen::PeriodEnd | CancelWhen::Now => end_at_once(held, &customer).await,
        }
    })
    .await;
    match cancelled {
        // A call whose answer was lost is answered again.
        Err(BillingError::Ended) => latest(context, customer).await,
        other => other,
    }
}

async fn end_with_period(held: &mut Held<'_>) -> Result<(), BillingError> {
    if ends_with_its_period(&held.subscription) {
        return Ok(());
    }
    held.renew().await?;
    let id = &held.subscription.provider_subscription_id;
    held.provider().cancel_at_period_end(id).await?;
    held.look_again().await?;
    Ok(())
}

/// The provider would show nothing of it and could not take it back: it is told shortly before.
async fn intend_to_end(held: &mut Held<'_>, customer: &CustomerId) -> Result<(), BillingError> {
    drop_successor(held).await?;
    let end = Intention {
        ends_with_period: true,
        planned: None,
    };
    held.intend(customer, end).await?;
    // Where the end is near, a minute may be too long.
    held.context.bells.intended_ends.notify_one();
    Ok(())
}

async fn end_at_once(held: &mut Held<'_>, customer: &CustomerId) -> Result<(), BillingError> {
    drop_successor(held).await?;
    held.tell_usage(customer).await?;
    held.renew().await?;
    let id = &held.subscription.provider_subscription_id;
    held.provider().cancel_now(id, FinalInvoice::Drawn).await?;
    held.look_after_the_end().await?;
    Ok(())
}

/// Whether something is in force that ends with a period, and that is still to come.
fn has_a_period(subscription: &Subscription, now: DateTime<Utc>) -> bool {
    use SubscriptionStatus as S;
    let in_force = matches!(subscription.status, S::Trialing | S::Active | S::PastDue);
    in_force && subscription.current_period_end.is_some_and(|end| now < end)
}

fn ends_with_its_period(subscription: &Subscription) -> bool {
    let period_end = subscription.current_period_end;
    subscription.cancel_at_period_end
        || subscription
            .access_ends_at
            .is_some_and(|end| period_end.is_none_or(|period_end| end <= period_end))
}

/// The subscription at a provider that ended last.
async fn latest(context: &Context, customer: CustomerId) -> Result<Uuid, BillingError> {
    pool::run(&context.pool, move |conn: &mut PgConnection| {
        subscriptions::of_customer(conn, customer.as_str())?
            .into_iter()
            .filter(|subscription| subscription.provider != ProviderName::Manual)
            .max_by_key(|subscription| (subscription.ended_at, subscription.started_at))
            .map(|subscription| subscription.id)
            .ok_or(BillingError::NoSubscription)
    })
    .await
}
