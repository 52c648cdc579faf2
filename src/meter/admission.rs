//! Admissions and their like: lock the customer, recall the key, judge, write; one command, one transaction.

use diesel::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Case, Decision, Reason};
use crate::domain::event_id::EventId;
use crate::domain::ids::IdempotencyKey;
use crate::domain::usage::{self, Balance};
use crate::store::counters::{self, Counter};
use crate::store::denials;
use crate::store::ledger::{self, Entry, Operation};

use super::Rules;
use super::command::{Consume, MeterError, Release, SetAllocated, Settled};
use super::entry::enter;
use super::snapshot::Snapshot;

/// The answer that the key was given before, if it was.
fn recall(
    conn: &mut PgConnection,
    customer: &str,
    operation: Operation,
    key: Option<&IdempotencyKey>,
    fingerprint: &[u8],
) -> Result<Option<Settled>, MeterError> {
    let Some(key) = key else { return Ok(None) };
    let Some(remembered) = ledger::recall(conn, customer, operation, "", key.as_str())? else {
        return Ok(None);
    };
    if remembered.fingerprint != fingerprint {
        return Err(MeterError::KeyReused);
    }
    let decision = serde_json::from_value(remembered.outcome.unwrap_or(Value::Null))
        .map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    Ok(Some(Settled {
        decision,
        replayed: true,
    }))
}

/// A change of one counter, with the ledger entry that explains it.
struct Effect<'a> {
    operation: Operation,
    quantity: i64,
    key: Option<&'a IdempotencyKey>,
    fingerprint: Vec<u8>,
    properties: Option<Value>,
    reason: Reason,
    before: Balance,
    after: Balance,
}

/// Writes the effect and returns the decision that tells of it.
fn settle(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    case: &Case<'_>,
    ask: Ask,
    effect: Effect<'_>,
) -> Result<Settled, MeterError> {
    let announced = snapshot
        .counter(case.feature, case.kind)
        .map_or(0, |counter| counter.warning_level);
    let limit = case.terms().limit;
    let crossed = usage::levels_crossed(
        effect.after.used,
        limit,
        u8::try_from(announced).unwrap_or(0),
    );
    let event = EventId(Uuid::now_v7());
    let decision = Decision {
        allowed: true,
        event_id: Some(event.to_string()),
        ..case.decision(ask, effect.reason, effect.before, effect.after, crossed)
    };
    let period_start = snapshot.period_start(case.kind);
    if snapshot.counter(case.feature, case.kind).is_none()
        && snapshot.standing.anchoring.since == Some(period_start)
    {
        // The first use under a new anchor: whatever period still ran ended when the anchor took over.
        counters::close_running(conn, case.customer_id, period_start)?;
    }
    counters::save(
        conn,
        &Counter {
            customer_id: case.customer_id.to_owned(),
            metric_name: case.feature.to_owned(),
            period_start,
            period_end: (case.kind == FeatureKind::Metered).then_some(snapshot.standing.period.end),
            value: effect.after.used,
            warning_level: usage::mark(case.kind, announced, effect.after.used, limit),
            updated_at: snapshot.now,
        },
    )?;
    // Only a key's answer is ever given again.
    let outcome = effect
        .key
        .map(|_| serde_json::to_value(&decision))
        .transpose()
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    ledger::append(
        conn,
        &Entry {
            customer_id: case.customer_id.to_owned(),
            event_id: event.0,
            metric_name: case.feature.to_owned(),
            period_start,
            operation: effect.operation.as_str(),
            quantity: effect.quantity,
            source: String::new(),
            idempotency_key: effect.key.map(|key| key.as_str().to_owned()),
            fingerprint: effect.key.map(|_| effect.fingerprint),
            properties: effect.properties,
            outcome,
            occurred_at: snapshot.now,
            recorded_at: snapshot.now,
        },
    )?;
    Ok(Settled {
        decision,
        replayed: false,
    })
}

