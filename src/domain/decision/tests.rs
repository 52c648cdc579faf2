use super::*;
use crate::domain::catalogue::Grant;
use crate::domain::fixtures::{billed, day, metered, plan, plans, plans_of, standing_on};

const RUNS: (&str, FeatureKind) = ("attribution_runs", FeatureKind::Metered);
const MODELS: (&str, FeatureKind) = ("models", FeatureKind::Allocated);
const LOOKBACK: (&str, FeatureKind) = ("lookback_days", FeatureKind::Static);
const EXPORT: (&str, FeatureKind) = ("export", FeatureKind::Boolean);

struct Situation<'a> {
    tier: &'a str,
    former: Option<&'a str>,
    feature: (&'a str, FeatureKind),
    used: i64,
    held: i64,
    ask: i64,
}

const NEWCOMER: Situation<'_> = Situation {
    tier: "free",
    former: None,
    feature: RUNS,
    used: 0,
    held: 0,
    ask: 1,
};

fn decide_by(
    plans: &Plans,
    situation: &Situation<'_>,
    adjustment: Option<&Override>,
    enforcement: Enforcement,
) -> Decision {
    let standing = standing_on(plans, situation.tier, situation.former);
    let (feature, kind) = situation.feature;
    let case = Case {
        customer_id: "acme",
        feature,
        kind,
        standing: &standing,
        adjustment,
        plans,
        enforcement,
        now: day(0),
    };
    let ask = match kind {
        FeatureKind::Static => Ask {
            quantity: 1,
            value: Some(situation.ask),
        },
        _ => Ask {
            quantity: situation.ask,
            value: None,
        },
    };
    let balance = Balance {
        used: situation.used,
        held: situation.held,
    };
    case.decision(ask, case.judge(ask, balance), balance, balance, Vec::new())
}

fn decide(situation: &Situation<'_>) -> Decision {
    decide_by(&plans(), situation, None, Enforcement::Enforce)
}

#[track_caller]
fn assert_rule(situation: &Situation<'_>, reason: Reason, upgrade: Option<&str>) {
    let decision = decide(situation);
    assert_eq!(decision.reason, reason);
    assert_eq!(decision.allowed, reason.allows());
    assert!(decision.enforced);
    assert_eq!(
        decision
            .upgrade
            .as_ref()
            .map(|upgrade| upgrade.tier.as_str()),
        upgrade
    );
}

#[test]
fn usage_up_to_the_limit_is_within_it() {
    assert_rule(
        &Situation {
            used: 99,
            ..NEWCOMER
        },
        Reason::WithinLimit,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            ask: 100,
            ..NEWCOMER
        },
        Reason::WithinLimit,
        Some("pro"),
    );
}

#[test]
fn usage_up_to_the_hard_limit_is_in_the_soft_zone() {
    assert_rule(
        &Situation {
            used: 100,
            ..NEWCOMER
        },
        Reason::SoftLimitExceeded,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            used: 100,
            ask: 10,
            ..NEWCOMER
        },
        Reason::SoftLimitExceeded,
        Some("pro"),
    );
}

#[test]
fn usage_over_the_hard_limit_is_denied() {
    assert_rule(
        &Situation {
            used: 110,
            ..NEWCOMER
        },
        Reason::HardLimitReached,
        Some("pro"),
    );
}

#[test]
fn a_quantity_is_admitted_whole_or_not_at_all() {
    assert_rule(
        &Situation {
            used: 100,
            ask: 11,
            ..NEWCOMER
        },
        Reason::HardLimitReached,
        Some("pro"),
    );
}

#[test]
fn live_reservations_count_like_usage() {
    assert_rule(
        &Situation {
            used: 60,
            held: 40,
            ..NEWCOMER
        },
        Reason::SoftLimitExceeded,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            used: 60,
            held: 50,
            ..NEWCOMER
        },
        Reason::HardLimitReached,
        Some("pro"),
    );
}

#[test]
fn the_upgrade_of_a_denied_request_skips_tiers_that_would_deny_it() {
    assert_rule(
        &Situation {
            ask: 5_500,
            ..NEWCOMER
        },
        Reason::HardLimitReached,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            ask: 5_501,
            ..NEWCOMER
        },
        Reason::HardLimitReached,
        Some("scale"),
    );
}

