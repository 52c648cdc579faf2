//! Use above a limit that a provider bills: what is owed for it, and under which instant the provider is told.
//!
//! Each unit is billed by the limit in force when it was recorded: a change of a counter owes the difference of what is above
//! that limit before and after. A correction downwards takes back what it takes from above the limit in force then, and never
//! more than is owed for its counter: units that nobody was billed for (they were recorded under a higher limit, or under a
//! plan without overage) are no credit.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// How long what is owed gathers before the provider is told: a quarter of the promised minute.
pub const GATHERS: TimeDelta = TimeDelta::seconds(15);
/// A period's invoice takes usage for about an hour after its end. What is told later must count for the next one.
const INVOICE_TAKES: TimeDelta = TimeDelta::minutes(50);
/// What was told under an instant after its own period is on the next invoice, which is open for about a month.
const NEXT_INVOICE_TAKES: TimeDelta = TimeDelta::days(27);
/// What every identifier begins with.
const IDENTIFIED_BY: &str = "plangate-";

/// What several changes of one counter add to what is owed for it, which is never below zero after any of them. That depends on
/// what was owed before, which need not be known to put changes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owed {
    /// The sum of the changes.
    pub sum: i64,
    /// What is owed at least after them, whatever was owed before.
    pub least: i64,
}

impl Owed {
    /// A change that takes nothing back which was not owed.
    pub const fn exactly(quantity: i64) -> Self {
        Self {
            sum: quantity,
            least: quantity,
        }
    }

    /// One more change of what is above the limit.
    #[must_use]
    pub fn and(self, change: i64) -> Self {
        Self {
            sum: self.sum.saturating_add(change),
            least: self.least.saturating_add(change).max(0),
        }
    }

    /// Whether what was owed before does not matter.
    pub const fn is_exact(self) -> bool {
        self.sum == self.least
    }

    /// By what the changes change what is owed where so much was owed before them.
    pub fn after(self, owed: i64) -> i64 {
        self.sum.max(self.least.saturating_sub(owed))
    }
}

/// The instant under which use of a period is told: the latest of it, as long as the period's invoice can take it.
pub fn told_at(
    used_at: DateTime<Utc>,
    period_end: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    match period_end {
        Some(end) if end + INVOICE_TAKES < now => now,
        // Late use belongs to the period that it is counted in.
        Some(end) => used_at.min(end - TimeDelta::seconds(1)),
        None => used_at,
    }
}

/// Whether the invoice that takes what was told under an instant is still open: taking it back later would not change it.
pub fn is_invoice_open(
    told_at: DateTime<Utc>,
    period_end: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    period_end.is_none_or(|end| {
        let takes = if told_at < end {
            INVOICE_TAKES
        } else {
            NEXT_INVOICE_TAKES
        };
        now <= end + takes
    })
}

/// What the provider knows a report by: the same each time it is told.
pub fn identifier(report: Uuid) -> String {
    format!("{IDENTIFIED_BY}{}", report.simple())
}

/// The report that an identifier names; `None`: it is none of ours.
pub fn identified(identifier: &str) -> Option<Uuid> {
    let id = identifier.strip_prefix(IDENTIFIED_BY)?;
    Uuid::try_parse(id)
        .ok()
        .filter(|uuid| uuid.simple().to_string() == id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    proptest! {
        #[test]
        fn changes_put_together_do_what_they_do_one_after_another(
            before in 0..50_i64,
            changes in proptest::collection::vec(-20..20_i64, 0..12),
        ) {
            let one_by_one = changes.iter().fold(before, |owed, change| (owed + change).max(0));
            let together = changes.iter().fold(Owed::default(), |owed, change| owed.and(*change));
            prop_assert_eq!(before + together.after(before), one_by_one);
            if together.is_exact() {
                prop_assert_eq!(together.after(before), together.sum);
            }
        }

        #[test]
        fn identifiers_name_their_report(bits in any::<u128>()) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(identified(&identifier(id)), Some(id));
        }
    }

    #[test]
    fn what_others_tell_the_provider_is_none_of_ours() {
        for other in [
            "",
            "plangate-",
            "plangate-1",
            "other-0189d0c0",
            "plangate-{0189d0c0-0000-7000-8000-000000000000}",
        ] {
            assert_eq!(identified(other), None, "{other}");
        }
    }

    #[test]
    fn use_is_told_within_its_period_until_its_invoice_is_about_to_be_final() {
        let end = Some(at("2026-02-12T00:00:00Z"));
        let used = at("2026-02-11T23:59:58Z");
        assert_eq!(told_at(used, end, used), used);
        let late = at("2026-02-12T00:10:00Z");
        assert_eq!(told_at(late, end, late), at("2026-02-11T23:59:59Z"));
        assert_eq!(told_at(used, end, at("2026-02-12T00:50:00Z")), used);
        let next = at("2026-02-12T00:50:01Z");
        assert_eq!(told_at(used, end, next), next);
    }

    #[test]
    fn what_is_on_a_final_invoice_is_not_taken_back() {
        let end = Some(at("2026-02-12T00:00:00Z"));
        let (within, after) = (at("2026-02-11T20:00:00Z"), at("2026-02-12T02:00:00Z"));
        assert!(is_invoice_open(within, end, at("2026-02-12T00:50:00Z")));
        assert!(!is_invoice_open(within, end, at("2026-02-12T00:50:01Z")));
        assert!(is_invoice_open(after, end, at("2026-02-13T02:00:00Z")));
        assert!(!is_invoice_open(after, end, at("2026-03-12T00:00:00Z")));
    }
}
