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

fn limit(limit: i64, cap: bool) -> Override {
    Override {
        limit: Some(limit),
        cap,
        ..Override::default()
    }
}

fn add(add: i64) -> Override {
    Override {
        add: Some(add),
        ..Override::default()
    }
}

#[test]
fn an_override_raises_a_limit_and_its_soft_zone() {
    let (hundred, unlimited) = (metered(Some(100), 110), metered(None, 110));
    let plan = |limit, hard_limit| (true, limit, hard_limit, LimitSource::Plan);
    let changed = |limit, hard_limit| (true, Some(limit), Some(hard_limit), LimitSource::Override);
    for (name, grant, adjustment, expected) in [
        (
            "no change",
            Some(&hundred),
            Override::default(),
            plan(Some(100), Some(110)),
        ),
        (
            "a higher limit",
            Some(&hundred),
            limit(200, false),
            changed(200, 220),
        ),
        (
            "a lower limit without a cap",
            Some(&hundred),
            limit(50, false),
            plan(Some(100), Some(110)),
        ),
        (
            "a lower limit with a cap",
            Some(&hundred),
            limit(50, true),
            changed(50, 55),
        ),
        ("more", Some(&hundred), add(5), changed(105, 115)),
        (
            "less without a cap",
            Some(&hundred),
            add(-5),
            plan(Some(100), Some(110)),
        ),
        (
            "more than fits",
            Some(&hundred),
            add(i64::MAX),
            changed(i64::MAX, i64::MAX),
        ),
        (
            "unlimited stays so",
            Some(&unlimited),
            limit(5, false),
            plan(None, None),
        ),
        (
            "a cap on the unlimited",
            Some(&unlimited),
            limit(5, true),
            changed(5, 5),
        ),
        (
            "beyond the plan",
            None,
            limit(100, false),
            changed(100, 110),
        ),
    ] {
        assert_eq!(
            terms(grant, FeatureKind::Metered, &adjustment),
            expected,
            "{name}"
        );
    }
    let absent = terms(None, FeatureKind::Metered, &Override::default());
    assert_eq!(absent, (false, Some(0), Some(0), LimitSource::Plan));
}

#[test]
fn only_metered_features_have_a_soft_zone() {
    let seats = Grant::Allocated { limit: Some(3) };
    let days = Grant::Static { limit: Some(7) };
    assert_eq!(
        terms(Some(&seats), FeatureKind::Allocated, &add(7)),
        (true, Some(10), Some(10), LimitSource::Override)
    );
    assert_eq!(
        terms(Some(&days), FeatureKind::Static, &limit(30, false)),
        (true, Some(30), None, LimitSource::Override)
    );
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