#[test]
fn usage_above_the_limit_is_billed_where_there_is_overage() {
    let scale = Situation {
        tier: "scale",
        used: 25_000,
        ..NEWCOMER
    };
    assert_rule(&scale, Reason::Overage, None);
    let decision = decide(&Situation {
        used: 25_012,
        held: 1_000,
        ..scale
    });
    let overage = decision.overage.unwrap();
    assert_eq!(
        (
            overage.quantity,
            overage.amount_decimal.as_str(),
            overage.currency.as_str()
        ),
        (12, "12", "usd")
    );
    assert_eq!((decision.hard_limit, decision.remaining), (None, Some(0)));
    let unbilled = decide(&Situation {
        tier: "scale",
        used: 25_000,
        held: 9,
        ..NEWCOMER
    });
    assert_eq!(unbilled.overage, None, "holds do not bill");
}

#[test]
fn past_the_cap_on_overage_usage_is_denied() {
    let plans = plans_of(
        vec![plan("only", &[("attribution_runs", billed(100, Some(10)))])],
        None,
    );
    let reason = |used| {
        let situation = Situation {
            tier: "only",
            used,
            ..NEWCOMER
        };
        decide_by(&plans, &situation, None, Enforcement::Enforce).reason
    };
    assert_eq!(
        [reason(99), reason(100), reason(109), reason(110)],
        [
            Reason::WithinLimit,
            Reason::Overage,
            Reason::Overage,
            Reason::HardLimitReached
        ]
    );
}

#[test]
fn gauges_have_no_soft_zone() {
    let models = Situation {
        tier: "pro",
        feature: MODELS,
        used: 2,
        ..NEWCOMER
    };
    assert_rule(&models, Reason::WithinLimit, Some("scale"));
    assert_rule(
        &Situation { used: 3, ..models },
        Reason::HardLimitReached,
        Some("scale"),
    );
    let decision = decide(&Situation {
        tier: "pro",
        feature: MODELS,
        ..NEWCOMER
    });
    assert_eq!((decision.hard_limit, decision.period), (Some(3), None));
}

#[test]
fn a_value_above_the_limit_is_denied() {
    let lookback = Situation {
        feature: LOOKBACK,
        ask: 7,
        ..NEWCOMER
    };
    assert_rule(&lookback, Reason::WithinLimit, Some("pro"));
    assert_rule(
        &Situation { ask: 8, ..lookback },
        Reason::ValueAboveLimit,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            feature: LOOKBACK,
            ask: 61,
            ..NEWCOMER
        },
        Reason::ValueAboveLimit,
        Some("scale"),
    );
    assert_rule(
        &Situation {
            feature: LOOKBACK,
            ask: 181,
            ..NEWCOMER
        },
        Reason::ValueAboveLimit,
        None,
    );
}

#[test]
fn a_switch_that_is_off_is_not_in_the_plan() {
    assert_rule(
        &Situation {
            feature: EXPORT,
            ..NEWCOMER
        },
        Reason::FeatureNotInPlan,
        Some("pro"),
    );
    assert_rule(
        &Situation {
            tier: "pro",
            feature: EXPORT,
            ..NEWCOMER
        },
        Reason::WithinLimit,
        None,
    );
    let decision = decide(&Situation {
        feature: EXPORT,
        ..NEWCOMER
    });
    assert_eq!(decision.limit, Some(Limit::Enabled(false)));
    assert_eq!(
        (decision.used, decision.held, decision.remaining),
        (None, None, None)
    );
    assert_eq!(
        decision.upgrade.unwrap().reason,
        UpgradeReason::FeatureAvailable
    );
}

#[test]
fn a_feature_that_the_plan_lacks_is_not_in_the_plan() {
    let plans = plans_of(
        vec![
            plan("bare", &[]),
            plan("full", &[("attribution_runs", metered(Some(5), 100))]),
        ],
        None,
    );
    let decision = decide_by(
        &plans,
        &Situation {
            tier: "bare",
            ..NEWCOMER
        },
        None,
        Enforcement::Enforce,
    );
    assert_eq!(
        (decision.reason, decision.limit),
        (Reason::FeatureNotInPlan, Some(Limit::Quantity(0)))
    );
    let upgrade = decision.upgrade.unwrap();
    assert_eq!(
        (upgrade.tier.as_str(), upgrade.reason),
        ("full", UpgradeReason::FeatureAvailable)
    );
}

