//! The decision: may a customer do this now, by which rule, and on which numbers (PRODUCT section 2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalogue::FeatureKind;
use super::period::Period;
use super::plans::Plans;
use super::policy::Enforcement;
use super::standing::{PlanSource, Standing};
use super::terms::{LimitSource, Override, Terms};
use super::usage::{self, Balance};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Units of a metered or allocated feature; at least 1.
    pub quantity: i64,
    /// Value of a static feature.
    pub value: Option<i64>,
}

/// The rule that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Allowed: not above the limit.
    WithinLimit,
    /// Allowed: above the limit, and billed.
    Overage,
    /// Allowed: above the limit, not above the hard limit.
    SoftLimitExceeded,
    /// Allowed: the former plan allows it while its grace runs.
    GracePeriod,
    /// Denied: above the hard limit or the cap on overage.
    HardLimitReached,
    /// Denied: the plan has none of the feature.
    FeatureNotInPlan,
    /// Denied: the value asked for is above the limit.
    ValueAboveLimit,
}

impl Reason {
    /// Whether the rule allows.
    pub const fn allows(self) -> bool {
        matches!(
            self,
            Self::WithinLimit | Self::Overage | Self::SoftLimitExceeded | Self::GracePeriod
        )
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithinLimit => "within_limit",
            Self::Overage => "overage",
            Self::SoftLimitExceeded => "soft_limit_exceeded",
            Self::GracePeriod => "grace_period",
            Self::HardLimitReached => "hard_limit_reached",
            Self::FeatureNotInPlan => "feature_not_in_plan",
            Self::ValueAboveLimit => "value_above_limit",
        }
    }
}

/// A limit on the wire: a number, or on/off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Limit {
    /// Units, or the highest value.
    Quantity(i64),
    /// On or off.
    Enabled(bool),
}

/// The plan a decision was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionPlan {
    /// Tier in force.
    #[schema(example = "pro")]
    pub tier: String,
    /// Version in force.
    #[schema(example = 1)]
    pub version: i32,
    /// The subscription's status, or `none`.
    #[schema(example = "active")]
    pub status: String,
    /// Why this plan is in force.
    pub source: PlanSource,
}

impl DecisionPlan {
    /// The plan part of a standing.
    pub fn of(standing: &Standing) -> Self {
        Self {
            tier: standing.plan.plan.tier.clone(),
            version: standing.plan.version,
            status: standing
                .status
                .map_or("none", |status| status.as_str())
                .to_owned(),
            source: standing.source,
        }
    }
}

/// A former plan that still allows something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionGrace {
    /// The former tier.
    #[schema(example = "pro")]
    pub tier: String,
    /// The former plan's limit of the feature; null: unlimited.
    #[schema(required = true)]
    pub limit: Option<Limit>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
}

/// Use above the limit, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionOverage {
    /// Units above the limit.
    #[schema(example = 12)]
    pub quantity: i64,
    /// What they cost, in minor units, exact.
    #[schema(example = "12")]
    pub amount_decimal: String,
    /// ISO 4217, lowercase.
    #[schema(example = "usd")]
    pub currency: String,
}

/// Why an upgrade is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeReason {
    /// The tier has more of the feature.
    HigherLimit,
    /// The tier has the feature.
    FeatureAvailable,
}

/// A tier that would allow more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upgrade {
    /// Its key.
    #[schema(example = "scale")]
    pub tier: String,
    /// What it has more of.
    pub reason: UpgradeReason,
}

/// An explained decision, with the numbers it was made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"customer_id":"acme","feature":"attribution_runs","kind":"metered","allowed":true,"enforced":true,
    "reason":"within_limit","requested":1,"limit":5000,"limit_source":"plan","hard_limit":5500,"used":151,"held":0,
    "remaining":4849,"percent_used":3.02,"warning_level":null,"warnings_crossed":[],"overage":null,
    "plan":{"tier":"pro","version":1,"status":"active","source":"subscription"},
    "period":{"start":"2026-01-12T00:00:00Z","end":"2026-02-12T00:00:00Z"},"grace":null,
    "upgrade":{"tier":"scale","reason":"higher_limit"},"event_id":"evt_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7",
    "as_of":"2026-01-20T10:00:00.123Z"}))]
