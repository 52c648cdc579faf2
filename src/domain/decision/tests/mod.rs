mod exceptions;
mod rules;

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
