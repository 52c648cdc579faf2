//! A cancellation at the period's end is taken back, a pause ends.

use uuid::Uuid;

use super::BillingError;
use super::turn::in_turn;
use crate::domain::ids::CustomerId;
use crate::domain::subscription::SubscriptionStatus;
use crate::service::context::Context;

/// Lets the customer's subscription go on. Returns our id of it.
pub async fn resume(context: &Context, customer: CustomerId) -> Result<Uuid, BillingError> {
    in_turn(context, &customer, async |held| {
        let subscription = &held.subscription;
        let ends = subscription.cancel_at_period_end || subscription.access_ends_at.is_some();
        if !ends && subscription.status != SubscriptionStatus::Paused {
            return Err(BillingError::NothingToResume);
        }
        held.renew().await?;
        let id = &held.subscription.provider_subscription_id;
        held.provider().resume(id).await?;
        held.look_again().await?;
        Ok(())
    })
    .await
}
