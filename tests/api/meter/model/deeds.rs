//! Random histories: what several callers do to two customers, while time passes and operators change what is allowed.

use proptest::prelude::*;

use super::words::{Feature, TIERS};

/// When something happened that is recorded.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Now,
    /// Minutes before; after, where negative.
    Ago(i64),
}

/// How much of a reservation is committed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    All,
    Nothing,
    Units(i64),
}

/// What one caller asks for. `which` names one of the customer's reservations.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Consume(Feature, i64, Option<u8>),
    Release(Feature, i64, Option<u8>),
    Set(Feature, i64, Option<u8>),
    Record(Feature, i64, When, u8),
    Adjust(Feature, i64, u8),
    Reserve(Feature, i64, i64, Option<u8>),
    Commit { which: u8, part: Part },
    Free { which: u8 },
}

/// A step of a history.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Something is asked for.
    One(usize, Deed),
    /// An earlier caller asks for exactly the same again.
    Again(u8),
    /// Several callers ask at the same time.
    Burst(Vec<(usize, Deed)>),
    /// Seconds go by.
    Pass(i64),
    /// An operator grants a plan.
    Grant(usize, usize),
    /// An operator ends the plan in force.
    End(usize),
    /// An operator allows more, or with a cap less, for so many days.
    Override(usize, Feature, i64, bool, i64),
}

pub(super) const CUSTOMERS: usize = 2;

fn customer() -> impl Strategy<Value = usize> {
    0..CUSTOMERS
}

/// Few keys, so that they meet again.
fn key() -> impl Strategy<Value = u8> {
    0..6_u8
}

fn any_feature() -> impl Strategy<Value = Feature> {
    prop_oneof![
        12 => Just(Feature::Runs),
        6 => Just(Feature::Models),
        1 => Just(Feature::Export),
        1 => Just(Feature::Nonsense),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let when = prop_oneof![
        3 => Just(When::Now),
        // Clocks differ; five minutes are borne with.
        1 => Just(When::Ago(-3)),
        1 => Just(When::Ago(-6)),
        2 => Just(When::Ago(1)),
        2 => Just(When::Ago(26 * 60)),
        2 => Just(When::Ago(4 * 24 * 60)),
        1 => Just(When::Ago(40 * 24 * 60)),
    ];
    let part = prop_oneof![
        4 => Just(Part::All),
        2 => Just(Part::Nothing),
        3 => (1..6_i64).prop_map(Part::Units),
    ];
    let ttl = prop_oneof![Just(60), Just(3600), Just(86_400), Just(20 * 86_400)];
    let maybe = || proptest::option::weighted(0.4, key());
    prop_oneof![
        8 => (any_feature(), 1..5_i64, maybe()).prop_map(|(f, n, k)| Deed::Consume(f, n, k)),
        2 => (any_feature(), 1..3_i64, maybe()).prop_map(|(f, n, k)| Deed::Release(f, n, k)),
        1 => (any_feature(), 0..5_i64, maybe()).prop_map(|(f, n, k)| Deed::Set(f, n, k)),
        4 => (any_feature(), 1..4_i64, when, key()).prop_map(|(f, n, w, k)| Deed::Record(f, n, w, k)),
        2 => (any_feature(), -4..5_i64, key()).prop_map(|(f, n, k)| Deed::Adjust(f, n, k)),
        6 => (any_feature(), 1..6_i64, ttl, maybe()).prop_map(|(f, n, t, k)| Deed::Reserve(f, n, t, k)),
        5 => (any::<u8>(), part).prop_map(|(which, part)| Deed::Commit { which, part }),
        2 => any::<u8>().prop_map(|which| Deed::Free { which }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let day = 86_400;
    let seconds = prop_oneof![
        4 => 1..50_i64,
        3 => Just(61),
        2 => Just(3601),
        3 => Just(day + 1),
        2 => Just(4 * day),
        1 => Just(20 * day),
        1 => Just(40 * day),
    ];
    let grown = prop_oneof![Just(Feature::Runs), Just(Feature::Models)];
    prop_oneof![
        30 => (customer(), deed()).prop_map(|(who, deed)| Act::One(who, deed)),
        6 => any::<u8>().prop_map(Act::Again),
        8 => proptest::collection::vec((customer(), deed()), 2..7).prop_map(Act::Burst),
        // The same by many: what is admitted is what fits.
        3 => (customer(), deed(), 3..6_usize).prop_map(|(who, deed, n)| Act::Burst(vec![(who, deed); n])),
        7 => seconds.prop_map(Act::Pass),
        2 => (customer(), 0..TIERS.len()).prop_map(|(who, tier)| Act::Grant(who, tier)),
        1 => customer().prop_map(Act::End),
        2 => (customer(), grown, 0..16_i64, any::<bool>(), 1..30_i64)
            .prop_map(|(who, f, limit, cap, days)| Act::Override(who, f, limit, cap, days)),
    ]
}

/// The instant that a history begins at: before the ends of a month of 31 days, of a leap year's February, of a year.
pub(super) const BEGINNINGS: [&str; 3] = [
    "2026-01-30T12:00:00Z",
    "2028-02-28T23:30:00Z",
    "2026-12-31T23:59:30Z",
];

pub(super) fn history(steps: usize) -> impl Strategy<Value = (usize, Vec<Act>)> {
    (
        0..BEGINNINGS.len(),
        // Short ones, too: what fails is made as short as it can be.
        proptest::collection::vec(act(), 1..=steps),
    )
}
