//! The plans that were ever sold, and the ones that are sold now.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalogue::{Feature, FeatureKind, Plan};
use super::subscription::PlanRef;

/// One immutable version of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanVersion {
    /// Version of the tier's content, from 1.
    pub version: i32,
    /// The content.
    pub plan: Plan,
}

impl PlanVersion {
    /// The reference under which subscriptions name it.
    pub fn reference(&self) -> PlanRef {
        PlanRef {
            tier: self.plan.tier.clone(),
            version: self.version,
        }
    }

    /// The plan's grant of a feature, where it has one.
    pub fn feature(&self, key: &str) -> Option<&Feature> {
        self.plan.feature(key)
    }
}

/// The catalogue's current versions in order of rank, every version that was ever sold, and the catalogue's rules.
#[derive(Debug, Clone)]
pub struct Plans {
    current: Vec<Arc<PlanVersion>>,
    sold: HashMap<PlanRef, (Arc<PlanVersion>, usize)>,
    default_tier: String,
    newcomer_tier: String,
    /// Days of grace after a lapse or a downgrade.
    pub grace_days: u32,
    /// Days for which a closed period still takes late usage.
    pub late_usage_days: u32,
}

impl Plans {
    /// The current versions, lowest tier first, under the catalogue's rules. `newcomer_tier` is the tier of those who never
    /// subscribed (`PLAN_TIER`), else the default tier.
    pub fn new(
        current: Vec<Arc<PlanVersion>>,
        default_tier: String,
        newcomer_tier: Option<String>,
        grace_days: u32,
        late_usage_days: u32,
    ) -> Self {
        let newcomer_tier = newcomer_tier.unwrap_or_else(|| default_tier.clone());
        let plans = Self {
            current,
            sold: HashMap::new(),
            default_tier,
            newcomer_tier,
            grace_days,
            late_usage_days,
        };
        plans.with_sold([])
    }

    /// The same, knowing these sold versions, each with the position at which it ranked when it was introduced.
    #[must_use]
    pub fn with_sold(&self, sold: impl IntoIterator<Item = (Arc<PlanVersion>, usize)>) -> Self {
        let current = self
            .current
            .iter()
            .enumerate()
            .map(|(position, version)| (Arc::clone(version), position));
        let sold = sold
            .into_iter()
            .chain(current)
            .map(|(version, position)| (version.reference(), (version, position)))
            .collect();
        Self {
            sold,
            ..self.clone()
        }
    }

    /// The catalogue's plans, lowest tier first.
    pub fn current(&self) -> &[Arc<PlanVersion>] {
        &self.current
    }

    /// The current version of a tier.
    pub fn of_tier(&self, tier: &str) -> Option<&Arc<PlanVersion>> {
        self.current
            .iter()
            .find(|version| version.plan.tier == tier)
    }

    /// A version that was sold; `None` where this process has not read it yet.
    pub fn sold(&self, reference: &PlanRef) -> Option<&Arc<PlanVersion>> {
        self.sold.get(reference).map(|(version, _)| version)
    }

    /// The key of the tier for everyone who lapsed.
    pub fn default_tier(&self) -> &str {
        &self.default_tier
    }

    /// The plan for everyone who lapsed.
    pub fn default_plan(&self) -> Option<&Arc<PlanVersion>> {
        self.of_tier(&self.default_tier)
    }

    /// The plan for everyone who never subscribed.
    pub fn newcomer_plan(&self) -> Option<&Arc<PlanVersion>> {
        self.of_tier(&self.newcomer_tier)
    }

    /// Where a plan ranks among the others; the number means nothing else. A tier that is sold no longer stands just below the
    /// tier that now has its place, so that it stays above those it was above.
    pub fn rank(&self, reference: &PlanRef) -> usize {
        self.current
            .iter()
            .position(|version| version.plan.tier == reference.tier)
            .map(|position| 2 * position + 1)
            .or_else(|| self.sold.get(reference).map(|(_, position)| 2 * position))
            .unwrap_or(0)
    }

    /// The catalogue's plans of a higher tier than this one, lowest first.
    pub fn above(&self, reference: &PlanRef) -> impl Iterator<Item = &Arc<PlanVersion>> + use<'_> {
        let floor = self.rank(reference);
        self.current
            .iter()
            .filter(move |version| self.rank(&version.reference()) > floor)
    }

    /// Whether `to` is of a lower tier than `from`.
    pub fn lowers(&self, from: &PlanRef, to: &PlanRef) -> bool {
        self.rank(to) < self.rank(from)
    }

    /// What kind of feature `key` is, in the catalogue or else in any plan sold; `None`: unknown.
    pub fn kind(&self, key: &str) -> Option<FeatureKind> {
        let of =
            |version: &Arc<PlanVersion>| version.feature(key).map(|feature| feature.grant.kind());
        self.current
            .iter()
            .find_map(of)
            .or_else(|| self.sold.values().find_map(|(version, _)| of(version)))
    }

    /// The features of the catalogue, each once, in the order in which its plans list them.
    pub fn features(&self) -> Vec<&Feature> {
        let mut features: Vec<&Feature> = Vec::new();
        for feature in self
            .current
            .iter()
            .flat_map(|version| &version.plan.features)
        {
            if !features.iter().any(|known| known.key == feature.key) {
                features.push(feature);
            }
        }
        features
    }
}

#[cfg(test)]
mod tests;
