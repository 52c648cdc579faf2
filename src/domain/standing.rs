//! Where a customer stands at an instant: the plan in force, the grace that runs, and the anchor of the usage period.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::period::Period;
use super::plans::{PlanVersion, Plans};
use super::provider_event::ProviderName;
use super::subscription::{Access, PlanRef, Subscription, SubscriptionStatus};

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
        let live = subscriptions
            .iter()
            .enumerate()
            .filter(|(_, subscription)| subscription.access(now, plans.grace_days) == Access::Live)
            .max_by(|(_, a), (_, b)| {
                let preference = |s: &Subscription| {
                    (
                        plans.rank(&s.plan),
                        s.provider != ProviderName::Manual,
                        std::cmp::Reverse(s.started_at),
                    )
                };
                preference(a).cmp(&preference(b))
            });
        let floor = live.map_or(0, |(_, subscription)| plans.rank(&subscription.plan));
        let grace = subscriptions
            .iter()
            .enumerate()
            .filter_map(|(index, subscription)| {
                Some((index, subscription.grace_at(now, plans.grace_days)?))
            })
            .filter(|(_, grace)| now < grace.ends_at && plans.rank(&grace.plan) >= floor)
            .max_by_key(|(_, grace)| (plans.rank(&grace.plan), grace.ends_at));
        let latest = subscriptions
            .iter()
            .enumerate()
            .max_by_key(|(_, subscription)| subscription.started_at);

        let ever_paid = subscriptions
            .iter()
            .any(|s| s.access(now, plans.grace_days) != Access::Never);
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
        let (plan, source, counting, anchor) = match (&live, &grace) {
            (Some((index, live)), _) => (
                version(&live.plan)?,
                PlanSource::Subscription,
                Some(*index),
                Some(live.anchor),
            ),
            (None, Some((index, _))) => {
                let anchor = subscriptions.get(*index).map(|former| former.anchor);
                (fallback()?, PlanSource::Grace, Some(*index), anchor)
            }
            (None, None) => (
                fallback()?,
                PlanSource::Default,
                latest.map(|(index, _)| index),
                None,
            ),
        };
        let grace = match grace {
            Some((_, grace)) => Some(RunningGrace {
                plan: version(&grace.plan)?,
                ends_at: grace.ends_at,
            }),
            None => None,
        };
        let anchoring = anchoring(
            now,
            anchor,
            live.is_some(),
            remembered,
            subscriptions,
            plans.grace_days,
        );
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

/// When the anchor in force took over. Where the clock alone changed it (an access or a grace ran out), that instant is the
/// latest such end; where a report did, the transaction that stored it remembers the instant.
fn anchoring(
    now: DateTime<Utc>,
    anchor: Option<DateTime<Utc>>,
    subscribed: bool,
    remembered: Anchoring,
    subscriptions: &[Subscription],
    grace_days: u32,
) -> Anchoring {
    if anchor == remembered.anchor {
        return remembered;
    }
    let since = subscriptions
        .iter()
        .filter_map(|subscription| match subscription.access(now, grace_days) {
            // A grace keeps the former anchor, unless another subscription took its place at once.
            Access::Lapsed { ended, grace_ends } if !subscribed => {
                Some(grace_ends.unwrap_or(ended))
            }
            Access::Lapsed { ended, .. } => Some(ended),
            Access::Live | Access::Never => None,
        })
        .filter(|end| *end <= now)
        .chain(remembered.since)
        .max();
    Anchoring { anchor, since }
}
