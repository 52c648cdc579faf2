use SubscriptionStatus as S;
use uuid::Uuid;

use super::*;
use crate::domain::fixtures::{at, day, first, hour, plans, plans_of, subscription};

const UNANCHORED: Anchoring = Anchoring {
    anchor: None,
    since: None,
    settled: None,
};

#[track_caller]
fn stand(now: DateTime<Utc>, subscriptions: &[Subscription]) -> Standing {
    stand_since(now, subscriptions, UNANCHORED)
}

#[track_caller]
fn stand_since(
    now: DateTime<Utc>,
    subscriptions: &[Subscription],
    remembered: Anchoring,
) -> Standing {
    Standing::at(now, subscriptions, remembered, &plans()).unwrap()
}

fn anchored(anchor: DateTime<Utc>, since: DateTime<Utc>) -> Anchoring {
    Anchoring {
        anchor: Some(anchor),
        since: Some(since),
        settled: Some(since),
    }
}

/// The anchor in force, and since when.
fn turned(standing: &Standing) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    (standing.anchoring.anchor, standing.anchoring.since)
}

fn tier(standing: &Standing) -> &str {
    &standing.plan.plan.tier
}

fn grace(standing: &Standing) -> Option<(&str, DateTime<Utc>)> {
    standing
        .grace
        .as_ref()
        .map(|grace| (grace.plan.plan.tier.as_str(), grace.ends_at))
}

fn lapsed(status: S, tier: &str, grace_ends: Option<DateTime<Utc>>) -> Subscription {
    Subscription {
        lapsed: true,
        grace: grace_ends.map(|ends_at| Grace {
            plan: first(tier),
            ends_at,
        }),
        ..subscription(status, tier)
    }
}

fn manual(tier: &str) -> Subscription {
    Subscription {
        id: Uuid::max(),
        provider: ProviderName::Manual,
        anchor: day(3),
        started_at: day(3),
        ..subscription(S::Active, tier)
    }
}

#[test]
fn without_a_subscription_the_default_tier_and_the_calendar_month_are_in_force() {
    let standing = stand(at("2026-02-14T08:00:00Z"), &[]);
    assert_eq!(
        (tier(&standing), standing.source, standing.status),
        ("free", PlanSource::Default, None)
    );
    assert_eq!(
        standing.period,
        Period {
            start: at("2026-02-01T00:00:00Z"),
            end: at("2026-03-01T00:00:00Z")
        }
    );
}

#[test]
fn those_who_never_subscribed_have_a_tier_of_their_own() {
    let current = plans().current().to_vec();
    let plans = plans_of(current, Some("pro"));
    let tier = |subscriptions: &[Subscription]| {
        Standing::at(day(20), subscriptions, UNANCHORED, &plans)
            .unwrap()
            .plan
            .plan
            .tier
            .clone()
    };
    assert_eq!(tier(&[]), "pro");
    assert_eq!(
        tier(&[subscription(S::Incomplete, "scale")]),
        "pro",
        "a checkout in progress takes nothing away"
    );
    assert_eq!(tier(&[lapsed(S::Canceled, "scale", Some(day(12)))]), "free");
}

#[test]
fn a_live_subscription_gives_its_plan_and_its_anchor() {
    let standing = stand_since(
        day(40),
        &[subscription(S::Active, "pro")],
        anchored(day(0), day(0)),
    );
    assert_eq!(
        (tier(&standing), standing.source, standing.status),
        ("pro", PlanSource::Subscription, Some(S::Active))
    );
    assert_eq!(
        standing.period,
        Period {
            start: at("2026-02-01T00:00:00Z"),
            end: at("2026-03-01T00:00:00Z")
        }
    );
}

#[test]
fn past_due_within_its_grace_is_the_subscriptions_plan_and_then_the_default_tier() {
    let past_due = [lapsed(S::PastDue, "pro", Some(day(12)))];
    let within = stand(day(11), &past_due);
    assert_eq!(
        (tier(&within), within.source, grace(&within)),
        ("pro", PlanSource::Subscription, Some(("pro", day(12))))
    );
    let over = stand(day(12), &past_due);
    assert_eq!(
        (tier(&over), over.source, over.status, grace(&over)),
        ("free", PlanSource::Default, Some(S::PastDue), None)
    );
}

#[test]
fn unpaid_canceled_and_paused_are_on_the_default_tier_with_a_grace_if_one_runs() {
    for status in [S::Unpaid, S::Canceled, S::Paused] {
        let with = stand(day(11), &[lapsed(status, "pro", Some(day(12)))]);
        assert_eq!(
            (tier(&with), with.source, with.status),
            ("free", PlanSource::Grace, Some(status))
        );
        assert_eq!(grace(&with), Some(("pro", day(12))));
        let without = stand(day(11), &[lapsed(status, "pro", None)]);
        assert_eq!(
            (tier(&without), without.source, grace(&without)),
            ("free", PlanSource::Default, None)
        );
    }
}

