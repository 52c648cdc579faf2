//! What is asked and told in the model's histories, and the plans that they are played on.

use chrono::{DateTime, Utc};
use plangate::domain::decision::Reason;

pub(super) type Time = DateTime<Utc>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feature {
    /// Metered: 10 (and a soft zone up to 11), 20 (and 5 that are billed), unlimited.
    Runs,
    /// Allocated: not in the lowest tier, 3, 5.
    Models,
    /// On or off: not counted.
    Export,
    /// In no plan.
    Nonsense,
}

impl Feature {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Models => "models",
            Self::Export => "export",
            Self::Nonsense => "nonsense",
        }
    }
}

/// The tiers, lowest first; the first is the default.
pub(super) const TIERS: [&str; 3] = ["free", "pro", "scale"];

/// The plans as the service is given them.
pub(super) const CATALOGUE: &str = r#"{
  "default_tier": "free", "grace_period_days": 7, "late_usage_days": 3,
  "features": [{"key": "runs", "name": "Runs", "kind": "metered"}, {"key": "models", "name": "Models", "kind": "allocated"},
               {"key": "export", "name": "Export", "kind": "boolean"}],
  "tiers": [
    {"tier": "free", "name": "Free", "description": "-", "badge": null, "prices": [], "upgrade_to": "pro",
     "limits": {"runs": 10, "export": false}},
    {"tier": "pro", "name": "Pro", "description": "-", "badge": null, "upgrade_to": "scale",
     "prices": [{"currency": "usd", "unit_amount": 4900, "interval": "month"}],
     "limits": {"runs": {"limit": 20, "overage": {"max_quantity": 5, "prices": [{"currency": "usd", "unit_amount_decimal": "1"}]}},
                "models": 3, "export": true}},
    {"tier": "scale", "name": "Scale", "description": "-", "badge": null, "upgrade_to": null,
     "prices": [{"currency": "usd", "unit_amount": 19900, "interval": "month"}],
     "limits": {"runs": null, "models": 5, "export": true}}
  ]
}"#;

/// What somebody asks for. Keys are numbers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Consume(Feature, i64, Option<u8>),
    Release(Feature, i64, Option<u8>),
    Set(Feature, i64, Option<u8>),
    /// When it happened; `None`: now.
    Record(Feature, i64, Option<Time>, u8),
    Adjust(Feature, i64, u8),
    /// Seconds; the label is what the reservation is called here.
    Reserve(Feature, i64, i64, Option<u8>, u32),
    Commit(Option<u32>, Option<i64>),
    Free(Option<u32>),
}

/// The part of a decision that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) allowed: bool,
    pub(super) reason: Reason,
    pub(super) used: Option<i64>,
    pub(super) held: Option<i64>,
    pub(super) replayed: bool,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Decided(Said),
    /// With the reservation's label, if it is held.
    Reserved(Said, Option<u32>),
    Freed {
        replayed: bool,
    },
    Recorded(&'static str),
    Refused(&'static str),
}

impl Told {
    pub(super) fn again(self) -> Self {
        let replayed = |said| Said {
            replayed: true,
            ..said
        };
        match self {
            Self::Decided(said) => Self::Decided(replayed(said)),
            Self::Reserved(said, label) => Self::Reserved(replayed(said), label),
            Self::Recorded(_) => Self::Recorded("duplicate"),
            other => other,
        }
    }
}

/// Whether two orders are the same request. What a reservation is called here is no part of it.
pub(super) fn same(first: &Order, second: &Order) -> bool {
    match (first, second) {
        (Order::Reserve(feature, quantity, ttl, key, _), Order::Reserve(.., label)) => {
            *second == Order::Reserve(*feature, *quantity, *ttl, *key, *label)
        }
        _ => first == second,
    }
}

pub(super) const fn said(allowed: bool, reason: Reason, used: i64, held: i64) -> Said {
    Said {
        allowed,
        reason,
        used: Some(used),
        held: Some(held),
        replayed: false,
    }
}
