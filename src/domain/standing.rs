//! Where a customer stands at an instant: the plan in force, the grace that runs, and the anchor of the usage period.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::period::Period;
use super::plans::{PlanVersion, Plans};
use super::provider_event::ProviderName;
use super::subscription::{Access, Grace, PlanRef, Subscription, SubscriptionStatus};

/// Why a plan is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// A subscription gives it.
    Subscription,
    /// It is the default tier while a grace runs.
    Grace,
    /// It is the tier of those without a subscription.
    Default,
}

/// The anchor a customer's row remembers: where the periods step from and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anchoring {
    /// Monthly steps from here; `None`: calendar months.
    pub anchor: Option<DateTime<Utc>>,
    /// When this anchor took over; `None`: it always was.
    pub since: Option<DateTime<Utc>>,
    /// When a report was last applied: what the clock did until then was judged by what was known then, and stays.
    pub settled: Option<DateTime<Utc>>,
}

/// A former plan that still allows something.
#[derive(Debug, Clone)]
pub struct RunningGrace {
    /// The former plan.
    pub plan: Arc<PlanVersion>,
    /// First instant at which it allows nothing more.
    pub ends_at: DateTime<Utc>,
}

/// Where a customer stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The plan in force.
    pub plan: Arc<PlanVersion>,
    /// Why it is in force.
    pub source: PlanSource,
    /// Status of the subscription that counts: the one in force, else the latest.
    pub status: Option<SubscriptionStatus>,
    /// The grace that runs.
    pub grace: Option<RunningGrace>,
    /// Where usage periods step from.
    pub anchoring: Anchoring,
    /// The usage period of metered features.
    pub period: Period,
    /// Index of the subscription that counts, in the slice that was given.
    pub subscription: Option<usize>,
}

/// A plan version that subscriptions name and this process does not know: it must be read again before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plan {} version {} is not known here", .0.tier, .0.version)]
pub struct UnknownPlan(pub PlanRef);

impl Standing {
    /// Judges the subscriptions of a customer at `now` (PRODUCT section 2: plan in force, grace, several live subscriptions).
    ///
    /// # Errors
    /// [`UnknownPlan`] where a version that counts is missing in `plans`.
    pub fn at(
        now: DateTime<Utc>,
        subscriptions: &[Subscription],
        remembered: Anchoring,
        plans: &Plans,
    ) -> Result<Self, UnknownPlan> {
        let version = |reference: &PlanRef| {
            plans
                .sold(reference)
                .cloned()
                .ok_or_else(|| UnknownPlan(reference.clone()))
        };
        let Counting { live, grace } = Counting::at(now, subscriptions, plans);
        let latest = subscriptions
            .iter()
            .enumerate()
            .max_by_key(|(_, subscription)| subscription.started_at);

        let ever_paid = subscriptions.iter().any(|s| s.access(now) != Access::Never);
        let fallback = || {
            let plan = if ever_paid {
                plans.default_plan()
            } else {
                plans.newcomer_plan()
            };
            plan.cloned().ok_or_else(|| {
                UnknownPlan(PlanRef {
                    tier: plans.default_tier().to_owned(),
                    version: 0,
                })
            })
        };
        let (plan, source, counting) = match (&live, &grace) {
            (Some((index, live)), _) => {
                (version(&live.plan)?, PlanSource::Subscription, Some(*index))
            }
            (None, Some((index, _, _))) => (fallback()?, PlanSource::Grace, Some(*index)),
            (None, None) => (
                fallback()?,
                PlanSource::Default,
                latest.map(|(index, _)| index),
            ),
        };
        let grace = match grace {
            Some((_, _, grace)) => Some(RunningGrace {
                plan: version(&grace.plan)?,
                ends_at: grace.ends_at,
            }),
            None => None,
        };
        let anchoring = anchoring(now, subscriptions, remembered, plans);
        Ok(Self {
            plan,
            source,
            status: counting
                .and_then(|index| subscriptions.get(index))
                .map(|subscription| subscription.status),
            grace,
            anchoring,
            period: Period::containing(now, anchoring.anchor, anchoring.since),
            subscription: counting,
        })
    }
}

/// What counts of a customer's subscriptions at an instant, each with its index.
struct Counting<'a> {
    /// The one whose plan is in force.
    live: Option<(usize, &'a Subscription)>,
    /// The one whose former plan allows most, unless less than what is in force.
    grace: Option<(usize, &'a Subscription, Grace)>,
}

impl<'a> Counting<'a> {
    fn at(instant: DateTime<Utc>, subscriptions: &'a [Subscription], plans: &Plans) -> Self {
        let live = subscriptions
            .iter()
            .enumerate()
            .filter(|(_, s)| s.access(instant) == Access::Live)
            .max_by_key(|(_, s)| {
                (
                    plans.rank(&s.plan),
                    s.provider != ProviderName::Manual,
                    Reverse(s.started_at),
                )
            });
        let floor = live.map_or(0, |(_, subscription)| plans.rank(&subscription.plan));
        let grace = subscriptions
            .iter()
            .enumerate()
            .filter_map(|(index, s)| Some((index, s, s.grace_at(instant, plans.grace_days)?)))
            .filter(|(_, _, grace)| instant < grace.ends_at && plans.rank(&grace.plan) >= floor)
            .max_by_key(|(_, _, grace)| (plans.rank(&grace.plan), grace.ends_at));
        Self { live, grace }
    }

    /// The anchor that follows `running`. While a grace runs there is no other: a new one would begin a second quota.
    fn anchor(&self, running: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        let former = self.grace.as_ref().map(|(_, former, _)| former.anchor);
        if former.is_some() && running.is_some() {
            return running;
        }
        self.live.map_or(former, |(_, live)| Some(live.anchor))
    }
}

/// The anchor in force and since when: what is remembered, and after that the clock's turns one by one. Where a report changed
/// the anchor, the transaction that stores it remembers the instant.
fn anchoring(
    now: DateTime<Utc>,
    subscriptions: &[Subscription],
    remembered: Anchoring,
    plans: &Plans,
) -> Anchoring {
    let mut turns: Vec<_> = subscriptions
        .iter()
        .flat_map(|subscription| subscription.turns(plans.grace_days))
        .filter(|turn| remembered.settled.is_none_or(|settled| settled < *turn) && *turn <= now)
        .collect();
    turns.sort_unstable();
    let at = |instant, running: Anchoring, since| {
        let anchor = Counting::at(instant, subscriptions, plans).anchor(running.anchor);
        if anchor == running.anchor {
            running
        } else {
            Anchoring {
                anchor,
                since,
                ..running
            }
        }
    };
    let turned = turns
        .into_iter()
        .fold(remembered, |running, turn| at(turn, running, Some(turn)));
    at(now, turned, turned.since)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
