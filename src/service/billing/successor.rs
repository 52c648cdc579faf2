//! The subscription that is to take the place of another one, at providers that cannot change a plan.
//!
//! It is sold like any other, through a checkout of its own, and until it is paid nothing changes. One at a time is on its way: the next
//! one replaces it, whether it waits for its payment or is agreed to and waits for the next period.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::BillingError;
use super::turn::Held;
use crate::domain::plans::PlanVersion;
use crate::domain::subscription::SubscriptionStatus;
use crate::providers::{ChangeWhen, FinalInvoice};
use crate::service::apply_event::{Look, see_now};
use crate::service::checkout::{Instead, offer_instead, withdraw_offer};
use crate::service::prices::PriceIds;
use crate::store::pool::{self, StoreError};
use crate::store::{checkout_sessions, subscriptions};

/// Offers a subscription to the plan in this one's place. Returns where it is paid; `None`: it is agreed to already.
pub(super) async fn offer(
    held: &mut Held<'_>,
    plan: &Arc<PlanVersion>,
    prices: PriceIds,
    when: ChangeWhen,
) -> Result<Option<String>, BillingError> {
    let starts_at = match when {
        ChangeWhen::Now => None,
        ChangeWhen::PeriodEnd => period_end(held),
    };
    if let Some(planned) = &held.subscription.planned {
        if planned.plan == plan.reference() && Some(planned.at) == starts_at {
            return Ok(None);
        }
        // Whoever agreed to this one must not be left with none.
        held.must_not_be_told_to_end().await?;
        drop_successor(held).await?;
    }
    held.renew().await?;
    let instead = Instead {
        customer: held.customer,
        replaces: &held.subscription.provider_subscription_id,
        plan,
        prices,
        starts_at,
    };
    let open = offer_instead(held.context, held.storefront, instead).await?;
    Ok(Some(open.checkout_url))
}

/// When the period ends that runs. Without one there is nothing to wait for.
fn period_end(held: &Held<'_>) -> Option<DateTime<Utc>> {
    let now = held.context.clock().now();
    let end = held.subscription.current_period_end;
    end.filter(|end| now < *end)
}

/// Gives up what was to take the place of this one. Returns whether there was anything.
pub(super) async fn drop_successor(held: &mut Held<'_>) -> Result<bool, BillingError> {
    if held.provider().capabilities().changes_plans {
        return Ok(false);
    }
    held.renew().await?;
    let (context, storefront) = (held.context, held.storefront);
    let replaced = held.subscription.provider_subscription_id.clone();
    let mut any = withdraw_offer(context, storefront, held.customer, &replaced).await?;
    for id in agreed_to(held).await? {
        see_now(context, storefront, &id, Look::First).await?;
        if !agreed_to(held).await?.contains(&id) {
            // It has begun, or is gone: whoever asks decides on that.
            return Err(BillingError::InProgress);
        }
        held.renew().await?;
        let provider = held.provider();
        provider.cancel_now(&id, FinalInvoice::None).await?;
        see_now(context, storefront, &id, Look::Again).await?;
        any = true;
    }
    // Where the customer was quicker, this one is being ended.
    held.read_again().await?;
    Ok(any)
}

/// The provider's ids of those that are agreed to and have not begun.
async fn agreed_to(held: &Held<'_>) -> Result<Vec<String>, StoreError> {
    let (customer, provider) = (held.customer.clone(), held.subscription.provider);
    let replaced = held.subscription.provider_subscription_id.clone();
    pool::run(&held.context.pool, move |conn| {
        let customer = customer.as_str();
        let attempts = checkout_sessions::replacing(conn, customer, provider, &replaced)?;
        let waiting = subscriptions::of_customer(conn, customer)?
            .into_iter()
            .filter(|s| s.provider == provider && s.status == SubscriptionStatus::Incomplete)
            .map(|s| s.provider_subscription_id)
            .filter(|id| {
                let mut sessions = attempts.iter().map(|attempt| &attempt.session_id);
                sessions.any(|session| session.as_ref() == Some(id))
            });
        Ok(waiting.collect())
    })
    .await
}
