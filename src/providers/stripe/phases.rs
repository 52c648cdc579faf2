//! The two phases of a planned change of plan, as they are asked for.

use stripe_billing::subscription_schedule::{
    UpdateSubscriptionSchedule, UpdateSubscriptionSchedulePhases,
    UpdateSubscriptionSchedulePhasesDiscounts, UpdateSubscriptionSchedulePhasesDuration,
    UpdateSubscriptionSchedulePhasesDurationInterval, UpdateSubscriptionSchedulePhasesEndDate,
    UpdateSubscriptionSchedulePhasesItems, UpdateSubscriptionSchedulePhasesProrationBehavior,
    UpdateSubscriptionSchedulePhasesStartDate, UpdateSubscriptionSchedulePhasesTrialEnd,
    UpdateSubscriptionScheduleProrationBehavior,
};
use stripe_shared::SubscriptionScheduleEndBehavior;

use super::objects::{
    Identified, Item, Phase, PhaseDiscount, PhaseItem, Reference, Schedule, Subscription,
};
use super::plan_change::replaces;
use super::sales::marks;
use super::wire::{Extended, path_id};
use crate::providers::{PlanChange, ProviderError};

/// Asks for the change in a schedule that was just made from the subscription, and so has one phase: the running period.
/// What a phase does not name is lost with it: a trial would end, and a discount that was promised would stop.
pub(super) fn planned_change(
    schedule: &Schedule,
    subscription: &Subscription,
    change: &PlanChange,
) -> Result<Extended<UpdateSubscriptionSchedule>, ProviderError> {
    let running = schedule.phases.last();
    let Some((running, start, end)) =
        running.and_then(|phase| Some((phase, phase.start_date?, phase.end_date?)))
    else {
        return Err(ProviderError::Unreadable {
            reason: "a new subscription schedule without a phase".to_owned(),
        });
    };
    let mut more = Vec::new();
    let same = running.items.iter().map(AskedItem::like).collect();
    let mut until_then = phase(running, same, 0, &mut more);
    until_then.start_date = Some(UpdateSubscriptionSchedulePhasesStartDate::Timestamp(start));
    until_then.end_date = Some(UpdateSubscriptionSchedulePhasesEndDate::Timestamp(end));
    until_then.trial_end = running
        .trial_end
        .map(UpdateSubscriptionSchedulePhasesTrialEnd::Timestamp);
    until_then.metadata = Some(running.metadata.0.clone()).filter(|marks| !marks.is_empty());

    let new = new_items(running, subscription, change);
    let mut from_then = phase(running, new, 1, &mut more);
    from_then.metadata = Some(marks(
        &change.customer_id,
        &change.plan_tier,
        change.plan_version,
    ));
    from_then.duration = Some(one_period(subscription, change));
    from_then.proration_behavior = Some(UpdateSubscriptionSchedulePhasesProrationBehavior::None);

    let request = UpdateSubscriptionSchedule::new(path_id(&schedule.id)?)
        .end_behavior(SubscriptionScheduleEndBehavior::Release)
        .proration_behavior(UpdateSubscriptionScheduleProrationBehavior::None)
        .phases([until_then, from_then]);
    Ok(Extended { request, more })
}

/// What both phases have in common with the running one. The discounts of single items are put down in `more`: in the typed
/// request they lie deeper than its encoder goes, which panics there.
fn phase(
    running: &Phase,
    items: Vec<AskedItem>,
    nth: usize,
    more: &mut Vec<(String, String)>,
) -> UpdateSubscriptionSchedulePhases {
    for (i, item) in items.iter().enumerate() {
        for (d, discount) in item.discounts.iter().enumerate() {
            let (discount, coupon, promotion_code) = discount.asked();
            for (name, value) in [
                ("discount", discount),
                ("coupon", coupon),
                ("promotion_code", promotion_code),
            ] {
                let name = format!("phases[{nth}][items][{i}][discounts][{d}][{name}]");
                more.extend(value.map(|value| (name, value)));
            }
        }
    }
    let items: Vec<_> = items.into_iter().map(|asked| asked.item).collect();
    let mut phase = UpdateSubscriptionSchedulePhases::new(items);
    phase.discounts = some(running.discounts.iter().map(|of| {
        let mut discount = UpdateSubscriptionSchedulePhasesDiscounts::new();
        (discount.discount, discount.coupon, discount.promotion_code) = of.asked();
        discount
    }));
    phase.default_tax_rates = some(running.default_tax_rates.iter().map(id));
    phase
}

/// The running phase's items, those of our plans replaced by the new plan's. The new prices inherit what the former ones
/// had of their own: tax rates, discounts.
fn new_items<'a>(
    running: &'a Phase,
    subscription: &Subscription,
    change: &PlanChange,
) -> Vec<AskedItem<'a>> {
    let (ours, others): (Vec<_>, Vec<_>) = running
        .items
        .iter()
        .partition(|item| item.price_id().is_some_and(|id| replaces(change, id)));
    let metered = |item: &PhaseItem| {
        let of = subscription.items().iter();
        of.filter(|of| of.is_metered())
            .any(|of| of.price_id() == item.price_id())
    };
    let former = |is_metered| ours.iter().find(|item| metered(item) == is_metered);
    let instead_of = |former: Option<&&'a PhaseItem>, price: &str, quantity| {
        let mut asked = former.map_or_else(AskedItem::default, |former| AskedItem::like(former));
        asked.item.price = Some(price.to_owned());
        asked.item.quantity = quantity;
        asked
    };
    let base = instead_of(former(false), &change.base_price_id, Some(1));
    let overage = change.overage_price_id.as_deref();
    let overage = overage.map(|price| instead_of(former(true), price, None));
    let kept = others.into_iter().map(AskedItem::like);
    [base].into_iter().chain(overage).chain(kept).collect()
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

/// An item to be asked for.
#[derive(Default)]
struct AskedItem<'a> {
    item: UpdateSubscriptionSchedulePhasesItems,
    discounts: &'a [PhaseDiscount],
}

impl<'a> AskedItem<'a> {
    /// As it is.
    fn like(item: &'a PhaseItem) -> Self {
        let mut asked = UpdateSubscriptionSchedulePhasesItems::new();
        asked.price = item.price_id().map(str::to_owned);
        asked.quantity = item.quantity;
        asked.tax_rates = some(item.tax_rates.iter().map(id));
        Self {
            item: asked,
            discounts: &item.discounts,
        }
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
