//! The numbers of an answer, as they are remembered with its key: an equal answer is made from them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::MeterError;
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{
    Decision, DecisionGrace, DecisionOverage, DecisionPlan, Limit, Reason, Upgrade,
};
use crate::domain::period::Period;
use crate::domain::terms::LimitSource;
use crate::domain::usage::{self, Balance};

/// What cannot be made from the other fields, or from the ledger's row. The names are the decision's own, so that a whole decision,
/// which was remembered at first, can be read, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome<'a> {
    requested: i64,
    reason: Reason,
    #[serde(default = "enforced", skip_serializing_if = "Clone::clone")]
    enforced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    #[serde(default = "of_plan", skip_serializing_if = "is_of_plan")]
    limit_source: LimitSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_limit: Option<i64>,
    used: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    held: i64,
    #[serde(default, skip_serializing_if = "is_empty")]
    warnings_crossed: Cow<'a, [u8]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overage: Option<Cow<'a, DecisionOverage>>,
    plan: Cow<'a, DecisionPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace: Option<Cow<'a, DecisionGrace>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upgrade: Option<Cow<'a, Upgrade>>,
}

const fn enforced() -> bool {
    true
}

const fn of_plan() -> LimitSource {
    LimitSource::Plan
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_of_plan(source: &LimitSource) -> bool {
    *source == LimitSource::Plan
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_empty(levels: &[u8]) -> bool {
    levels.is_empty()
}

/// JSON of what must be remembered of a decision that something was counted by.
pub(super) fn remember(decision: &Decision) -> Result<String, MeterError> {
    let outcome = Outcome {
        requested: decision.requested,
        reason: decision.reason,
        enforced: decision.enforced,
        limit: decision.limit,
        limit_source: decision.limit_source,
        hard_limit: decision.hard_limit,
        used: decision.used.unwrap_or(0),
        held: decision.held.unwrap_or(0),
        warnings_crossed: Cow::Borrowed(&decision.warnings_crossed),
        overage: decision.overage.as_ref().map(Cow::Borrowed),
        plan: Cow::Borrowed(&decision.plan),
        period: decision.period,
        grace: decision.grace.as_ref().map(Cow::Borrowed),
        upgrade: decision.upgrade.as_ref().map(Cow::Borrowed),
    };
    serde_json::to_string(&outcome)
        .map_err(|error| diesel::result::Error::SerializationError(error.into()).into())
}

/// What the answer was about: the columns beside the numbers.
pub(super) struct Subject<'a> {
    pub(super) customer: &'a str,
    pub(super) feature: &'a str,
    /// The ledger entry's id as the answer showed it; `None`: nothing was recorded.
    pub(super) event: Option<String>,
    pub(super) at: DateTime<Utc>,
}

/// The decision that the numbers were remembered of.
pub(super) fn recall(numbers: Option<&str>, subject: Subject<'_>) -> Result<Decision, MeterError> {
    let outcome: Outcome<'_> = serde_json::from_str(numbers.unwrap_or_default())
        .map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    let limit = match outcome.limit {
        Some(Limit::Quantity(limit)) => Some(limit),
        Some(Limit::Enabled(_)) | None => None,
    };
    let balance = Balance {
        used: outcome.used,
        held: outcome.held,
    };
    Ok(Decision {
        customer_id: subject.customer.to_owned(),
        feature: subject.feature.to_owned(),
        kind: if outcome.period.is_some() {
            FeatureKind::Metered
        } else {
            FeatureKind::Allocated
        },
        allowed: true,
        enforced: outcome.enforced,
        reason: outcome.reason,
        requested: outcome.requested,
        limit: outcome.limit,
        limit_source: outcome.limit_source,
        hard_limit: outcome.hard_limit,
        used: Some(balance.used),
        held: Some(balance.held),
        remaining: balance.remaining(limit),
        percent_used: usage::percent_used(balance.used, limit),
        warning_level: usage::warning_level(balance.used, limit),
        warnings_crossed: outcome.warnings_crossed.into_owned(),
        overage: outcome.overage.map(Cow::into_owned),
        plan: outcome.plan.into_owned(),
        period: outcome.period,
        grace: outcome.grace.map(Cow::into_owned),
        upgrade: outcome.upgrade.map(Cow::into_owned),
        event_id: subject.event,
        as_of: subject.at,
    })
}
