use super::*;

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
