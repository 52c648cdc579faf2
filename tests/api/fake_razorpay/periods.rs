//! Billing cycles.

use chrono::{DateTime, Days, Months, TimeDelta};
use serde_json::Value;

/// Razorpay's days are India's.
const INDIA: TimeDelta = TimeDelta::minutes(5 * 60 + 30);
const DAY: i64 = 24 * 60 * 60;

/// How often a plan is paid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cycle {
    period: Period,
    interval: u32,
    /// Whether cycles end with a day of India's calendar.
    whole_days: bool,
}

#[derive(Debug, Clone, Copy)]
enum Period {
    Days(u64),
    Months(u32),
}

impl Cycle {
    pub(crate) fn of(plan: &Value, whole_days: bool) -> Self {
        let period = match plan["period"].as_str() {
            Some("daily") => Period::Days(1),
            Some("weekly") => Period::Days(7),
            Some("monthly") => Period::Months(1),
            Some("yearly") => Period::Months(12),
            other => panic!("no period {other:?}"),
        };
        let interval = plan["interval"].as_u64().expect("a plan has an interval");
        Self {
            period,
            interval: u32::try_from(interval).expect("it is small"),
            whole_days,
        }
    }

    /// The end of the `n`-th cycle (from 1) of a subscription that began at `start`. A day that a month does not have is its last one.
    pub(crate) fn end(self, start: i64, n: u32) -> i64 {
        let count = self.interval * n;
        let began = DateTime::from_timestamp(start, 0).expect("it is an instant") + INDIA;
        let end = match self.period {
            Period::Days(days) => began + Days::new(days * u64::from(count)),
            Period::Months(months) => began + Months::new(months * count),
        };
        let local = end.timestamp();
        let local = if self.whole_days {
            local - local.rem_euclid(DAY)
        } else {
            local
        };
        local - INDIA.num_seconds()
    }

    /// How many cycles a subscription may have at most: a hundred years.
    pub(crate) fn most(self) -> i64 {
        let interval = i64::from(self.interval);
        match self.period {
            Period::Days(days) => 36_500 / i64::try_from(days).expect("it is small") / interval,
            Period::Months(months) => 1_200 / i64::from(months) / interval,
        }
    }
}
