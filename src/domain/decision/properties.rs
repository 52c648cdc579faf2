//! Decisions against a model that computes with 128 bits and knows no code of the rules.

use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::Grant;
use crate::domain::fixtures::{billed, day, metered, plan, plans_of, standing_on};

const TIERS: [&str; 4] = ["a", "b", "c", "d"];
const MOST: i128 = i64::MAX as i128;

/// Small numbers, so that limits are met, and now and then the ends of the range.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..60, 1 => Just(i64::MAX), 1 => i64::MAX - 60..=i64::MAX, 1 => 0..=i64::MAX]
}

fn grant(kind: FeatureKind) -> BoxedStrategy<Option<Grant>> {
    let limit = || proptest::option::weighted(0.85, number());
    match kind {
        FeatureKind::Allocated => {
            proptest::option::weighted(0.85, limit().prop_map(|limit| Grant::Allocated { limit }))
                .boxed()
        }
        _ => proptest::option::weighted(
            0.85,
            prop_oneof![
                (limit(), 100u32..250).prop_map(|(limit, percent)| metered(limit, percent)),
                (number(), proptest::option::of(number()))
                    .prop_map(|(limit, most)| billed(limit, most)),
            ],
        )
        .boxed(),
    }
}

fn adjustment() -> impl Strategy<Value = Option<Override>> {
    let any_override = (
        proptest::option::of(number()),
        proptest::option::of(-20i64..60),
        any::<bool>(),
    );
    proptest::option::weighted(
        0.4,
        any_override.prop_map(|(limit, add, cap)| Override {
            limit,
            add,
            cap,
            ..Override::default()
        }),
    )
}

#[derive(Debug, Clone)]
struct World {
    kind: FeatureKind,
    grants: Vec<Option<Grant>>,
    tier: usize,
    former: Option<usize>,
    adjustment: Option<Override>,
    balance: Balance,
    quantity: i64,
    enforcement: Enforcement,
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![3 => Just(FeatureKind::Metered), 1 => Just(FeatureKind::Allocated)].prop_flat_map(
        |kind| {
            let numbers = (
                number(),
                number().prop_map(|n| n / 4),
                number().prop_map(|n| n.max(1)),
            );
            let enforcement = prop_oneof![Just(Enforcement::Enforce), Just(Enforcement::Observe)];
            (
                proptest::collection::vec(grant(kind), TIERS.len()),
                0..TIERS.len(),
                proptest::option::of(0..TIERS.len()),
                adjustment(),
                numbers,
                enforcement,
            )
                .prop_map(
                    move |(
                        grants,
                        tier,
                        former,
                        adjustment,
                        (used, held, quantity),
                        enforcement,
                    )| World {
                        kind,
                        grants,
                        tier,
                        // A grace of a lower plan is not shown beside a live subscription.
                        former: former.filter(|former| *former >= tier),
                        adjustment,
                        balance: Balance { used, held },
                        quantity,
                        enforcement,
                    },
                )
        },
    )
}

impl World {
    fn decide(&self, quantity: i64) -> Decision {
        let versions = TIERS
            .iter()
            .zip(&self.grants)
            .map(|(tier, grant)| match grant {
                Some(grant) => plan(tier, &[("f", grant.clone())]),
                None => plan(tier, &[]),
            });
        let plans = plans_of(versions.collect(), None);
        let standing = standing_on(
            &plans,
            TIERS[self.tier],
            self.former.map(|former| TIERS[former]),
        );
        let case = Case {
            customer_id: "acme",
            feature: "f",
            kind: self.kind,
            standing: &standing,
            adjustment: self.adjustment.as_ref(),
            plans: &plans,
            enforcement: self.enforcement,
            now: day(0),
        };
        let ask = Ask {
            quantity,
            value: None,
        };
        case.decision(
            ask,
            case.judge(ask, self.balance),
            self.balance,
            self.balance,
            Vec::new(),
        )
    }

    /// Limit (at most what 64 bits hold), or `None` for unlimited.
    fn limit(&self, tier: usize) -> Option<i128> {
        let base = match &self.grants[tier] {
            None => Some(0),
            Some(Grant::Metered { limit, .. } | Grant::Allocated { limit }) => {
                limit.map(i128::from)
            }
            Some(_) => unreachable!(),
        };
        let Some(order) = &self.adjustment else {
            return base;
        };
        let raised = base.map(|base| (base + i128::from(order.add.unwrap_or(0))).clamp(0, MOST));
        let ordered = order.limit.map(i128::from);
        match (order.cap, base) {
            (true, _) => ordered.or(raised),
            (false, None) => None,
            (false, Some(base)) => [Some(base), raised, ordered].into_iter().flatten().max(),
        }
    }

    fn grants(&self, tier: usize) -> bool {
        self.grants[tier].is_some() || self.limit(tier) != Some(0)
    }

    /// The most that may be counted under the plan alone.
    fn most(&self, tier: usize) -> i128 {
        let Some(limit) = self.limit(tier) else {
            return MOST;
        };
        let most = match &self.grants[tier] {
            Some(Grant::Metered {
                overage: Some(overage),
                ..
            }) => overage
                .max_quantity
                .map_or(MOST, |most| limit + i128::from(most)),
            Some(Grant::Metered {
                hard_limit_percent: Some(percent),
                ..
            }) => limit * i128::from(*percent) / 100,
            None if self.kind == FeatureKind::Metered => limit * 110 / 100,
            _ => limit,
        };
        most.min(MOST)
    }

