//! Putting a subscription on another plan, at once or with its next period.

use std::collections::BTreeSet;

use stripe_billing::subscription::{
    UpdateSubscription, UpdateSubscriptionItems, UpdateSubscriptionPaymentBehavior,
    UpdateSubscriptionProrationBehavior,
};
use stripe_billing::subscription_schedule::CreateSubscriptionSchedule;

use super::Stripe;
use super::objects::{Item, Reference, Schedule, Subscription};
use super::phases::planned_change;
use super::sales::marks;
use super::subscriptions::Change;
use super::wire::path_id;
use crate::providers::{ChangeWhen, PlanChange, ProviderError};

impl Stripe {
    pub(super) async fn put_on_plan(&self, change: &PlanChange) -> Result<(), ProviderError> {
        let found = self
            .look_at_subscription(&change.provider_subscription_id)
            .await?;
        match change.when {
            ChangeWhen::Now => self.change_now(change, found).await,
            ChangeWhen::PeriodEnd => self.change_with_period(change, found).await,
        }
    }

    /// Whoever changes the plan stays: an end that was foreseen is taken back, but not before the new plan is there.
    async fn change_now(
        &self,
        change: &PlanChange,
        mut found: Subscription,
    ) -> Result<(), ProviderError> {
        self.release(found.schedule()).await?;
        let items = changed_items(found.items(), change);
        if !items.is_empty() && !waits_for_payment(change, &found) {
            let mut request = UpdateSubscription::new(path_id(&found.id)?)
                .items(items)
                .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice);
            if found.is_charged() {
                request = request
                    .payment_behavior(UpdateSubscriptionPaymentBehavior::PendingIfIncomplete);
            }
            found = self.change(&request).await?;
        }
        if found.unpaid_items().is_some() {
            return Ok(());
        }
        // A request that waits for its payment may carry neither marks nor the end that is taken back.
        let mut rest = Change::of(path_id(&found.id)?);
        rest.stay(found.cancellation());
        let marks = marks(&change.customer_id, &change.plan_tier, change.plan_version);
        if marks
            .iter()
            .any(|(mark, value)| found.metadata.get(mark) != Some(value))
        {
            rest.with(|request| request.metadata(marks));
        }
        if let Some(rest) = rest.said() {
            self.change::<Subscription>(rest).await?;
        }
        Ok(())
    }

    /// Plans the change in a schedule of two phases: what is paid for already, and the new plan for one period. Then the
    /// schedule lets go, and the subscription runs on by itself.
    async fn change_with_period(
        &self,
        change: &PlanChange,
        found: Subscription,
    ) -> Result<(), ProviderError> {
        let cancellation = found.cancellation();
        if cancellation.is_none() && is_planned(change, &found) {
            return Ok(());
        }
        self.release(found.schedule()).await?;
        let id = path_id(&found.id)?;
        let mut stay = Change::of(id);
        stay.stay(cancellation);
        if let Some(stay) = stay.said() {
            self.change::<Subscription>(stay).await?;
        }
        if changed_items(found.items(), change).is_empty() {
            return Ok(());
        }
        let request = CreateSubscriptionSchedule::new().from_subscription(id.to_owned());
        let schedule: Schedule = self.change(&request).await?;
        let request = planned_change(&schedule, &found, change)?;
        self.change::<Schedule>(&request).await?;
        Ok(())
    }
}

/// Whether this very change waits for its payment: asking again would draw up another invoice. Stripe may name all items
/// that there will be, or only those that change.
fn waits_for_payment(change: &PlanChange, found: &Subscription) -> bool {
    found.unpaid_items().is_some_and(|unpaid| {
        let stays = |item: &&Item| unpaid.iter().all(|of| of.id != item.id);
        let overlaid = found.items().iter().filter(stays).chain(unpaid);
        changed_items(unpaid, change).is_empty() || changed_items(overlaid, change).is_empty()
    })
}

/// Whether exactly this change is planned already.
fn is_planned(change: &PlanChange, found: &Subscription) -> bool {
    let planned = found
        .schedule()
        .and_then(Reference::object)
        .and_then(Schedule::planned);
    planned.is_some_and(|planned| {
        let ours = planned.price_ids.iter().map(String::as_str);
        let ours: BTreeSet<&str> = ours.filter(|price| replaces(change, price)).collect();
        let sold_as = planned.sold_as.as_ref();
        ours == wanted(change).collect()
            && sold_as.is_some_and(|sold| {
                sold.tier == change.plan_tier && sold.version == change.plan_version
            })
    })
}

/// The prices of the new plan.
fn wanted(change: &PlanChange) -> impl Iterator<Item = &str> {
    [
        Some(&change.base_price_id),
        change.overage_price_id.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(String::as_str)
}

/// Whether an item of that price belongs to a plan of ours; all others stay as they are.
pub(super) fn replaces(change: &PlanChange, price: &str) -> bool {
    change.replaced_price_ids.iter().any(|of| of == price) || wanted(change).any(|of| of == price)
}

/// What has to become of a subscription's items: nothing where they are the new plan's already.
pub(super) fn changed_items<'a>(
    items: impl IntoIterator<Item = &'a Item>,
    change: &PlanChange,
) -> Vec<UpdateSubscriptionItems> {
    let ours = |item: &&Item| item.price_id().is_some_and(|price| replaces(change, price));
    let overage = change.overage_price_id.as_deref();
    let (metered, flat): (Vec<&Item>, Vec<&Item>) = items
        .into_iter()
        .filter(ours)
        .partition(|item| item.is_metered() || item.price_id() == overage);
    let mut changes = replaced(&flat, Some(&change.base_price_id));
    // A plan is sold once; only reported usage makes more of it.
    for change in &mut changes {
        if change.price.is_some() {
            change.quantity = Some(1);
        }
    }
    changes.extend(replaced(&metered, overage));
    changes
}

/// Leaves exactly one item, of the wanted price: one that has it, else the first one with its price changed, else a new one.
fn replaced(items: &[&Item], wanted: Option<&str>) -> Vec<UpdateSubscriptionItems> {
    let kept = match wanted {
        Some(price) => items
            .iter()
            .position(|item| item.price_id() == Some(price))
            .or_else(|| (!items.is_empty()).then_some(0)),
        None => None,
    };
    let mut changes = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let mut change = UpdateSubscriptionItems::new();
        change.id.clone_from(&item.id);
        if Some(position) != kept {
            change.deleted = Some(true);
        } else if item.price_id() != wanted {
            change.price = wanted.map(str::to_owned);
        } else {
            continue;
        }
        changes.push(change);
    }
    if kept.is_none() && wanted.is_some() {
        let mut added = UpdateSubscriptionItems::new();
        added.price = wanted.map(str::to_owned);
        changes.push(added);
    }
    changes
}
