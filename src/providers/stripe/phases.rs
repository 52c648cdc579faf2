//! The two phases of a planned change of plan, as they are asked for.

use stripe_billing::subscription_schedule::{
    UpdateSubscriptionSchedule, UpdateSubscriptionSchedulePhases,
    UpdateSubscriptionSchedulePhasesDiscounts, UpdateSubscriptionSchedulePhasesDuration,
    UpdateSubscriptionSchedulePhasesDurationInterval, UpdateSubscriptionSchedulePhasesEndDate,
    UpdateSubscriptionSchedulePhasesItems, UpdateSubscriptionSchedulePhasesItemsDiscounts,
    UpdateSubscriptionSchedulePhasesProrationBehavior, UpdateSubscriptionSchedulePhasesStartDate,
    UpdateSubscriptionSchedulePhasesTrialEnd, UpdateSubscriptionScheduleProrationBehavior,
};
use stripe_shared::SubscriptionScheduleEndBehavior;

use super::objects::{
    Identified, Item, Phase, PhaseDiscount, PhaseItem, Reference, Schedule, Subscription,
};
use super::plan_change::replaces;
use super::sales::marks;
use super::wire::path_id;
use crate::providers::{PlanChange, ProviderError};

/// Asks for the change in a schedule that was just made from the subscription, and so has one phase: the running period.
/// What a phase does not name is lost with it: a trial would end, and a discount that was promised would stop.
pub(super) fn planned_change(
    schedule: &Schedule,
    subscription: &Subscription,
    change: &PlanChange,
) -> Result<UpdateSubscriptionSchedule, ProviderError> {
    let running = schedule.phases.last();
    let Some((running, start, end)) =
        running.and_then(|phase| Some((phase, phase.start_date?, phase.end_date?)))
    else {
        return Err(ProviderError::Unreadable {
            reason: "a new subscription schedule without a phase".to_owned(),
        });
    };
    let mut until_then = phase(
        running,
        running.items.iter().map(PhaseItem::asked).collect(),
    );
    until_then.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(start));
    until_then.end_date = Some(UpdateSubscriptionSchedulePhasesEndDate::Timestamp(end));
    until_then.trial_end = running
        .trial_end
        .map(UpdateSubscriptionSchedulePhasesTrialEnd::Timestamp);
    until_then.metadata = Some(running.metadata.0.clone()).filter(|marks| !marks.is_empty());

    let mut from_then = phase(running, new_items(running, subscription, change));
    from_then.metadata = Some(marks(
        &change.customer_id,
        &change.plan_tier,
        change.plan_version,
    ));
    from_then.duration = Some(one_period(subscription, change));
    from_then.proration_behavior = Some(UpdateSubscriptionSchedulePhasesProrationBehavior::None);

    Ok(UpdateSubscriptionSchedule::new(path_id(&schedule.id)?)
        .end_behavior(SubscriptionScheduleEndBehavior::Release)
        .proration_behavior(UpdateSubscriptionScheduleProrationBehavior::None)
        .phases([until_then, from_then]))
}

/// What both phases have in common with the running one.
fn phase(
    running: &Phase,
    items: Vec<UpdateSubscriptionSchedulePhasesItems>,
) -> UpdateSubscriptionSchedulePhases {
    let mut phase = UpdateSubscriptionSchedulePhases::new(items);
    phase.discounts = some(running.discounts.iter().map(|of| {
        let mut discount = UpdateSubscriptionSchedulePhasesDiscounts::new();
        (discount.discount, discount.coupon, discount.promotion_code) = of.asked();
        discount
    }));
    phase.default_tax_rates = some(running.default_tax_rates.iter().map(id));
    phase
}

/// The running phase's items, those of our plans replaced by the new plan's. The new base price inherits what the former
/// one had of its own: tax rates, discounts.
fn new_items(
    running: &Phase,
    subscription: &Subscription,
    change: &PlanChange,
) -> Vec<UpdateSubscriptionSchedulePhasesItems> {
    let (ours, others): (Vec<_>, Vec<_>) = running
        .items
        .iter()
        .partition(|item| item.price_id().is_some_and(|id| replaces(change, id)));
    let is_metered = |item: &&&PhaseItem| {
        subscription
            .items()
            .iter()
            .any(|of| of.price_id() == item.price_id() && of.is_metered())
    };
    let mut base = ours
        .iter()
        .find(|item| !is_metered(item))
        .map_or_else(UpdateSubscriptionSchedulePhasesItems::new, |item| {
            item.asked()
        });
    base.price = Some(change.base_price_id.clone());
    base.quantity = Some(1);
    let mut items = vec![base];
    if let Some(price) = &change.overage_price_id {
        let mut overage = ours
            .iter()
            .find(|item| is_metered(item))
            .map_or_else(UpdateSubscriptionSchedulePhasesItems::new, |item| {
                item.asked()
            });
        overage.price = Some(price.clone());
        items.push(overage);
    }
    items.extend(others.into_iter().map(PhaseItem::asked));
    items
}

/// As long as the subscription's own period. The phase only has to begin: after it the subscription stays as it then is.
fn one_period(
    subscription: &Subscription,
    change: &PlanChange,
) -> UpdateSubscriptionSchedulePhasesDuration {
    use UpdateSubscriptionSchedulePhasesDurationInterval as Interval;
    let of_ours = subscription
        .items()
        .iter()
        .filter(|item| item.price_id().is_some_and(|id| replaces(change, id)))
        .find_map(Item::interval);
    let (interval, count) = of_ours.unwrap_or(("month", 1));
    let mut period = UpdateSubscriptionSchedulePhasesDuration::new(match interval {
        "day" => Interval::Day,
        "week" => Interval::Week,
        "year" => Interval::Year,
        _ => Interval::Month,
    });
    period.interval_count = Some(u64::from(count));
    period
}

impl PhaseItem {
    /// The item as it is, to be asked for again.
    fn asked(&self) -> UpdateSubscriptionSchedulePhasesItems {
        let mut item = UpdateSubscriptionSchedulePhasesItems::new();
        item.price = self.price_id().map(str::to_owned);
        item.quantity = self.quantity;
        item.tax_rates = some(self.tax_rates.iter().map(id));
        item.discounts = some(self.discounts.iter().map(|of| {
            let mut discount = UpdateSubscriptionSchedulePhasesItemsDiscounts::new();
            (discount.discount, discount.coupon, discount.promotion_code) = of.asked();
            discount
        }));
        item
    }
}

type DiscountNames = (Option<String>, Option<String>, Option<String>);

impl PhaseDiscount {
    /// The running discount, the coupon, the promotion code: the first of them that there is.
    fn asked(&self) -> DiscountNames {
        match (&self.discount, &self.promotion_code, &self.coupon) {
            (Some(discount), _, _) => (Some(id(discount)), None, None),
            (None, Some(code), _) => (None, None, Some(id(code))),
            (None, None, coupon) => (None, coupon.as_ref().map(id), None),
        }
    }
}

fn id(reference: &Reference<Identified>) -> String {
    reference.id().to_owned()
}

/// An empty list sent says something else than none.
fn some<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}