    fn after(&self) -> i128 {
        i128::from(self.balance.used) + i128::from(self.balance.held) + i128::from(self.quantity)
    }

    fn admits(&self, tier: usize) -> bool {
        self.grants(tier) && self.after() <= self.most(tier)
    }

    fn within(&self, tier: usize) -> bool {
        self.grants(tier) && self.after() <= self.limit(tier).unwrap_or(MOST)
    }

    fn bills(&self) -> bool {
        matches!(
            &self.grants[self.tier],
            Some(Grant::Metered {
                overage: Some(_),
                ..
            })
        ) && self.limit(self.tier).is_some()
    }

    fn reason(&self) -> Reason {
        if self.within(self.tier) {
            Reason::WithinLimit
        } else if self.admits(self.tier) && self.bills() {
            Reason::Overage
        } else if self.admits(self.tier) {
            Reason::SoftLimitExceeded
        } else if self.former.is_some_and(|former| self.within(former)) {
            Reason::GracePeriod
        } else if self.grants(self.tier) {
            Reason::HardLimitReached
        } else {
            Reason::FeatureNotInPlan
        }
    }

    fn upgrade(&self) -> Option<usize> {
        let has_more = |tier: &usize| match (self.limit(*tier), self.limit(self.tier)) {
            _ if !self.grants(*tier) => false,
            _ if !self.grants(self.tier) => true,
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(theirs), Some(mine)) => theirs > mine,
        };
        let would_admit = |tier: &usize| self.admits(*tier);
        let mut higher = self.tier + 1..TIERS.len();
        if self.reason().allows() {
            higher.find(has_more)
        } else {
            higher.find(would_admit)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_rule_that_fires_is_the_models(world in world()) {
        let decision = world.decide(world.quantity);
        prop_assert_eq!(decision.reason, world.reason());
        let Balance { used, held } = world.balance;
        let countable = [used, held, world.quantity].map(i128::from).iter().sum::<i128>() <= MOST;
        let observed = world.enforcement == Enforcement::Observe;
        prop_assert_eq!(decision.allowed, decision.reason.allows() || (observed && countable));
        prop_assert_eq!(decision.enforced, !observed);
    }

    #[test]
    fn nothing_is_admitted_past_the_cap_in_force(world in world()) {
        let cap = world.former.and_then(|former| world.grants(former).then(|| world.limit(former).unwrap_or(MOST)));
        let cap = cap.unwrap_or(0).max(if world.grants(world.tier) { world.most(world.tier) } else { 0 });
        let decision = world.decide(world.quantity);
        prop_assert!(!decision.reason.allows() || world.after() <= cap);
    }

    #[test]
    fn the_numbers_of_a_decision_agree(world in world()) {
        let decision = world.decide(world.quantity);
        let used = i128::from(world.balance.used);
        let limit = world.limit(world.tier);
        let shown = match decision.limit {
            Some(Limit::Quantity(limit)) => Some(i128::from(limit)),
            Some(Limit::Enabled(_)) => return Err(TestCaseError::fail("a counted feature is no switch")),
            None => None,
        };
        prop_assert_eq!(shown, limit);
        prop_assert_eq!(decision.used, Some(world.balance.used));
        prop_assert_eq!(decision.held, Some(world.balance.held));
        let left = limit.map(|limit| (limit - used - i128::from(world.balance.held)).max(0));
        prop_assert_eq!(decision.remaining.map(i128::from), left);
        let hard = limit.filter(|_| !world.bills()).map(|_| world.most(world.tier));
        prop_assert_eq!(decision.hard_limit.map(i128::from), hard);
        let above = limit.map_or(0, |limit| (used - limit).max(0));
        let billed = decision.overage.map(|overage| i128::from(overage.quantity));
        prop_assert_eq!(billed, (world.bills() && above > 0).then_some(above));
        let full = limit.filter(|limit| *limit > 0);
        prop_assert_eq!(decision.percent_used.is_some(), full.is_some());
        if let (Some(percent), Some(limit)) = (decision.percent_used, full) {
            let whole: i128 = format!("{percent:.0}").parse().unwrap();
            prop_assert!((whole - used * 100 / limit).abs() <= 1 + used * 100 / limit / 1_000_000_000);
        }
        let level = full.and_then(|limit| [100u8, 90, 80].into_iter().find(|level| used * 100 >= limit * i128::from(*level)));
        prop_assert_eq!(decision.warning_level, level);
        prop_assert_eq!(decision.grace.is_some(), world.former.is_some());
    }

    #[test]
    fn the_upgrade_is_the_lowest_tier_that_helps(world in world()) {
        let upgrade = world.decide(world.quantity).upgrade.map(|upgrade| upgrade.tier);
        prop_assert_eq!(upgrade.as_deref(), world.upgrade().map(|tier| TIERS[tier]));
    }

    #[test]
    fn what_is_allowed_is_allowed_for_less(world in world(), less in number()) {
        let less = less.clamp(1, world.quantity);
        if world.decide(world.quantity).allowed {
            prop_assert!(world.decide(less).allowed);
        }
    }
}
