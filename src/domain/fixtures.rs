//! What the tests of several rules start from.

use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::catalogue::{Catalogue, Feature, Grant, Overage, OveragePrice, Plan};
use super::money::{Currency, UnitAmount};
use super::plans::{PlanVersion, Plans};
use super::provider_event::ProviderName;
use super::standing::{Anchoring, Standing};
use super::subscription::{Grace, PlanRef, Report, Subscription, SubscriptionStatus};

pub(super) const GRACE_DAYS: u32 = 7;

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The instant `hours` after the start of 2026.
pub(super) fn hour(hours: i64) -> DateTime<Utc> {
    at("2026-01-01T00:00:00Z") + TimeDelta::hours(hours)
}

/// The instant `days` after the start of 2026.
pub(super) fn day(days: i64) -> DateTime<Utc> {
    hour(24 * days)
}

/// The first version of a tier with these features.
pub(super) fn plan(tier: &str, features: &[(&str, Grant)]) -> Arc<PlanVersion> {
    let features = features.iter().map(|(key, grant)| Feature {
        key: (*key).to_owned(),
        name: (*key).to_owned(),
        grant: grant.clone(),
    });
    Arc::new(PlanVersion {
        version: 1,
        plan: Plan {
            tier: tier.to_owned(),
            name: tier.to_owned(),
            description: String::new(),
            badge: None,
            prices: Vec::new(),
            features: features.collect(),
            upgrade_to: None,
            trial_days: None,
            promotion_codes: false,
        },
    })
}

pub(super) fn metered(limit: Option<i64>, hard_limit_percent: u32) -> Grant {
    Grant::Metered {
        limit,
        hard_limit_percent: Some(hard_limit_percent),
        overage: None,
    }
}

/// Metered with each unit above the limit at half a cent.
pub(super) fn billed(limit: i64, max_quantity: Option<i64>) -> Grant {
    let price = OveragePrice {
        currency: Currency::parse("usd").unwrap(),
        unit_amount_decimal: UnitAmount::parse("0.5").unwrap(),
    };
    Grant::Metered {
        limit: Some(limit),
        hard_limit_percent: None,
        overage: Some(Overage {
            max_quantity,
            prices: vec![price],
        }),
    }
}

pub(super) fn plans_of(current: Vec<Arc<PlanVersion>>, newcomer: Option<&str>) -> Plans {
    let default = current[0].plan.tier.clone();
    Plans::new(current, default, newcomer.map(str::to_owned), GRACE_DAYS, 3)
}

/// The plans that come with the binary: free, pro, scale.
pub(super) fn plans() -> Plans {
    static PLANS: LazyLock<Plans> = LazyLock::new(|| {
        let tiers = Catalogue::embedded().unwrap().tiers;
        let current = tiers.iter().map(|plan| {
            Arc::new(PlanVersion {
                version: 1,
                plan: Plan::clone(plan),
            })
        });
        plans_of(current.collect(), None)
    });
    PLANS.clone()
}

pub(super) fn first(tier: &str) -> PlanRef {
    PlanRef {
        tier: tier.to_owned(),
        version: 1,
    }
}

/// A customer on `tier`, with the former plan that still allows something.
pub(super) fn standing_on(plans: &Plans, tier: &str, former: Option<&str>) -> Standing {
    let subscription = Subscription {
        grace: former.map(|tier| Grace {
            plan: first(tier),
            ends_at: day(7),
        }),
        ..subscription(SubscriptionStatus::Active, tier)
    };
    Standing::at(day(0), &[subscription], Anchoring::default(), plans).unwrap()
}

/// A subscription of January, in the status.
pub(super) fn subscription(status: SubscriptionStatus, tier: &str) -> Subscription {
    Subscription {
        id: Uuid::nil(),
        provider: ProviderName::Stripe,
        provider_subscription_id: "sub_1".to_owned(),
        status,
        plan: first(tier),
        unit_amount: None,
        currency: None,
        anchor: day(0),
        current_period_start: Some(day(0)),
        current_period_end: Some(day(31)),
        cancel_at_period_end: false,
        access_ends_at: None,
        ended_at: None,
        trial_end: None,
        planned: None,
        grace: None,
        lapsed: false,
        started_at: day(0),
    }
}

/// A report of that subscription, in the status.
pub(super) fn report(status: SubscriptionStatus, tier: &str) -> Report {
    Report {
        status,
        plan: first(tier),
        anchor: day(0),
        current_period_start: Some(day(0)),
        current_period_end: Some(day(31)),
        cancel_at_period_end: false,
        cancel_at: None,
        ended_at: None,
        paid_until: None,
        was_paid: false,
        unpaid_since: None,
        trial_end: None,
        planned: None,
        end_with_grace: true,
    }
}
