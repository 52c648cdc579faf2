//! A cancellation at the period's end is taken back, a pause ends.

use uuid::Uuid;

use super::BillingError;
use super::successor::drop_successor;
use super::turn::{Held, in_turn};
use crate::domain::ids::CustomerId;
use crate::domain::subscription::SubscriptionStatus;
use crate::service::context::Context;
use crate::service::intentions::Intention;

/// Lets the customer's subscription go on. Returns our id of it.
pub async fn resume(context: &Context, customer: CustomerId) -> Result<Uuid, BillingError> {
    in_turn(context, &customer, async |held| {
        let subscription = &held.subscription;
        let ends = subscription.cancel_at_period_end || subscription.access_ends_at.is_some();
        let paused = subscription.status == SubscriptionStatus::Paused;
        if !ends && !paused {
            return Err(BillingError::NothingToResume);
        }
        let kept_here = !held.provider().capabilities().shows_intentions;
        if kept_here && ends {
            take_back(held, &customer).await?;
        }
        if paused || !kept_here {
            held.renew().await?;
            let id = &held.subscription.provider_subscription_id;
            held.provider().resume(id).await?;
            held.look_again().await?;
        }
        Ok(())
    })
    .await
}

/// Takes back an end that the provider was not told of, with what was to follow it.
async fn take_back(held: &mut Held<'_>, customer: &CustomerId) -> Result<(), BillingError> {
    // Before the successor is dropped, which cannot be taken back either.
    held.must_not_be_told_to_end().await?;
    drop_successor(held).await?;
    held.intend(customer, Intention::default()).await
}