pub struct Decision {
    /// The customer.
    pub customer_id: String,
    /// Feature key.
    pub feature: String,
    /// Kind of the feature.
    pub kind: FeatureKind,
    /// May it be done?
    pub allowed: bool,
    /// False while `PLANGATE_ENFORCEMENT=observe`: the reason is true, but denials are allowed.
    pub enforced: bool,
    /// The rule that fired.
    pub reason: Reason,
    /// The quantity (or, for a static feature, the value) asked for.
    pub requested: i64,
    /// The limit in force; null: unlimited.
    #[schema(required = true)]
    pub limit: Option<Limit>,
    /// Where the limit came from.
    pub limit_source: LimitSource,
    /// End of the soft zone; null: unlimited, billed as overage, or not counted.
    #[schema(required = true)]
    pub hard_limit: Option<i64>,
    /// Used, after the effect; null: not counted.
    #[schema(required = true)]
    pub used: Option<i64>,
    /// Held by live reservations; null: not counted.
    #[schema(required = true)]
    pub held: Option<i64>,
    /// Left up to the limit; null: unlimited or not counted.
    #[schema(required = true)]
    pub remaining: Option<i64>,
    /// Used in percent of the limit, rounded down to two decimals; null: no limit, or a limit of 0.
    #[schema(required = true)]
    pub percent_used: Option<f64>,
    /// 80, 90 or 100 once that much is used.
    #[schema(required = true)]
    pub warning_level: Option<u8>,
    /// The levels that this very request crossed.
    pub warnings_crossed: Vec<u8>,
    /// Use above the limit that is billed.
    #[schema(required = true)]
    pub overage: Option<DecisionOverage>,
    /// The plan in force.
    pub plan: DecisionPlan,
    /// The usage period; null: not a metered feature.
    #[schema(required = true)]
    pub period: Option<Period>,
    /// What a former plan still allows.
    #[schema(required = true)]
    pub grace: Option<DecisionGrace>,
    /// The lowest tier that would allow it (denied) or has more of it (allowed).
    #[schema(required = true)]
    pub upgrade: Option<Upgrade>,
    /// The ledger entry of what was recorded; null: nothing was.
    #[schema(required = true)]
    pub event_id: Option<String>,
    /// When the numbers were true.
    pub as_of: DateTime<Utc>,
}

/// All that a decision about one customer and one feature rests on.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The customer.
    pub customer_id: &'a str,
    /// Feature key.
    pub feature: &'a str,
    /// Its kind.
    pub kind: FeatureKind,
    /// Where the customer stands.
    pub standing: &'a Standing,
    /// The customer's override of this feature, if one is current.
    pub adjustment: Option<&'a Override>,
    /// Every plan.
    pub plans: &'a Plans,
    /// Whether denials deny.
    pub enforcement: Enforcement,
    /// When `standing` and the counters are true.
    pub now: DateTime<Utc>,
}

impl<'a> Case<'a> {
    /// The terms under the plan in force.
    pub fn terms(&self) -> Terms<'a> {
        Terms::of(
            &self.standing.plan,
            self.feature,
            self.kind,
            self.adjustment,
        )
    }

    fn former_terms(&self) -> Option<Terms<'a>> {
        let grace = self.standing.grace.as_ref()?;
        Some(Terms::of(
            &grace.plan,
            self.feature,
            self.kind,
            self.adjustment,
        ))
    }

    /// The rule that fires for `ask` on `balance`, before any effect.
    pub fn judge(&self, ask: Ask, balance: Balance) -> Reason {
        match judge(&self.terms(), ask, balance) {
            denied if !denied.allows() => match self.former_terms() {
                Some(former) if within_limit(&former, ask, balance) => Reason::GracePeriod,
                _ => denied,
            },
            allowed => allowed,
        }
    }

    /// Whether a request is let through: what the rules allow, and under observation what they deny, too, as long as it can
    /// be counted at all, together with what is held and may yet be.
    pub fn admits(&self, reason: Reason, ask: Ask, balance: Balance) -> bool {
        reason.allows()
            || (self.enforcement == Enforcement::Observe && after(ask, balance).is_some())
    }

    /// The whole decision. `before` is what the reason was judged on, `after` is the balance to show (after the effect, where
    /// there was one), `crossed` the warning levels that the effect crossed.
    pub fn decision(
        &self,
        ask: Ask,
        reason: Reason,
        before: Balance,
        after: Balance,
        crossed: Vec<u8>,
    ) -> Decision {
        let terms = self.terms();
        let counted = matches!(self.kind, FeatureKind::Metered | FeatureKind::Allocated);
        let limit = if counted { terms.limit } else { None };
        Decision {
            customer_id: self.customer_id.to_owned(),
            feature: self.feature.to_owned(),
            kind: self.kind,
            allowed: self.admits(reason, ask, before),
            enforced: self.enforcement == Enforcement::Enforce,
            reason,
            requested: if self.kind == FeatureKind::Static {
                ask.value.unwrap_or(0)
            } else {
                ask.quantity
            },
            limit: shown_limit(&terms),
            limit_source: terms.source,
            hard_limit: terms.hard_limit,
            used: counted.then_some(after.used),
            held: counted.then_some(after.held),
            remaining: if counted {
                after.remaining(terms.limit)
            } else {
                None
            },
            percent_used: usage::percent_used(after.used, limit),
            warning_level: usage::warning_level(after.used, limit),
            warnings_crossed: crossed,
            overage: priced_overage(&terms, after.used),
            plan: DecisionPlan::of(self.standing),
            period: (self.kind == FeatureKind::Metered).then_some(self.standing.period),
            grace: self
                .standing
                .grace
                .as_ref()
                .zip(self.former_terms())
                .map(|(grace, former)| DecisionGrace {
                    tier: grace.plan.plan.tier.clone(),
                    limit: shown_limit(&former),
                    ends_at: grace.ends_at,
                }),
            upgrade: self.upgrade(ask, reason, before),
            event_id: None,
            as_of: self.now,
        }
    }

    /// For a denied request the lowest tier under which it would be allowed, for an allowed one the lowest with more of the
    /// feature; never a tier that is not above the one in force.
    fn upgrade(&self, ask: Ask, reason: Reason, balance: Balance) -> Option<Upgrade> {
        let terms = self.terms();
        let higher = self.plans.above(&self.standing.plan.reference());
        let mut offers = higher.map(|plan| {
            (
                plan,
                Terms::of(plan, self.feature, self.kind, self.adjustment),
            )
        });
        let (plan, _) = offers.find(|(_, offer)| {
            if reason.allows() {
                offer.exceed(&terms)
            } else {
                judge(offer, ask, balance).allows()
            }
        })?;
        let reason = if terms.granted {
            UpgradeReason::HigherLimit
        } else {
            UpgradeReason::FeatureAvailable
        };
        Some(Upgrade {
            tier: plan.plan.tier.clone(),
            reason,
        })
    }
}

