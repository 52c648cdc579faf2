//! An end: with the period, or at once.

use diesel::prelude::*;
use uuid::Uuid;

use super::BillingError;
use super::turn::in_turn;
use crate::domain::ids::CustomerId;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::providers::FinalInvoice;
use crate::service::context::Context;
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
        let id = held.subscription.provider_subscription_id.clone();
        match when {
            CancelWhen::PeriodEnd if ends_with_its_period(&held.subscription) => return Ok(()),
            CancelWhen::PeriodEnd => {
                held.renew().await?;
                held.provider().cancel_at_period_end(&id).await?;
            }
            CancelWhen::Now => {
                held.tell_usage(&customer).await?;
                held.renew().await?;
                held.provider().cancel_now(&id, FinalInvoice::Drawn).await?;
            }
        }
        held.look_again().await?;
        Ok(())
    })
    .await;
    match cancelled {
        // A call whose answer was lost is answered again.
        Err(BillingError::Ended) => latest(context, customer).await,
        other => other,
    }
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
