//! Graces, observation, overrides, and the ends of the range.

use super::*;

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
