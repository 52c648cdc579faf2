//! Histories that make no sense: whatever is reported, a lapse has one grace.

use SubscriptionStatus as S;
use proptest::prelude::*;

use super::*;
use crate::domain::fixtures::{GRACE_DAYS, day, hour, report, subscription};

fn grace_ends(subscription: &Subscription, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    subscription
        .grace_at(now, GRACE_DAYS)
        .map(|grace| grace.ends_at)
}

/// A report of a subscription whose history makes no sense, at an hour of the first months.
fn any_report() -> impl Strategy<Value = Report> {
    let instant = || proptest::option::weighted(0.3, (0i64..2_000).prop_map(hour));
    let status = proptest::sample::select(S::ALL.to_vec());
    (
        status,
        proptest::sample::select(vec!["free", "pro", "scale"]),
        any::<bool>(),
        (instant(), instant(), instant()),
        0i64..3,
        proptest::bool::weighted(0.8),
    )
        .prop_map(
            |(status, tier, cancel_at_period_end, instants, month, end_with_grace)| {
                let (cancel_at, ended_at, paid_until) = instants;
                Report {
                    cancel_at_period_end,
                    cancel_at,
                    ended_at,
                    paid_until,
                    end_with_grace,
                    current_period_start: Some(day(31 * month)),
                    current_period_end: Some(day(31 * (month + 1))),
                    ..report(status, tier)
                }
            },
        )
}

fn rank(plan: &PlanRef) -> Option<usize> {
    ["free", "pro", "scale"]
        .into_iter()
        .position(|tier| tier == plan.tier)
}

/// Hours that pass before each of some reports, and those.
fn history() -> impl Strategy<Value = Vec<(i64, Report)>> {
    proptest::collection::vec((prop_oneof![0i64..48, 0i64..400], any_report()), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_lapse_has_one_grace_which_nothing_extends_or_reopens(history in history()) {
        let mut stored = subscription(S::Incomplete, "pro");
        let mut now = day(0);
        for (hours, report) in history {
            now += chrono::TimeDelta::hours(hours);
            let lowers = rank(&report.plan) < rank(&stored.plan);
            let Some(change) = stored.apply(report.clone(), lowers, now, GRACE_DAYS) else {
                prop_assert!(stored.status.is_terminal() && report.status != stored.status);
                continue;
            };
            let before = grace_ends(&stored, now);
            let after = grace_ends(&change.after, now);
            prop_assert!(after.is_none_or(|end| end <= now + Days::new(7)), "no grace is longer than seven days");
            if !change.newly_active && stored.lapsed {
                prop_assert!(change.after.lapsed);
                prop_assert!(after <= before, "{before:?} became {after:?}");
            }
            if change.newly_active {
                prop_assert_eq!(change.after.access(now), Access::Live);
                prop_assert_eq!(after, None);
            }
            stored = change.after;
        }
    }

    #[test]
    fn a_report_told_again_later_changes_nothing_that_counts(history in history(), again in 1i64..1_000, look in 0i64..500) {
        let mut once = subscription(S::Incomplete, "pro");
        let mut now = day(0);
        let mut last = None;
        for (hours, report) in history {
            now += chrono::TimeDelta::hours(hours);
            let lowers = rank(&report.plan) < rank(&once.plan);
            if let Some(change) = once.apply(report.clone(), lowers, now, GRACE_DAYS) {
                once = change.after;
                last = Some(report);
            }
        }
        if let Some(report) = last {
            let then = now + chrono::TimeDelta::hours(again);
            let change = once.apply(report, false, then, GRACE_DAYS).unwrap();
            prop_assert!(!change.newly_active);
            let later = then + chrono::TimeDelta::hours(look);
            prop_assert_eq!(change.after.access(later), once.access(later));
            prop_assert_eq!(change.after.grace_at(later, GRACE_DAYS), once.grace_at(later, GRACE_DAYS));
        }
    }

    #[test]
    fn only_at_its_turns_does_the_clock_change_what_a_subscription_is_good_for(history in history(), a in 0i64..3_000, b in 0i64..3_000) {
        let mut stored = subscription(S::Incomplete, "pro");
        for (index, (_, report)) in history.into_iter().enumerate() {
            let now = day(i64::try_from(index).unwrap());
            if let Some(change) = stored.apply(report, false, now, GRACE_DAYS) {
                stored = change.after;
            }
        }
        let (a, b) = (hour(a.min(b)), hour(a.max(b)));
        if !stored.turns(GRACE_DAYS).any(|turn| a < turn && turn <= b) {
            let runs = |at| stored.grace_at(at, GRACE_DAYS).filter(|grace| at < grace.ends_at);
            prop_assert_eq!(stored.access(a), stored.access(b));
            prop_assert_eq!(runs(a), runs(b));
        }
    }
}
