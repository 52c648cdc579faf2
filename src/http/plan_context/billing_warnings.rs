//! What a customer should be told of the subscription before it costs them their plan.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Warning, WarningKind};
use crate::domain::money::Currency;
use crate::domain::standing::Standing;
use crate::domain::subscription::{Access, Subscription, SubscriptionStatus};
use crate::store::overage_invoices::Invoice;

/// How long before its end a trial's end is told of. Stripe's own event of it comes at the same time.
const TRIAL_ENDS_SOON: TimeDelta = TimeDelta::days(3);

/// What is to be told at `now`; `subscription` is the one that counts in `standing`.
pub(super) fn billing_warnings(
    subscription: Option<&Subscription>,
    standing: &Standing,
    now: DateTime<Utc>,
) -> Vec<Warning> {
    use SubscriptionStatus as S;
    let mut warnings = Vec::new();
    let mut warn = |kind, message| {
        warnings.push(Warning {
            kind,
            feature: None,
            level: None,
            message,
            url: None,
        });
    };
    let Some(subscription) = subscription else {
        return warnings;
    };
    let grace_ends = standing.grace.as_ref().map(|grace| grace.ends_at);
    match (subscription.status, grace_ends) {
        (S::PastDue | S::Unpaid, Some(end)) => warn(
            WarningKind::PaymentFailed,
            format!(
                "A payment failed. What your plan allows stays until {}.",
                day(end)
            ),
        ),
        (S::PastDue | S::Unpaid, None) => warn(
            WarningKind::PaymentFailed,
            "A payment failed. Pay what is due to have your plan back.".to_owned(),
        ),
        (S::Incomplete, _) => warn(
            WarningKind::PaymentFailed,
            "The first payment has not gone through yet.".to_owned(),
        ),
        (S::Paused, _) => warn(
            WarningKind::Paused,
            "Your subscription is paused.".to_owned(),
        ),
        (_, Some(end)) => warn(
            WarningKind::Grace,
            format!("What your former plan allowed stays until {}.", day(end)),
        ),
        (_, None) => {}
    }
    let serves = matches!(subscription.status, S::Trialing | S::Active | S::Canceled)
        && subscription.access(now) == Access::Live;
    if let Some(end) = subscription
        .access_ends_at
        .filter(|end| serves && now < *end)
    {
        warn(
            WarningKind::Ends,
            format!("Your subscription ends on {}.", day(end)),
        );
    } else if let Some(end) = subscription.trial_end.filter(|end| {
        subscription.status == S::Trialing && now < *end && *end - now <= TRIAL_ENDS_SOON
    }) {
        warn(
            WarningKind::TrialEnds,
            format!(
                "Your trial ends on {}; the first payment is taken then.",
                day(end)
            ),
        );
    }
    warnings
}

/// What is to be paid for usage above limits, each with the link where that is done.
pub(super) fn overage_warnings(payable: &[Invoice]) -> impl Iterator<Item = Warning> + use<'_> {
    payable.iter().filter_map(|invoice| {
        let currency = Currency::parse(&invoice.currency).ok()?;
        let url = invoice.url.as_ref()?;
        let message = format!(
            "{} is due for usage above your plan's limit.",
            currency.shown(invoice.amount)
        );
        Some(Warning {
            kind: WarningKind::OverageDue,
            feature: None,
            level: None,
            message,
            url: Some(url.clone()),
        })
    })
}

/// The day for people, in UTC.
fn day(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%d").to_string()
}
