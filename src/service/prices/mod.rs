//! What plans cost at the providers: found to be what the catalogue says before anybody is sent to pay, and shown where the catalogue
//! leaves it to the provider.

mod known;
mod verified;

use std::collections::BTreeMap;

pub use known::KnownPrices;
pub(in crate::service) use verified::NotVerified;
pub use verified::VerifiedPrices;

use crate::domain::catalogue::Interval;
use crate::domain::plans::PlanVersion;
use crate::providers::{SoldUnder, UsageBilling};

/// The provider's prices of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PriceIds {
    pub(super) base: String,
    pub(super) overage: Option<String>,
}

impl PriceIds {
    /// The prices that the plan is sold under, of those that a provider has by tier; `None` where one is missing.
    pub(super) fn of(
        plan: &PlanVersion,
        prices: &BTreeMap<String, SoldUnder>,
        usage: UsageBilling,
    ) -> Option<Self> {
        let sold_under = prices.get(&plan.plan.tier)?;
        let overage =
            if plan.plan.has_overage() && !matches!(usage, UsageBilling::PaymentLink { .. }) {
                Some(sold_under.overage.clone()?)
            } else {
                None
            };
        Some(Self {
            base: sold_under.base.clone()?,
            overage,
        })
    }
}

/// The interval in providers' words.
const fn word(interval: Interval) -> &'static str {
    match interval {
        Interval::Month => "month",
        Interval::Year => "year",
    }
}
