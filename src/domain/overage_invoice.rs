//! Overage that is billed by ourselves, because the provider has no meters: by which price, how much in all, in which words.
//!
//! Pure figures: quantities times unit prices are added up exactly, and only the sum is rounded, down. Corrections are negative
//! quantities and net with the rest.

use chrono::{DateTime, Utc};

use super::catalogue::{Feature, Plan};
use super::money::{AmountDecimal, AmountOverflow, Currency, UnitAmount};
use super::period::Period;
use super::plans::Plans;
use super::subscription::{PlanRef, Subscription, SubscriptionStatus};

/// Characters that a description may have; providers take 2048.
const LONGEST_DESCRIPTION: usize = 1900;

/// Under which plan a counter's overage is billed.
#[derive(Debug, Clone, Copy)]
pub struct Tariff<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its feature that is billed above the limit.
    pub feature: &'a Feature,
    /// What each unit costs.
    pub unit_amount: UnitAmount,
}

/// Why overage cannot be billed; each needs a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbillable {
    /// No subscription's plan bills it.
    #[error("no subscription's plan bills this feature above a limit")]
    NoPlan,
    /// The plan was sold without a price in the currency, and has none now.
    #[error("version {} of plan {} has no overage price in {currency}", plan.version, plan.tier)]
    NoPrice {
        /// The plan.
        plan: PlanRef,
        /// The currency.
        currency: Currency,
    },
    /// The sum cannot be held.
    #[error(transparent)]
    TooLarge(#[from] AmountOverflow),
}

/// By which of the customer's subscriptions at the provider the overage of a period is billed, and at what price. A subscription is on one
/// plan for life where changing it makes a new one, so its plan now is the one that it had.
pub fn tariff<'a>(
    subscriptions: &[Subscription],
    plans: &'a Plans,
    metric: &str,
    period: Period,
    currency: Currency,
) -> Result<Tariff<'a>, Unbillable> {
    let found = subscriptions
        .iter()
        .filter(|subscription| {
            // Nothing was ever paid for these, so nothing was allowed above a limit.
            !matches!(
                subscription.status,
                SubscriptionStatus::Incomplete | SubscriptionStatus::IncompleteExpired
            )
        })
        .filter_map(|subscription| {
            let sold = plans.sold(&subscription.plan)?;
            let feature = sold.feature(metric)?;
            let overage = feature.grant.overage()?;
            Some((subscription, sold, feature, overage))
        })
        .max_by_key(|(subscription, ..)| fitness(subscription, period));
    let (subscription, sold, feature, overage) = found.ok_or(Unbillable::NoPlan)?;
    // A version that was sold without a price in the currency never named another one: what the tier's current one says is the first word.
    let current = || {
        let current = plans.of_tier(&subscription.plan.tier)?;
        current.feature(metric)?.grant.overage()
    };
    let price = overage
        .price_in(currency)
        .or_else(|| current()?.price_in(currency));
    let price = price.ok_or_else(|| Unbillable::NoPrice {
        plan: subscription.plan.clone(),
        currency,
    })?;
    Ok(Tariff {
        plan: &sold.plan,
        feature,
        unit_amount: price.unit_amount_decimal,
    })
}

/// How well a subscription fits a period, the best last: it was there during the period, and when that began, and steps through its
/// own months as the period does; then the latest. One that takes another's place in mid-period begins a period of its own.
fn fitness(subscription: &Subscription, period: Period) -> (bool, bool, bool, DateTime<Utc>) {
    let ends = subscription.ended_at.map(|ended| {
        let paid_until = subscription
            .access_ends_at
            .max(subscription.current_period_end);
        paid_until.map_or(ended, |until| until.max(ended))
    });
    let overlaps =
        subscription.started_at < period.end && ends.is_none_or(|end| period.start < end);
    let in_step =
        Period::containing(period.start, Some(subscription.anchor), None).start == period.start;
    (
        overlaps,
        subscription.started_at <= period.start,
        in_step,
        subscription.started_at,
    )
}

/// What all of it comes to, in whole minor units.
pub fn sum(quantities: impl IntoIterator<Item = (i64, UnitAmount)>) -> Result<i64, AmountOverflow> {
    quantities
        .into_iter()
        .try_fold(AmountDecimal::ZERO, |sum, (quantity, unit_amount)| {
            sum.plus(unit_amount.times(quantity)?)
        })?
        .floor()
}

/// One counter's part of an invoice, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The feature's name.
    pub feature: String,
    /// The plan's name.
    pub plan: String,
    /// Units; negative for what a correction gives back.
    pub quantity: i64,
    /// The period that they were used in.
    pub period: Period,
}

/// What an invoice is for, as the customer reads it: lines beyond what a provider takes are only counted.
pub fn description(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut plan: Option<(&str, &str)> = None;
    for (index, line) in lines.iter().enumerate() {
        let units = grouped(line.quantity);
        let day = |instant: DateTime<Utc>| instant.format("%Y-%m-%d").to_string();
        let part = format!(
            "{units} in {} – {}",
            day(line.period.start),
            day(line.period.end)
        );
        let of = (line.feature.as_str(), line.plan.as_str());
        let part = match plan {
            Some(before) if before == of => format!(", {part}"),
            before => format!(
                "{}{} above the {} plan's limit: {part}",
                if before.is_some() { "; " } else { "" },
                line.feature,
                line.plan
            ),
        };
        if text.chars().count() + part.chars().count() > LONGEST_DESCRIPTION {
            let left = lines.len() - index;
            return format!("{text}; and {left} more");
        }
        text.push_str(&part);
        plan = Some(of);
    }
    text
}

/// A number in groups of three digits.
fn grouped(quantity: i64) -> String {
    let digits = quantity.unsigned_abs().to_string();
    let mut text = String::new();
    if quantity < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