#[test]
fn of_several_live_subscriptions_the_highest_tier_wins_then_the_providers_then_the_oldest() {
    let older = subscription(S::Active, "pro");
    let younger = Subscription {
        started_at: day(1),
        ..older.clone()
    };
    let granted = Subscription {
        started_at: day(-9),
        ..manual("pro")
    };
    let higher = manual("scale");
    let winner =
        |subscriptions: &[Subscription]| stand(day(5), subscriptions).subscription.unwrap();
    assert_eq!(winner(&[older.clone(), higher]), 1);
    assert_eq!(winner(&[granted, older.clone()]), 1);
    assert_eq!(winner(&[younger.clone(), older.clone()]), 1);
    assert_eq!(winner(&[older, younger]), 0);
}

#[test]
fn a_grace_below_the_plan_in_force_is_not_told() {
    let standing = stand(
        day(11),
        &[lapsed(S::Canceled, "pro", Some(day(12))), manual("scale")],
    );
    assert_eq!((tier(&standing), grace(&standing)), ("scale", None));
    let standing = stand(
        day(11),
        &[lapsed(S::Canceled, "scale", Some(day(12))), manual("pro")],
    );
    assert_eq!(
        (tier(&standing), standing.source, grace(&standing)),
        ("pro", PlanSource::Subscription, Some(("scale", day(12))))
    );
}

#[test]
fn the_former_anchors_period_stays_current_during_grace_and_ends_with_it() {
    let former = Subscription {
        anchor: day(2),
        ..lapsed(S::Canceled, "pro", Some(day(12)))
    };
    let remembered = anchored(day(2), day(2));
    let within = stand_since(day(11), std::slice::from_ref(&former), remembered);
    assert_eq!(
        (within.anchoring, within.period.start),
        (remembered, day(2))
    );
    for now in [day(12), day(25)] {
        let over = stand_since(now, std::slice::from_ref(&former), remembered);
        assert_eq!(
            over.anchoring,
            Anchoring {
                anchor: None,
                since: Some(day(12)),
                settled: Some(day(2)),
            }
        );
        assert_eq!(
            over.period,
            Period {
                start: day(12),
                end: day(31)
            }
        );
    }
}

#[test]
fn no_second_quota_begins_during_a_grace_beside_a_live_subscription() {
    let former = Subscription {
        anchor: day(2),
        ..lapsed(S::Canceled, "scale", Some(day(12)))
    };
    let remembered = anchored(day(2), day(2));
    let customer = [former, manual("pro")];
    assert_eq!(
        stand_since(day(11), &customer, remembered).anchoring,
        remembered
    );
    assert_eq!(
        turned(&stand_since(day(13), &customer, remembered)),
        (Some(day(3)), Some(day(12)))
    );
}

#[test]
fn a_change_of_anchor_with_a_downgrade_waits_for_the_graces_end() {
    let lowered = Subscription {
        anchor: day(5),
        grace: Some(Grace {
            plan: first("scale"),
            ends_at: day(12),
        }),
        ..subscription(S::Active, "pro")
    };
    let remembered = anchored(day(2), day(2));
    let customer = [lowered];
    assert_eq!(
        stand_since(day(6), &customer, remembered).anchoring,
        remembered
    );
    assert_eq!(
        turned(&stand_since(day(12), &customer, remembered)),
        (Some(day(5)), Some(day(12)))
    );
}

#[test]
fn the_end_of_a_subscription_that_does_not_count_begins_no_period() {
    let counting = manual("scale");
    let granted_until = Subscription {
        access_ends_at: Some(day(10)),
        ..subscription(S::Active, "pro")
    };
    let remembered = anchored(day(3), day(3));
    for now in [hour(9 * 24), day(10), day(18)] {
        let standing = stand_since(now, &[counting.clone(), granted_until.clone()], remembered);
        assert_eq!(standing.anchoring, remembered);
    }
}

#[test]
fn the_instant_at_which_the_clock_turned_the_anchor_does_not_move_later() {
    let higher = Subscription {
        access_ends_at: Some(day(10)),
        ..subscription(S::Active, "scale")
    };
    let lowest = Subscription {
        access_ends_at: Some(day(20)),
        anchor: day(1),
        ..subscription(S::Active, "free")
    };
    let customer = [higher, manual("pro"), lowest];
    for now in [day(17), day(19), day(21), day(29)] {
        assert_eq!(
            turned(&stand_since(now, &customer, anchored(day(0), day(0)))),
            (Some(day(3)), Some(day(17)))
        );
    }
}

#[test]
fn a_plan_that_is_not_known_here_is_named() {
    let unknown = subscription(S::Active, "platinum");
    let error = Standing::at(day(1), &[unknown], UNANCHORED, &plans()).unwrap_err();
    assert_eq!(error, UnknownPlan(first("platinum")));
}
