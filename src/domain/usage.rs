//! Counters: how full they are, and which warnings they cross.

use serde::{Deserialize, Serialize};

use super::catalogue::FeatureKind;

/// Warning levels in percent of the limit (PRODUCT section 2).
pub const WARNING_LEVELS: [u8; 3] = [80, 90, 100];

/// What is counted for one customer and feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Recorded in the period (metered) or existing now (allocated); never negative.
    pub used: i64,
    /// Live reservations; never negative.
    pub held: i64,
}

impl Balance {
    /// `max(0, limit − used − held)`; `None`: unlimited.
    pub fn remaining(self, limit: Option<i64>) -> Option<i64> {
        limit.map(|limit| {
            limit
                .saturating_sub(self.used)
                .saturating_sub(self.held)
                .max(0)
        })
    }
}

/// The highest level that `used` has reached; `None` below the first, and where the limit is unlimited or 0.
pub fn warning_level(used: i64, limit: Option<i64>) -> Option<u8> {
    let limit = limit.filter(|limit| *limit > 0)?;
    WARNING_LEVELS
        .into_iter()
        .rfind(|level| i128::from(used) * 100 >= i128::from(limit) * i128::from(*level))
}

/// The levels that `used` crosses for the first time: those above `announced`, lowest first.
pub fn levels_crossed(used: i64, limit: Option<i64>, announced: u8) -> Vec<u8> {
    let reached = warning_level(used, limit).unwrap_or(0);
    WARNING_LEVELS
        .into_iter()
        .filter(|level| *level > announced && *level <= reached)
        .collect()
}

/// The warning mark to keep. Within a period each level is announced once; a gauge has no period, so its mark follows it down.
pub fn mark(kind: FeatureKind, announced: i16, used: i64, limit: Option<i64>) -> i16 {
    let reached = warning_level(used, limit).map_or(0, i16::from);
    if kind == FeatureKind::Metered {
        reached.max(announced)
    } else {
        reached
    }
}

/// `used` in percent of `limit`, rounded down to two decimals; `None` where the limit is unlimited or 0. For display only.
pub fn percent_used(used: i64, limit: Option<i64>) -> Option<f64> {
    let limit = limit.filter(|limit| *limit > 0)?;
    let hundredths = i128::from(used) * 10_000 / i128::from(limit);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
        .parse()
        .ok()
}

/// What was used above the limit: `max(0, used − limit)`.
pub fn overage(used: i64, limit: Option<i64>) -> i64 {
    limit.map_or(0, |limit| used.saturating_sub(limit).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_down_to_two_decimals() {
        assert_eq!(percent_used(151, Some(5000)), Some(3.02));
        assert_eq!(percent_used(2, Some(3)), Some(66.66));
        assert_eq!(
            percent_used(i64::MAX, Some(1)),
            Some(922_337_203_685_477_580_700.0)
        );
        assert_eq!(percent_used(5, Some(0)), None);
        assert_eq!(percent_used(5, None), None);
    }

    #[test]
    fn a_jump_crosses_every_level_once() {
        assert_eq!(levels_crossed(79, Some(100), 0), Vec::<u8>::new());
        assert_eq!(levels_crossed(100, Some(100), 0), vec![80, 90, 100]);
        assert_eq!(levels_crossed(100, Some(100), 80), vec![90, 100]);
        assert_eq!(levels_crossed(85, Some(100), 80), Vec::<u8>::new());
        assert_eq!(levels_crossed(5, Some(0), 0), Vec::<u8>::new());
    }

    #[test]
    fn nothing_wraps_at_the_ends_of_the_range() {
        assert_eq!(
            Balance {
                used: i64::MAX,
                held: i64::MAX
            }
            .remaining(Some(0)),
            Some(0)
        );
        assert_eq!(warning_level(i64::MAX, Some(i64::MAX)), Some(100));
        assert_eq!(overage(i64::MAX, Some(0)), i64::MAX);
    }
}
