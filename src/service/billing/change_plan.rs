//! Another plan: at once, with the difference charged or credited, or with the next period. Where the provider cannot put a subscription on
//! another plan, a new one takes its place once that is paid.

use std::sync::Arc;

use uuid::Uuid;

use super::successor::{drop_successor, offer};
use super::turn::{Held, in_turn};
use super::{BillingError, subject};
use crate::domain::ids::{CustomerId, TierKey};
use crate::domain::plans::PlanVersion;
use crate::providers::{ChangeWhen, PlanChange};
use crate::service::context::Context;
use crate::store::plan_versions;
use crate::store::pool::{self, StoreError};

/// The plan that a customer wants instead.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Who.
    pub customer: CustomerId,
    /// Which tier; its current version is sold.
    pub plan_tier: TierKey,
    /// From when on; `None`: a higher tier at once, a lower one with the next period.
    pub when: Option<ChangeWhen>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Our id of the subscription that is on the plan, or is to be replaced.
    pub subscription: Uuid,
    /// Where the customer pays what is to take its place; until then it stays as it is.
    pub checkout_url: Option<String>,
}

/// Puts the customer's subscription on another plan. Asking for the plan that it is on takes back a change that was planned.
pub async fn change_plan(context: &Context, wanted: NewPlan) -> Result<Changed, BillingError> {
    let plans = context.book().plans();
    let Some(plan) = plans.of_tier(wanted.plan_tier.as_str()) else {
        return Err(BillingError::UnknownPlan(wanted.plan_tier));
    };
    if !plan.plan.is_paid() || plan.plan.tier == plans.default_tier() {
        return Err(BillingError::NotForSale);
    }
    let mut checkout_url = None;
    let changed = in_turn(context, &wanted.customer, async |held| {
        if !subject::pays(held.subscription.status) {
            let portal = held.provider().capabilities().customer_pages;
            return Err(BillingError::PaymentDue { portal });
        }
        if held.subscription.plan.tier == plan.plan.tier {
            stay(held).await
        } else {
            checkout_url = move_to(held, plan, &wanted).await?;
            Ok(())
        }
    })
    .await;
    match changed {
        Ok(subscription) => Ok(Changed {
            subscription,
            checkout_url,
        }),
        // Nothing is left to be changed; a checkout sells anew.
        Err(BillingError::Ended) => Err(BillingError::NoSubscription),
        Err(error) => Err(error),
    }
}

/// Takes back what was planned.
async fn stay(held: &mut Held<'_>) -> Result<(), BillingError> {
    if !held.provider().capabilities().changes_plans {
        if held.subscription.planned.is_some() {
            held.must_not_be_told_to_end().await?;
        }
        let any = drop_successor(held).await?;
        return any.then_some(()).ok_or(BillingError::AlreadyOnPlan);
    }
    if held.subscription.planned.is_none() {
        return Err(BillingError::AlreadyOnPlan);
    }
    held.renew().await?;
    let id = &held.subscription.provider_subscription_id;
    held.provider().drop_planned_change(id).await?;
    held.look_again().await?;
    Ok(())
}

async fn move_to(
    held: &mut Held<'_>,
    plan: &Arc<PlanVersion>,
    wanted: &NewPlan,
) -> Result<Option<String>, BillingError> {
    let prices = held
        .storefront
        .price_ids(plan)
        .ok_or(BillingError::ProviderNotConfigured)?;
    let verified = &held.context.verified_prices;
    verified.verify(held.provider(), &prices, plan).await?;
    let sold = plan.reference();
    let plans = held.context.book().plans();
    let when = wanted.when.unwrap_or({
        if plans.lowers(&held.subscription.plan, &sold) {
            ChangeWhen::PeriodEnd
        } else {
            ChangeWhen::Now
        }
    });
    if !held.provider().capabilities().changes_plans {
        return offer(held, plan, prices, when).await;
    }
    let provider = held.subscription.provider;
    let replaced_price_ids = pool::run(&held.context.pool, move |conn| {
        plan_versions::all_prices(conn, provider).map_err(StoreError::from)
    })
    .await?;
    let change = PlanChange {
        provider_subscription_id: held.subscription.provider_subscription_id.clone(),
        replaced_price_ids,
        base_price_id: prices.base,
        overage_price_id: prices.overage,
        customer_id: wanted.customer.as_str().to_owned(),
        plan_tier: sold.tier,
        plan_version: sold.version,
        when,
    };
    if when == ChangeWhen::Now {
        held.tell_usage(&wanted.customer).await?;
    }
    held.renew().await?;
    held.provider().change_plan(&change).await?;
    let seen = held.look_again().await?;
    if when == ChangeWhen::Now && seen.change_unpaid {
        return Err(BillingError::ChangeUnpaid);
    }
    Ok(None)
}