#[test]
fn in_a_grace_what_the_former_plan_allowed_stays_allowed() {
    for (feature, used, ask) in [
        (RUNS, 200, 4_800),
        (MODELS, 2, 1),
        (LOOKBACK, 0, 60),
        (EXPORT, 0, 1),
    ] {
        let situation = Situation {
            feature,
            used,
            ask,
            former: Some("pro"),
            ..NEWCOMER
        };
        assert_rule(&situation, Reason::GracePeriod, Some("pro"));
    }
    let decision = decide(&Situation {
        former: Some("pro"),
        ..NEWCOMER
    });
    let grace = decision.grace.unwrap();
    assert_eq!(
        (grace.tier.as_str(), grace.limit, grace.ends_at),
        ("pro", Some(Limit::Quantity(5_000)), day(7))
    );
    assert_eq!(
        (decision.plan.tier.as_str(), decision.limit),
        ("free", Some(Limit::Quantity(100)))
    );
}

#[test]
fn a_grace_reaches_to_the_former_limit_not_to_its_hard_limit() {
    let situation = Situation {
        former: Some("pro"),
        used: 5_000,
        ..NEWCOMER
    };
    assert_rule(&situation, Reason::HardLimitReached, Some("pro"));
}

#[test]
fn a_grace_is_never_overage() {
    let situation = Situation {
        former: Some("scale"),
        used: 25_000,
        ..NEWCOMER
    };
    assert_rule(&situation, Reason::HardLimitReached, Some("scale"));
    assert_eq!(decide(&situation).overage, None);
}

#[test]
fn under_observation_a_denial_is_allowed_and_told() {
    let situation = Situation {
        used: 110,
        ..NEWCOMER
    };
    let decision = decide_by(&plans(), &situation, None, Enforcement::Observe);
    assert_eq!(
        (decision.allowed, decision.enforced, decision.reason),
        (true, false, Reason::HardLimitReached)
    );
}

#[test]
fn what_64_bits_cannot_count_is_denied_even_under_observation() {
    let plans = plans_of(
        vec![plan("only", &[("attribution_runs", metered(None, 110))])],
        None,
    );
    let situation = Situation {
        tier: "only",
        used: i64::MAX,
        ..NEWCOMER
    };
    for enforcement in [Enforcement::Enforce, Enforcement::Observe] {
        let decision = decide_by(&plans, &situation, None, enforcement);
        assert_eq!(
            (decision.allowed, decision.reason),
            (false, Reason::HardLimitReached)
        );
    }
}

#[test]
fn an_override_moves_the_limit_the_source_and_the_upgrade() {
    let adjustment = Override {
        limit: Some(6_000),
        ..Override::default()
    };
    let decision = decide_by(
        &plans(),
        &Situation {
            used: 6_599,
            ..NEWCOMER
        },
        Some(&adjustment),
        Enforcement::Enforce,
    );
    assert_eq!(
        (decision.reason, decision.limit_source),
        (Reason::SoftLimitExceeded, LimitSource::Override)
    );
    assert_eq!(
        (decision.limit, decision.hard_limit),
        (Some(Limit::Quantity(6_000)), Some(6_600))
    );
    assert_eq!(
        decision.upgrade.unwrap().tier,
        "scale",
        "the override lifts pro to 6000 as well: no more than now"
    );
}

#[test]
fn warnings_follow_what_is_used_not_what_is_held() {
    let level = |used, held| {
        decide(&Situation {
            used,
            held,
            ..NEWCOMER
        })
        .warning_level
    };
    assert_eq!(
        [
            level(79, 21),
            level(80, 0),
            level(90, 0),
            level(99, 1),
            level(100, 0),
            level(110, 0)
        ],
        [None, Some(80), Some(90), Some(90), Some(100), Some(100)]
    );
}

#[test]
fn a_limit_of_zero_admits_nothing_and_has_no_percentage() {
    let zero = Grant::Allocated { limit: Some(0) };
    let plans = plans_of(vec![plan("none", &[("models", zero)])], None);
    let situation = Situation {
        tier: "none",
        feature: MODELS,
        ..NEWCOMER
    };
    let decision = decide_by(&plans, &situation, None, Enforcement::Enforce);
    assert_eq!(
        (
            decision.reason,
            decision.percent_used,
            decision.warning_level
        ),
        (Reason::HardLimitReached, None, None)
    );
}
