//! A subscription, what it gives access to at an instant, and how it changes when its provider says something new.

mod report;

use chrono::{DateTime, Days, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::provider_event::ProviderName;

pub use report::{Change, Report};

/// One sold version of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlanRef {
    /// Tier key, as in the catalogue.
    pub tier: String,
    /// Version of that tier's content, from 1.
    pub version: i32,
}

/// Where a subscription stands, in Stripe's vocabulary plus `expired` (ran its course).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// A payment failed and is being retried.
    PastDue,
    /// The first payment has not succeeded yet.
    Incomplete,
    /// The first payment never succeeded.
    IncompleteExpired,
    /// Retries are exhausted.
    Unpaid,
    /// Ended before its course was run.
    Canceled,
    /// Paused, or its collection is.
    Paused,
    /// Ran its course.
    Expired,
}

impl SubscriptionStatus {
    /// Every status, for exhaustive tests and parsing.
    pub const ALL: [Self; 9] = [
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Unpaid,
        Self::Canceled,
        Self::Paused,
        Self::Expired,
    ];

    /// The name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Unpaid => "unpaid",
            Self::Canceled => "canceled",
            Self::Paused => "paused",
            Self::Expired => "expired",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Final at the provider: a later report of anything else is stale and is not believed.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Canceled | Self::IncompleteExpired | Self::Expired
        )
    }

    /// Whether the provider still considers the customer a subscriber who owes or pays (blocks a second checkout).
    pub const fn is_open(self) -> bool {
        !self.is_terminal()
    }
}

/// What a lapsed or lowered subscription's former plan still allows, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grace {
    /// The former plan.
    pub plan: PlanRef,
    /// First instant at which it allows nothing more.
    pub ends_at: DateTime<Utc>,
}

/// A change of plan that is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    /// The plan to come.
    pub plan: PlanRef,
    /// From when on.
    pub at: DateTime<Utc>,
}

/// A subscription as stored: what its provider (or an operator) last said, and the grace that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Our id.
    pub id: Uuid,
    /// Who bills it.
    pub provider: ProviderName,
    /// The provider's id.
    pub provider_subscription_id: String,
    /// Status last reported.
    pub status: SubscriptionStatus,
    /// The plan version it was sold.
    pub plan: PlanRef,
    /// Price for each interval in minor units where it differs from the plan's own.
    pub unit_amount: Option<i64>,
    /// ISO 4217, lowercase, of `unit_amount`.
    pub currency: Option<String>,
    /// Usage periods are monthly steps from here.
    pub anchor: DateTime<Utc>,
    /// Start of the provider's billing period.
    pub current_period_start: Option<DateTime<Utc>>,
    /// End of the provider's billing period.
    pub current_period_end: Option<DateTime<Utc>>,
    /// Cancelled, but paid until the period's end.
    pub cancel_at_period_end: bool,
    /// When paid access is known to end.
    pub access_ends_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// End of the trial.
    pub trial_end: Option<DateTime<Utc>>,
    /// The change of plan that is planned.
    pub planned: Option<PlannedChange>,
    /// The grace started by a failed payment, an end or a downgrade.
    pub grace: Option<Grace>,
    /// A lapse has begun and has had, or has forfeited, its one grace.
    pub lapsed: bool,
    /// When it came to be.
    pub started_at: DateTime<Utc>,
}

/// What a subscription is good for at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its plan is in force.
    Live,
    /// It once was; its plan may still have a grace.
    Lapsed,
    /// Nothing was ever paid.
    Never,
}

impl Subscription {
    /// The table "Plan in force" of PRODUCT section 2, for one subscription.
    pub fn access(&self, now: DateTime<Utc>) -> Access {
        let scheduled_end = self.access_ends_at.filter(|end| *end <= now);
        match self.status {
            SubscriptionStatus::Incomplete | SubscriptionStatus::IncompleteExpired => Access::Never,
            SubscriptionStatus::Trialing | SubscriptionStatus::Active => match scheduled_end {
                Some(_) => Access::Lapsed,
                None => Access::Live,
            },
            SubscriptionStatus::PastDue => {
                let grace_runs = self.grace.as_ref().is_some_and(|grace| now < grace.ends_at);
                if grace_runs && scheduled_end.is_none() {
                    Access::Live
                } else {
                    Access::Lapsed
                }
            }
            SubscriptionStatus::Expired => match self.current_period_end {
                // A lapse before the end left nothing paid to run its course.
                Some(end) if now < end && !self.lapsed => Access::Live,
                _ => Access::Lapsed,
            },
            // Only what is paid for beyond the end leaves a cancelled one without a lapse.
            SubscriptionStatus::Canceled => match self.access_ends_at {
                Some(end) if now < end && !self.lapsed => Access::Live,
                _ => Access::Lapsed,
            },
            SubscriptionStatus::Unpaid | SubscriptionStatus::Paused => Access::Lapsed,
        }
    }

    /// The instants, in no order, at which the clock alone may change what the subscription is good for.
    pub fn turns(&self, grace_days: u32) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let grace_ends = self.grace.as_ref().map(|grace| grace.ends_at);
        [self.access_ends_at, self.current_period_end]
            .into_iter()
            .flatten()
            .flat_map(move |end| [end, after_days(end, grace_days)])
            .chain(grace_ends)
    }

    /// The grace that this subscription has, running or over: the stored one, or the one that a known end of paid access
    /// starts by the clock alone.
    pub fn grace_at(&self, now: DateTime<Utc>, grace_days: u32) -> Option<Grace> {
        // A failed payment or a lapse has settled the grace: a later end never extends or reopens it.
        if self.lapsed {
            return self.grace.clone();
        }
        let paid_until = match self.status {
            SubscriptionStatus::Expired => self.current_period_end,
            SubscriptionStatus::Trialing
            | SubscriptionStatus::Active
            | SubscriptionStatus::PastDue
            | SubscriptionStatus::Canceled => self.access_ends_at,
            _ => None,
        };
        match paid_until {
            Some(end) if end <= now => Some(Grace {
                plan: self.plan.clone(),
                ends_at: after_days(end, grace_days),
            }),
            _ => self.grace.clone(),
        }
    }
}

impl Subscription {
    /// The same without the grace that runs, because another subscription of the customer is newly active; `None` where that
    /// takes nothing. What is live keeps its right to a grace later on, and while it is past due its plan rests on the grace.
    pub fn superseded(&self, now: DateTime<Utc>, grace_days: u32) -> Option<Self> {
        let live = self.access(now) == Access::Live;
        let runs = self
            .grace_at(now, grace_days)
            .is_some_and(|grace| now < grace.ends_at);
        if !runs || (live && self.status == SubscriptionStatus::PastDue) {
            return None;
        }
        Some(Self {
            grace: None,
            lapsed: self.lapsed || !live,
            ..self.clone()
        })
    }
}

fn after_days(instant: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    instant
        .checked_add_days(Days::new(u64::from(days)))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
