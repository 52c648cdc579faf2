//! Which denials were noted already: a caller who is turned away a thousand times in an hour costs one row, and one write.

use chrono::{DateTime, Utc};
use moka::sync::Cache;

use crate::store::denials::hour_of;

/// Most denials that are remembered; more only cost a statement each.
const REMEMBERED: u64 = 10_000;

/// Somebody was denied something in an hour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Denial {
    customer: String,
    feature: String,
    hour: DateTime<Utc>,
}

impl Denial {
    pub(super) fn new(customer: &str, feature: &str, now: DateTime<Utc>) -> Self {
        Self {
            customer: customer.to_owned(),
            feature: feature.to_owned(),
            hour: hour_of(now),
        }
    }
}

/// The denials that this process has noted.
pub(super) struct NotedDenials(Cache<Denial, ()>);

impl NotedDenials {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    pub(super) fn knows(&self, denial: &Denial) -> bool {
        self.0.contains_key(denial)
    }

    /// Remembers denials that are in the database now.
    pub(super) fn remember(&self, denials: impl IntoIterator<Item = Denial>) {
        for denial in denials {
            self.0.insert(denial, ());
        }
    }
}
