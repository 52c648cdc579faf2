//! The catalogue: every plan that can be had, in rank order, and what each of them grants.
//!
//! It is data. Nothing in the code names a tier or a feature.

mod declarations;
mod document;
mod fault;
mod file;
mod limits;
mod plan;
mod prices;
mod promotion;
mod reader;

use std::sync::Arc;

pub use fault::{CatalogueFault, CatalogueFaults};
pub use limits::DEFAULT_HARD_LIMIT_PERCENT;
pub use plan::{Feature, FeatureKind, Grant, Interval, Overage, OveragePrice, Plan, Price};

/// The plans that are offered now. Subscriptions sold before may be pinned to older versions of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// The tier of customers who pay nothing or lapsed; always one of `tiers`.
    pub default_tier: String,
    /// In the file's order, which is their rank, lowest first.
    pub tiers: Vec<Arc<Plan>>,
    /// How long a lapsed customer keeps what the former plan allowed.
    pub grace_period_days: u32,
    /// How long after a period's end usage can still be recorded in it.
    pub late_usage_days: u32,
    declared: Vec<FeatureDeclaration>,
}

/// A feature as the catalogue declares it once for all tiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureDeclaration {
    /// The key that requests name it by.
    pub key: String,
    /// For people.
    pub name: String,
    /// How it is counted, the same in every tier.
    pub kind: FeatureKind,
}

impl Catalogue {
    /// Reads and validates a catalogue file; what is wrong with it is reported all at once.
    pub fn parse(text: &str) -> Result<Self, CatalogueFaults> {
        file::parse(text)
    }

    /// The catalogue that comes with the binary. It is valid (a test proves it), so an error here is a broken build.
    pub fn embedded() -> Result<Self, CatalogueFaults> {
        Self::parse(include_str!("../../../catalogue/default.json"))
    }

    /// The plan now offered under this tier.
    pub fn plan(&self, tier: &str) -> Option<&Arc<Plan>> {
        self.tiers.iter().find(|plan| plan.tier == tier)
    }

    /// Where the tier stands in the order, 0 being the lowest.
    pub fn rank(&self, tier: &str) -> Option<usize> {
        self.tiers.iter().position(|plan| plan.tier == tier)
    }

    /// Every feature, whichever tiers have it, in the file's order.
    pub fn features(&self) -> impl Iterator<Item = &FeatureDeclaration> {
        self.declared.iter()
    }

    /// The kind of a feature, or `None` if the catalogue does not know it.
    pub fn feature_kind(&self, key: &str) -> Option<FeatureKind> {
        self.declared
            .iter()
            .find(|feature| feature.key == key)
            .map(|feature| feature.kind)
    }
}

#[cfg(test)]
mod tests;
