//! What a plan and a customer's override grant of one feature, put together.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::catalogue::{DEFAULT_HARD_LIMIT_PERCENT, FeatureKind, Grant, Overage};
use super::plans::PlanVersion;

/// Where a limit came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// The plan alone.
    Plan,
    /// An override changed it.
    Override,
}

/// More of a feature for one customer than the plan gives (less only where `cap` says so), until it expires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Override {
    /// The limit is at least this; exactly this with `cap`.
    pub limit: Option<i64>,
    /// Added to the plan's limit.
    pub add: Option<i64>,
    /// Turns a boolean feature on; off only with `cap`.
    pub enabled: Option<bool>,
    /// May lower, too.
    pub cap: bool,
    /// First instant at which it counts no longer.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Override {
    /// Whether it counts at `now`.
    pub fn is_current(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// The terms on which a feature is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Kind of the feature.
    pub kind: FeatureKind,
    /// Whether the plan or an override grants any of it.
    pub granted: bool,
    /// Most that is allowed; `None`: unlimited. Zero where nothing is granted. Not used for boolean features.
    pub limit: Option<i64>,
    /// End of the soft zone; `None`: unlimited, or billed as overage, or not counted.
    pub hard_limit: Option<i64>,
    /// What use above the limit costs.
    pub overage: Option<&'a Overage>,
    /// Where the limit came from.
    pub source: LimitSource,
}

impl<'a> Terms<'a> {
    /// The terms of `feature`, a feature of `kind`, under a plan and an override that is current.
    pub fn of(
        plan: &'a PlanVersion,
        feature: &str,
        kind: FeatureKind,
        adjustment: Option<&Override>,
    ) -> Self {
        let grant = plan
            .feature(feature)
            .map(|feature| &feature.grant)
            .filter(|grant| grant.kind() == kind);
        if kind == FeatureKind::Boolean {
            return Self::of_switch(grant, adjustment);
        }
        let (planned, hard_limit_percent, overage) = match grant {
            Some(Grant::Metered {
                limit,
                hard_limit_percent,
                overage,
            }) => (Some(*limit), *hard_limit_percent, overage.as_ref()),
            Some(Grant::Allocated { limit } | Grant::Static { limit }) => {
                (Some(*limit), None, None)
            }
            Some(Grant::Boolean { .. }) | None => (None, None, None),
        };
        let base = planned.unwrap_or(Some(0));
        let limit = adjustment.map_or(base, |adjustment| adjusted(base, adjustment));
        let source = if limit == base {
            LimitSource::Plan
        } else {
            LimitSource::Override
        };
        let hard_limit = match (kind, limit, overage) {
            (FeatureKind::Static | FeatureKind::Boolean, _, _) | (_, None, _) | (_, _, Some(_)) => {
                None
            }
            (FeatureKind::Allocated, Some(limit), None) => Some(limit),
            (FeatureKind::Metered, Some(limit), None) => {
                let percent = hard_limit_percent.unwrap_or(DEFAULT_HARD_LIMIT_PERCENT);
                Some(percent_of(limit, percent))
            }
        };
        let granted = planned.is_some() || source == LimitSource::Override;
        Self {
            kind,
            granted,
            limit,
            hard_limit,
            overage,
            source,
        }
    }

    fn of_switch(grant: Option<&Grant>, adjustment: Option<&Override>) -> Self {
        let planned = matches!(grant, Some(Grant::Boolean { enabled: true }));
        let granted = match adjustment {
            Some(Override {
                enabled: Some(enabled),
                cap,
                ..
            }) => *enabled || (planned && !cap),
            _ => planned,
        };
        let source = if granted == planned {
            LimitSource::Plan
        } else {
            LimitSource::Override
        };
        Self {
            kind: FeatureKind::Boolean,
            granted,
            limit: None,
            hard_limit: None,
            overage: None,
            source,
        }
    }

    /// Whether these terms give more of the feature than `other`.
    pub fn exceed(&self, other: &Terms<'_>) -> bool {
        match (self.granted, other.granted) {
            (true, false) => true,
            (false, _) => false,
            (true, true) => match (self.limit, other.limit) {
                (None, Some(_)) => self.kind != FeatureKind::Boolean,
                (Some(mine), Some(theirs)) => mine > theirs,
                (_, None) => false,
            },
        }
    }
}

fn adjusted(base: Option<i64>, adjustment: &Override) -> Option<i64> {
    let raised = base.map(|limit| limit.saturating_add(adjustment.add.unwrap_or(0)).max(0));
    if adjustment.cap {
        return adjustment.limit.map(|limit| limit.max(0)).or(raised);
    }
    // Unlimited stays unlimited, and no limit goes down.
    Some(base?.max(raised?).max(adjustment.limit.unwrap_or(0)))
}

/// `floor(limit × percent / 100)`, saturating.
pub fn percent_of(limit: i64, percent: u32) -> i64 {
    i64::try_from(i128::from(limit) * i128::from(percent) / 100).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
