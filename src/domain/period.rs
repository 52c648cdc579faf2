//! Usage periods: monthly steps from an anchor, in UTC.

use chrono::{DateTime, Datelike, Months, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A half-open span `[start, end)` in which a metered feature's usage is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Period {
    /// First instant of the period.
    pub start: DateTime<Utc>,
    /// First instant after the period.
    pub end: DateTime<Utc>,
}

impl Period {
    /// The period that `now` falls in: steps from `anchor` (calendar months where there is none), beginning no earlier than
    /// `since`, the instant at which the anchor took over (PRODUCT section 2, "Usage period").
    ///
    /// Each step is counted from the anchor itself, so an anchor on the 31st clamps to shorter months and comes back to the 31st.
    pub fn containing(
        now: DateTime<Utc>,
        anchor: Option<DateTime<Utc>>,
        since: Option<DateTime<Utc>>,
    ) -> Self {
        let anchor = anchor.unwrap_or(DateTime::UNIX_EPOCH);
        let mut index = month_number(now) - month_number(anchor);
        // Within its month the anchor's instant may still lie ahead; clamping never moves a step out of its month.
        if step(anchor, index) > now {
            index -= 1;
        }
        let whole = Self {
            start: step(anchor, index),
            end: step(anchor, index + 1),
        };
        match since {
            Some(since) if since > whole.start && since < whole.end && since <= now => Self {
                start: since,
                end: whole.end,
            },
            _ => whole,
        }
    }

    /// Whether `instant` lies in `[start, end)`.
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.start <= instant && instant < self.end
    }
}

fn month_number(instant: DateTime<Utc>) -> i32 {
    instant.year() * 12 + i32::try_from(instant.month0()).unwrap_or(0)
}

/// `anchor` moved by `months`, clamped to the last day of a shorter month; saturates at the calendar's ends.
fn step(anchor: DateTime<Utc>, months: i32) -> DateTime<Utc> {
    let by = Months::new(months.unsigned_abs());
    if months < 0 {
        anchor
            .checked_sub_months(by)
            .unwrap_or(DateTime::<Utc>::MIN_UTC)
    } else {
        anchor
            .checked_add_months(by)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn without_an_anchor_periods_are_calendar_months() {
        let period = Period::containing(at("2026-02-14T08:00:00Z"), None, None);
        assert_eq!(
            period,
            Period {
                start: at("2026-02-01T00:00:00Z"),
                end: at("2026-03-01T00:00:00Z")
            }
        );
    }

    #[test]
    fn an_anchor_on_the_31st_clamps_and_comes_back() {
        let anchor = Some(at("2026-01-31T10:00:00Z"));
        let february = Period::containing(at("2026-03-01T00:00:00Z"), anchor, None);
        assert_eq!(
            february,
            Period {
                start: at("2026-02-28T10:00:00Z"),
                end: at("2026-03-31T10:00:00Z")
            }
        );
        let leap = Period::containing(at("2028-02-29T10:00:00Z"), anchor, None);
        assert_eq!(
            leap,
            Period {
                start: at("2028-02-29T10:00:00Z"),
                end: at("2028-03-31T10:00:00Z")
            }
        );
    }

    #[test]
    fn a_new_anchor_opens_its_first_period_when_it_takes_over() {
        let since = at("2026-01-10T00:00:00Z");
        let period = Period::containing(
            at("2026-01-12T00:00:00Z"),
            Some(at("2026-01-24T00:00:00Z")),
            Some(since),
        );
        assert_eq!(
            period,
            Period {
                start: since,
                end: at("2026-01-24T00:00:00Z")
            }
        );
    }

    proptest! {
        #[test]
        fn periods_tile_time_without_gap_or_overlap(anchor in 0i64..4_000_000_000, now in 0i64..4_000_000_000) {
            let anchor = DateTime::from_timestamp(anchor, 0);
            let now = DateTime::from_timestamp(now, 0).unwrap();
            let period = Period::containing(now, anchor, None);
            prop_assert!(period.contains(now));
            let next = Period::containing(period.end, anchor, None);
            prop_assert_eq!(next.start, period.end);
            let last = Period::containing(period.end - chrono::TimeDelta::microseconds(1), anchor, None);
            prop_assert_eq!(last, period);
            let days = (period.end - period.start).num_days();
            prop_assert!((28..=31).contains(&days));
        }
    }
}
