//! Applying what a provider or an operator reports of a subscription: one transaction, with the customer locked.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::domain::period::Period;
use crate::domain::plans::Plans;
use crate::domain::provider_event::ProviderName;
use crate::domain::standing::{Anchoring, Standing};
use crate::domain::subscription::{Report, Subscription, SubscriptionStatus};
use crate::store::subscriptions::Cause;
use crate::store::{checkout_sessions, counters, customers, subscriptions};

/// A subscription as it is reported for the first time: nothing is known to have been paid yet.
pub fn first_seen(
    provider: ProviderName,
    provider_subscription_id: &str,
    report: &Report,
    started_at: DateTime<Utc>,
) -> Subscription {
    Subscription {
        id: Uuid::now_v7(),
        provider,
        provider_subscription_id: provider_subscription_id.to_owned(),
        status: SubscriptionStatus::Incomplete,
        plan: report.plan.clone(),
        unit_amount: None,
        currency: None,
        anchor: report.anchor,
        current_period_start: None,
        current_period_end: None,
        cancel_at_period_end: false,
        access_ends_at: None,
        ended_at: None,
        trial_end: None,
        planned: None,
        grace: None,
        lapsed: false,
        started_at,
    }
}

/// Why, when and under which lease a report is written.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// The fencing number of the lease.
    pub fence: i64,
    /// Who reported it.
    pub cause: Cause<'a>,
    /// When it became known.
    pub now: DateTime<Utc>,
}

/// Writes a report about one of the customer's subscriptions, and everything that follows from it: the transition, the end of
/// other subscriptions' graces, and the usage period's new anchor. A stale report changes nothing. The caller's transaction
/// must hold the customer's lock; `base` is the subscription as stored, or as [`first_seen`].
pub fn apply_report(
    conn: &mut PgConnection,
    plans: &Plans,
    customer: &str,
    remembered: Anchoring,
    base: &Subscription,
    report: Report,
    occasion: Occasion<'_>,
) -> QueryResult<Subscription> {
    let Occasion { fence, cause, now } = occasion;
    let mut all = subscriptions::of_customer(conn, customer)?;
    let stored = all
        .iter()
        .position(|subscription| subscription.id == base.id);
    let lowers = plans.lowers(&base.plan, &report.plan);
    let Some(change) = base.apply(report, lowers, now, plans.grace_days) else {
        return Ok(base.clone());
    };
    let unreadable = |error: crate::domain::standing::UnknownPlan| {
        diesel::result::Error::DeserializationError(error.into())
    };
    let before = Standing::at(now, &all, remembered, plans).map_err(unreadable)?;

    if change.newly_active {
        let replaced = replaced_by(conn, &change.after)?;
        for other in all.iter_mut().filter(|other| other.id != base.id) {
            // To take another one's place is a change of plan, and one to a lower plan leaves a grace.
            let is_replaced = other.provider == change.after.provider
                && replaced.as_ref() == Some(&other.provider_subscription_id);
            if is_replaced && plans.lowers(&other.plan, &change.after.plan) {
                continue;
            }
            if let Some(superseded) = other.superseded(now, plans.grace_days) {
                *other = superseded;
                subscriptions::save(conn, customer, other, fence, now)?;
            }
        }
    }
    subscriptions::save(conn, customer, &change.after, fence, now)?;
    let known = stored.is_some().then_some(base);
    if known.is_none_or(|base| base.status != change.after.status || base.plan != change.after.plan)
    {
        subscriptions::record_transition(conn, customer, known, &change.after, cause, now)?;
    }
    match stored.and_then(|index| all.get_mut(index)) {
        Some(slot) => *slot = change.after.clone(),
        None => all.push(change.after.clone()),
    }

    let settled = Anchoring {
        settled: Some(now),
        ..before.anchoring
    };
    let after = Standing::at(now, &all, settled, plans).map_err(unreadable)?;
    let anchoring = if after.anchoring.anchor == settled.anchor {
        settled
    } else {
        // A purchase opens its period where it says, in the period that runs, not when its webhook arrives: also where it is heard
        // of so late that a month has passed, or that it is over.
        let first_heard_of = change.newly_active || stored.is_none();
        let bought = first_heard_of && after.anchoring.anchor == Some(change.after.anchor);
        let begins = Some(Period::containing(now, Some(change.after.anchor), None).start)
            .filter(|begins| bought && before.period.start < *begins && *begins <= now);
        Anchoring {
            since: begins.or(Some(now)),
            ..after.anchoring
        }
    };
    if anchoring != remembered {
        customers::remember_anchoring(conn, customer, anchoring)?;
        if let Some(since) = anchoring.since {
            counters::close_running(conn, customer, since)?;
        }
    }
    Ok(change.after)
}

/// The subscription in whose place this one was sold, by the provider's id.
fn replaced_by(conn: &mut PgConnection, sold: &Subscription) -> QueryResult<Option<String>> {
    let id = &sold.provider_subscription_id;
    let attempt = checkout_sessions::attempt_of_session(conn, sold.provider, id)?;
    Ok(attempt.and_then(|attempt| attempt.replaces))
}
