//! Questions: decisions without an effect, on a snapshot.

use super::admission::check_value;
use super::snapshot::Snapshot;
use super::{MeterError, Rules};
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Decision};
use crate::domain::policy::Enforcement;

/// How fresh the numbers of a check must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Consistency {
    /// As old as [`super::Options::check_max_age`] allows; `as_of` says how old.
    Default,
    /// Read from the database for this request.
    Strong,
}

/// A question that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// Value of a static feature.
    pub value: Option<i64>,
}

/// The decision that answers a question.
pub(super) fn answer(
    snapshot: &Snapshot,
    rules: &Rules,
    question: &Question,
) -> Result<Decision, MeterError> {
    let kind = snapshot.kind(&question.feature)?;
    check_value(kind, question.value)?;
    Ok(decide(
        snapshot,
        rules.enforcement,
        &question.feature,
        kind,
        Ask {
            quantity: question.quantity,
            value: question.value,
        },
    ))
}

/// The decision on a snapshot, without an effect.
pub fn decide(
    snapshot: &Snapshot,
    enforcement: Enforcement,
    feature: &str,
    kind: FeatureKind,
    ask: Ask,
) -> Decision {
    let case = snapshot.case(feature, kind, enforcement);
    let balance = snapshot.balance(feature, kind);
    case.decision(ask, case.judge(ask, balance), balance, balance, Vec::new())
}

/// A decision for each feature of the catalogue: for a quantity of 1, a static feature for its limit.
pub fn survey(snapshot: &Snapshot, enforcement: Enforcement) -> Vec<Decision> {
    snapshot
        .plans
        .features()
        .into_iter()
        .map(|feature| {
            let kind = feature.grant.kind();
            let limit = snapshot.case(&feature.key, kind, enforcement).terms().limit;
            let value = (kind == FeatureKind::Static).then(|| limit.unwrap_or(0));
            decide(
                snapshot,
                enforcement,
                &feature.key,
                kind,
                Ask { quantity: 1, value },
            )
        })
        .collect()
}
