//! Which of a provider's prices stands for which tier, as the settings say.

use std::collections::BTreeMap;

use super::registry::{Settings, SoldUnder};
use crate::domain::catalogue::Catalogue;

/// How a provider's prices are named in the settings.
pub(super) struct Naming {
    /// Of the provider, for people.
    pub(super) provider: &'static str,
    /// What the names begin with; the tier follows.
    pub(super) prefix: &'static str,
    /// Whether use above a limit has a price of its own, under the tier's name with `_OVERAGE`.
    pub(super) metered: bool,
    /// What is wrong with an id.
    pub(super) problem: fn(&str) -> Option<&'static str>,
}

impl Naming {
    pub(super) fn variable(&self, tier: &str, overage: bool) -> String {
        let tier = tier.to_ascii_uppercase().replace('-', "_");
        let suffix = if overage { "_OVERAGE" } else { "" };
        format!("{}{tier}{suffix}", self.prefix)
    }

    /// Whether any paid tier has a price.
    pub(super) fn any_set(&self, settings: &dyn Settings, catalogue: Option<&Catalogue>) -> bool {
        catalogue
            .iter()
            .flat_map(|catalogue| &catalogue.tiers)
            .any(|plan| settings.is_set(&self.variable(&plan.tier, false)))
    }

    /// Reads them; each tier needs its own.
    pub(super) fn read(
        &self,
        settings: &mut dyn Settings,
        catalogue: &Catalogue,
    ) -> BTreeMap<String, SoldUnder> {
        let mut prices: BTreeMap<String, SoldUnder> = BTreeMap::new();
        // Whose a variable is, and where an id was seen first.
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for plan in &catalogue.tiers {
            for overage in [false, true] {
                let name = self.variable(&plan.tier, overage);
                if !(if overage {
                    self.metered && plan.has_overage()
                } else {
                    plan.is_paid()
                }) {
                    continue;
                }
                if let Some(other) = owners.insert(name.clone(), &plan.tier) {
                    settings.fault(
                        &name,
                        &format!(
                            "would belong to the tiers `{other}` and `{}`; rename one of them",
                            plan.tier
                        ),
                    );
                    continue;
                }
                let Some(id) = settings.text(&name) else {
                    continue;
                };
                if let Some(problem) = (self.problem)(&id) {
                    settings.fault(&name, problem);
                    continue;
                }
                if let Some(other) = seen.insert(id.clone(), name.clone()) {
                    settings.fault(
                        &name,
                        &format!("is the same price as {other}; each needs its own"),
                    );
                    continue;
                }
                let ids = prices.entry(plan.tier.clone()).or_default();
                if overage {
                    ids.overage = Some(id);
                } else {
                    ids.base = Some(id);
                }
            }
        }
        for plan in catalogue.tiers.iter().filter(|plan| !plan.is_paid()) {
            let name = self.variable(&plan.tier, false);
            if !owners.contains_key(&name) && settings.is_set(&name) {
                settings.warn(&format!(
                    "{name} is not used: the tier `{}` costs nothing",
                    plan.tier
                ));
            }
        }
        prices
    }

    /// In production all that is for sale must have a price; elsewhere a hint has to do.
    pub(super) fn require(
        &self,
        settings: &mut dyn Settings,
        prices: &BTreeMap<String, SoldUnder>,
        catalogue: Option<&Catalogue>,
    ) {
        let missing = catalogue.map_or_else(Vec::new, |catalogue| self.missing(prices, catalogue));
        let provider = self.provider;
        if !settings.is_production() {
            if !missing.is_empty() {
                settings.warn(&format!(
                    "{provider} has no price id for some paid tiers, which cannot be bought"
                ));
            }
            return;
        }
        for (name, what) in missing {
            // One that is set and faulty has been reported already.
            if !settings.is_set(&name) {
                settings.fault(
                    &name,
                    &format!(
                        "is missing, so {what} cannot be sold; set it to {provider}'s price id"
                    ),
                );
            }
        }
    }

    /// The variables whose absence leaves something for sale that cannot be sold, with the tier.
    pub(super) fn missing(
        &self,
        prices: &BTreeMap<String, SoldUnder>,
        catalogue: &Catalogue,
    ) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        for plan in &catalogue.tiers {
            let ids = prices.get(&plan.tier);
            if plan.is_paid() && ids.is_none_or(|ids| ids.base.is_none()) {
                let what = format!("the tier `{}`", plan.tier);
                missing.push((self.variable(&plan.tier, false), what));
            }
            if self.metered && plan.has_overage() && ids.is_none_or(|ids| ids.overage.is_none()) {
                let what = format!("the overage of the tier `{}`", plan.tier);
                missing.push((self.variable(&plan.tier, true), what));
            }
        }
        missing
    }
}

/// Ids as providers make them.
pub(super) fn is_sound(id: &str) -> bool {
    id.len() <= 255
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