/// The rules for one plan alone.
fn judge(terms: &Terms<'_>, ask: Ask, balance: Balance) -> Reason {
    if within_limit(terms, ask, balance) {
        return Reason::WithinLimit;
    }
    match terms.kind {
        FeatureKind::Boolean => Reason::FeatureNotInPlan,
        FeatureKind::Static if terms.granted => Reason::ValueAboveLimit,
        FeatureKind::Metered | FeatureKind::Allocated if terms.granted => {
            over_limit(terms, after(ask, balance))
        }
        FeatureKind::Static | FeatureKind::Metered | FeatureKind::Allocated => {
            Reason::FeatureNotInPlan
        }
    }
}

fn over_limit(terms: &Terms<'_>, after: Option<i64>) -> Reason {
    // A sum past 64 bits cannot be counted, so nothing admits it.
    let Some(after) = after else {
        return Reason::HardLimitReached;
    };
    if let Some(overage) = terms.overage {
        let above = usage::overage(after, terms.limit);
        return if overage.max_quantity.is_none_or(|cap| above <= cap) {
            Reason::Overage
        } else {
            Reason::HardLimitReached
        };
    }
    if terms
        .hard_limit
        .is_some_and(|hard_limit| after <= hard_limit)
    {
        Reason::SoftLimitExceeded
    } else {
        Reason::HardLimitReached
    }
}

fn within_limit(terms: &Terms<'_>, ask: Ask, balance: Balance) -> bool {
    if !terms.granted {
        return false;
    }
    match terms.kind {
        FeatureKind::Boolean => true,
        FeatureKind::Static => terms
            .limit
            .is_none_or(|limit| ask.value.unwrap_or(0) <= limit),
        FeatureKind::Metered | FeatureKind::Allocated => {
            after(ask, balance).is_some_and(|after| terms.limit.is_none_or(|limit| after <= limit))
        }
    }
}

fn after(ask: Ask, balance: Balance) -> Option<i64> {
    balance
        .used
        .checked_add(balance.held)?
        .checked_add(ask.quantity)
}

/// A feature's limit as the API shows it; `None`: unlimited.
pub fn shown_limit(terms: &Terms<'_>) -> Option<Limit> {
    match terms.kind {
        FeatureKind::Boolean => Some(Limit::Enabled(terms.granted)),
        _ => terms.limit.map(Limit::Quantity),
    }
}

/// What is used above the limit with its price; `None` at or below the limit, and where use above it is not billed.
pub fn priced_overage(terms: &Terms<'_>, used: i64) -> Option<DecisionOverage> {
    let quantity = usage::overage(used, terms.limit);
    let price = terms.overage?.prices.first().filter(|_| quantity > 0)?;
    // A sum that no decimal holds has no printable amount; the quantity still tells.
    let amount_decimal = price
        .unit_amount_decimal
        .times(quantity)
        .map_or_else(|_| String::new(), |amount| amount.to_string());
    Some(DecisionOverage {
        quantity,
        amount_decimal,
        currency: price.currency.as_str().to_owned(),
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
