use proptest::prelude::*;

use super::*;
use crate::domain::catalogue::Grant;
use crate::domain::fixtures::{billed, day, metered, plan};

fn terms(
    grant: Option<&Grant>,
    kind: FeatureKind,
    adjustment: &Override,
) -> (bool, Option<i64>, Option<i64>, LimitSource) {
    let features: Vec<_> = grant
        .map(|grant| ("f", grant.clone()))
        .into_iter()
        .collect();
    let plan = plan("tier", &features);
    let terms = Terms::of(&plan, "f", kind, Some(adjustment));
    (terms.granted, terms.limit, terms.hard_limit, terms.source)
}

#[test]
fn an_override_raises_a_limit_and_its_soft_zone() {
    use FeatureKind::{Allocated, Metered, Static};
    use LimitSource::{Override as Changed, Plan};
    let limit = |limit, cap| Override {
        limit: Some(limit),
        cap,
        ..Override::default()
    };
    let add = |add, cap| Override {
        add: Some(add),
        cap,
        ..Override::default()
    };
    let hundred = metered(Some(100), 110);
    let unlimited = metered(None, 110);
    let seats = Grant::Allocated { limit: Some(3) };
    let days = Grant::Static { limit: Some(7) };
    for (name, grant, kind, adjustment, expected) in [
        (
            "no change",
            Some(&hundred),
            Metered,
            Override::default(),
            (true, Some(100), Some(110), Plan),
        ),
        (
            "a higher limit",
            Some(&hundred),
            Metered,
            limit(200, false),
            (true, Some(200), Some(220), Changed),
        ),
        (
            "a lower limit without a cap",
            Some(&hundred),
            Metered,
            limit(50, false),
            (true, Some(100), Some(110), Plan),
        ),
        (
            "a lower limit with a cap",
            Some(&hundred),
            Metered,
            limit(50, true),
            (true, Some(50), Some(55), Changed),
        ),
        (
            "more",
            Some(&hundred),
            Metered,
            add(5, false),
            (true, Some(105), Some(115), Changed),
        ),
        (
            "less without a cap",
            Some(&hundred),
            Metered,
            add(-5, false),
            (true, Some(100), Some(110), Plan),
        ),
        (
            "more than fits",
            Some(&hundred),
            Metered,
            add(i64::MAX, false),
            (true, Some(i64::MAX), Some(i64::MAX), Changed),
        ),
        (
            "unlimited stays so",
            Some(&unlimited),
            Metered,
            limit(5, false),
            (true, None, None, Plan),
        ),
        (
            "a cap on the unlimited",
            Some(&unlimited),
            Metered,
            limit(5, true),
            (true, Some(5), Some(5), Changed),
        ),
        (
            "beyond the plan",
            None,
            Metered,
            limit(100, false),
            (true, Some(100), Some(110), Changed),
        ),
        (
            "not in the plan",
            None,
            Metered,
            Override::default(),
            (false, Some(0), Some(0), Plan),
        ),
        (
            "no soft zone for a gauge",
            Some(&seats),
            Allocated,
            add(7, false),
            (true, Some(10), Some(10), Changed),
        ),
        (
            "no hard limit for a value",
            Some(&days),
            Static,
            limit(30, false),
            (true, Some(30), None, Changed),
        ),
    ] {
        assert_eq!(terms(grant, kind, &adjustment), expected, "{name}");
    }
}

#[test]
fn a_switch_is_turned_on_by_an_override_and_off_only_by_a_cap() {
    let enabled = |enabled, cap| Override {
        enabled: Some(enabled),
        cap,
        ..Override::default()
    };
    for (planned, adjustment, granted) in [
        (Some(false), enabled(true, false), true),
        (None, enabled(true, false), true),
        (Some(true), enabled(false, false), true),
        (Some(true), enabled(false, true), false),
        (Some(false), enabled(false, false), false),
    ] {
        let grant = planned.map(|enabled| Grant::Boolean { enabled });
        let (is_granted, limit, hard_limit, source) =
            terms(grant.as_ref(), FeatureKind::Boolean, &adjustment);
        assert_eq!((is_granted, limit, hard_limit), (granted, None, None));
        let changed = granted != planned.unwrap_or(false);
        assert_eq!(source == LimitSource::Override, changed);
    }
}

#[test]
fn what_is_billed_has_no_hard_limit() {
    let (_, limit, hard_limit, _) = terms(
        Some(&billed(10, None)),
        FeatureKind::Metered,
        &Override::default(),
    );
    assert_eq!((limit, hard_limit), (Some(10), None));
}

#[test]
fn an_override_counts_until_it_expires() {
    let until = Override {
        expires_at: Some(day(1)),
        ..Override::default()
    };
    assert!(until.is_current(day(0)) && !until.is_current(day(1)));
    assert!(Override::default().is_current(day(1)));
}

#[test]
fn the_hard_limit_is_rounded_down() {
    assert_eq!(
        [
            percent_of(5, 110),
            percent_of(9, 110),
            percent_of(10, 110),
            percent_of(i64::MAX, 200)
        ],
        [5, 9, 11, i64::MAX]
    );
}

proptest! {
    #[test]
    fn without_a_cap_no_override_lowers_a_limit(
        planned in proptest::option::of(0..=i64::MAX), limit in any::<Option<i64>>(), add in any::<Option<i64>>(), percent in 100u32..=100_000,
    ) {
        let adjustment = Override { limit, add, ..Override::default() };
        let (granted, given, hard_limit, _) = terms(Some(&metered(planned, percent)), FeatureKind::Metered, &adjustment);
        prop_assert!(granted);
        let (planned, given) = (planned.unwrap_or(i64::MAX), given.unwrap_or(i64::MAX));
        prop_assert!(given >= planned && hard_limit.unwrap_or(i64::MAX) >= given);
    }
}