/// Checks that a value is given where, and only where, the feature's kind has one.
pub(super) fn check_value(kind: FeatureKind, value: Option<i64>) -> Result<(), MeterError> {
    match (kind, value) {
        (FeatureKind::Static, None) => Err(MeterError::Value(
            "a static feature needs the value that is asked for",
        )),
        (FeatureKind::Static, Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(MeterError::Value("only a static feature takes a value")),
    }
}

pub(super) fn consume(
    conn: &mut PgConnection,
    rules: &Rules,
    command: &Consume,
) -> Result<Settled, MeterError> {
    let customer = command.customer.as_str();
    conn.transaction(|conn| {
        let snapshot = enter(conn, rules, customer)?;
        let fingerprint = command.fingerprint();
        if let Some(settled) = recall(
            conn,
            customer,
            Operation::Consume,
            command.key.as_ref(),
            &fingerprint,
        )? {
            return Ok(settled);
        }
        let kind = snapshot.kind(&command.feature)?;
        check_value(kind, command.value)?;
        let case = snapshot.case(&command.feature, kind, rules.enforcement);
        let ask = Ask {
            quantity: command.quantity,
            value: command.value,
        };
        let before = snapshot.balance(&command.feature, kind);
        let reason = case.judge(ask, before);
        if !reason.allows() {
            denials::note(conn, customer, &command.feature, reason, snapshot.now)?;
        }
        let counted = matches!(kind, FeatureKind::Metered | FeatureKind::Allocated);
        let after = Balance {
            used: before.used.saturating_add(command.quantity),
            ..before
        };
        if !case.admits(reason, ask, before) || !counted {
            return Ok(Settled {
                decision: case.decision(ask, reason, before, before, Vec::new()),
                replayed: false,
            });
        }
        settle(
            conn,
            &snapshot,
            &case,
            ask,
            Effect {
                operation: Operation::Consume,
                quantity: command.quantity,
                key: command.key.as_ref(),
                fingerprint,
                properties: command.properties.clone(),
                reason,
                before,
                after,
            },
        )
    })
}

/// A change of what exists of an allocated feature, made by whoever owns the truth: never denied.
struct Restatement<'a> {
    customer: &'a str,
    feature: &'a str,
    operation: Operation,
    key: Option<&'a IdempotencyKey>,
    fingerprint: Vec<u8>,
    requested: i64,
}

pub(super) fn release(
    conn: &mut PgConnection,
    rules: &Rules,
    command: &Release,
) -> Result<Settled, MeterError> {
    let restatement = Restatement {
        customer: command.customer.as_str(),
        feature: &command.feature,
        operation: Operation::Release,
        key: command.key.as_ref(),
        fingerprint: command.fingerprint(),
        requested: command.quantity,
    };
    restate(conn, rules, restatement, |used| {
        let left = used.checked_sub(command.quantity).filter(|left| *left >= 0);
        left.ok_or(MeterError::BelowZero { used })
    })
}

pub(super) fn set_allocated(
    conn: &mut PgConnection,
    rules: &Rules,
    command: &SetAllocated,
) -> Result<Settled, MeterError> {
    let restatement = Restatement {
        customer: command.customer.as_str(),
        feature: &command.feature,
        operation: Operation::Set,
        key: command.key.as_ref(),
        fingerprint: command.fingerprint(),
        requested: command.value,
    };
    restate(conn, rules, restatement, |_| Ok(command.value))
}

/// Carries a restatement out; `change` tells from what exists what then exists.
fn restate(
    conn: &mut PgConnection,
    rules: &Rules,
    restatement: Restatement<'_>,
    change: impl FnOnce(i64) -> Result<i64, MeterError>,
) -> Result<Settled, MeterError> {
    let Restatement {
        customer,
        feature,
        operation,
        key,
        fingerprint,
        requested,
    } = restatement;
    conn.transaction(|conn| {
        let snapshot = enter(conn, rules, customer)?;
        if let Some(settled) = recall(conn, customer, operation, key, &fingerprint)? {
            return Ok(settled);
        }
        let kind = match snapshot.kind(feature)? {
            FeatureKind::Allocated => FeatureKind::Allocated,
            kind => {
                return Err(MeterError::WrongKind {
                    feature: feature.to_owned(),
                    kind,
                    needed: "an allocated",
                });
            }
        };
        let before = snapshot.balance(feature, kind);
        let after = Balance {
            used: change(before.used)?,
            ..before
        };
        let case = snapshot.case(feature, kind, rules.enforcement);
        // It is carried out whatever the rule; the reason says where that leaves the customer.
        let nothing_more = Ask {
            quantity: 0,
            value: None,
        };
        let reason = case.judge(nothing_more, after);
        let ask = Ask {
            quantity: requested,
            value: None,
        };
        let quantity = after.used.saturating_sub(before.used);
        let effect = Effect {
            operation,
            quantity,
            key,
            fingerprint,
            properties: None,
            reason,
            before,
            after,
        };
        settle(conn, &snapshot, &case, ask, effect)
    })
}
