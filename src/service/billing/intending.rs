//! Intentions are kept with a subscription, and taken back, when it is the subscription's turn.

use diesel::prelude::*;

use super::BillingError;
use super::turn::Held;
use crate::domain::ids::CustomerId;
use crate::service::intentions::{Intention, intend};
use crate::service::subscriptions::Occasion;
use crate::store::clock::deciding_time;
use crate::store::pool;
use crate::store::subscriptions::Cause;
use crate::store::{customers, intended_ends, subscriptions};

impl Held<'_> {
    /// Keeps with the subscription what is intended with it from now on. The provider hears nothing of it; what it was told to end
    /// cannot be meant to go on.
    pub(super) async fn intend(
        &mut self,
        customer: &CustomerId,
        intention: Intention,
    ) -> Result<(), BillingError> {
        self.renew().await?;
        let (meter, customer) = (self.context.meter.clone(), customer.clone());
        let provider = self.subscription.provider;
        let id = self.subscription.provider_subscription_id.clone();
        pool::run(&self.context.pool, move |conn| {
            let (rules, customer) = (meter.rules(), customer.as_str());
            let kept = conn.transaction(|conn| {
                let fence = subscriptions::hold(conn, provider, &id)?;
                let row = customers::lock(conn, customer)?;
                let (fence, row) = fence.zip(row).ok_or(BillingError::NoSubscription)?;
                let now = deciding_time(conn, rules.clock.as_ref())?;
                let told = intended_ends::told(conn, provider, &id)?;
                if !intention.ends_with_period && told.sent_at.is_some() {
                    return Err(BillingError::EndSent);
                }
                let stored = subscriptions::of_customer(conn, customer)?
                    .into_iter()
                    .find(|s| s.provider == provider && s.provider_subscription_id == id)
                    .ok_or(BillingError::NoSubscription)?;
                if stored.status.is_terminal() {
                    return Err(BillingError::Ended);
                }
                let plans = rules.book.refresh(conn)?;
                let occasion = Occasion {
                    fence,
                    cause: Cause::Request,
                    now,
                };
                let remembered = row.anchoring();
                intend(
                    conn, &plans, customer, remembered, &stored, intention, occasion,
                )?;
                Ok(())
            });
            // Even after an error: the answer to the commit may have been lost.
            meter.forget(customer);
            kept
        })
        .await
    }

    /// Refuses where the provider may have heard that the subscription is to end. Nobody tells it as long as the turn lasts.
    pub(super) async fn must_not_be_told_to_end(&self) -> Result<(), BillingError> {
        let provider = self.subscription.provider;
        let id = self.subscription.provider_subscription_id.clone();
        pool::run(
            &self.context.pool,
            move |conn: &mut PgConnection| match intended_ends::told(conn, provider, &id)?.sent_at {
                None => Ok(()),
                Some(_) => Err(BillingError::EndSent),
            },
        )
        .await
    }
}
