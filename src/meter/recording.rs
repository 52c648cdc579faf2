//! Usage that already happened: recorded whatever the limit, in the period it happened in.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use crate::domain::catalogue::FeatureKind;
use crate::domain::period::Period;
use crate::domain::policy::Enforcement;
use crate::domain::usage;
use crate::store::counters::{self, Counter};
use crate::store::ledger::{self, Entry, Operation};

use super::Rules;
use super::command::{MeterError, Record, Recorded};
use super::entry::enter;
use super::snapshot::Snapshot;

/// How far ahead of ours a caller's clock may be.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Records usage of one customer: all events of the slice must be that customer's. One bad event fails no other.
pub(super) fn record(
    conn: &mut PgConnection,
    rules: &Rules,
    customer: &str,
    events: &[Record],
) -> Result<Vec<Recorded>, MeterError> {
    conn.transaction(|conn| {
        let snapshot = match enter(conn, rules, customer) {
            Ok(snapshot) => snapshot,
            Err(error @ MeterError::UnknownCustomer) => {
                return Ok(vec![Recorded::Invalid(error.to_string()); events.len()]);
            }
            Err(error) => return Err(error),
        };
        events
            .iter()
            .map(|event| record_one(conn, &snapshot, event))
            .collect()
    })
}

fn record_one(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    event: &Record,
) -> Result<Recorded, MeterError> {
    let customer = snapshot.customer_id.as_str();
    let fingerprint = event.fingerprint();
    let known = ledger::recall(
        conn,
        customer,
        Operation::Record,
        &event.source,
        event.id.as_str(),
    )?;
    if let Some(known) = known {
        return Ok(if known.fingerprint == fingerprint {
            Recorded::Duplicate
        } else {
            Recorded::Invalid(MeterError::KeyReused.to_string())
        });
    }
    if let Err(refusal) = is_metered(snapshot, &event.feature) {
        return Ok(Recorded::Invalid(refusal.to_string()));
    }
    let occurred_at = event.occurred_at.unwrap_or(snapshot.now);
    if occurred_at > snapshot.now + CLOCK_SKEW {
        return Ok(Recorded::Invalid(
            "occurred_at lies in the future".to_owned(),
        ));
    }
    let counter = counter_of(
        conn,
        snapshot,
        &event.feature,
        occurred_at.min(snapshot.now),
    )?;
    let counter = match counted(snapshot, event, counter) {
        Ok(counter) => counter,
        Err(refusal) => return Ok(Recorded::Invalid(refusal)),
    };
    let first = counter.value == event.quantity;
    if first && snapshot.standing.anchoring.since == Some(counter.period_start) {
        // The first use under a new anchor: whatever period still ran ended when the anchor took over.
        counters::close_running(conn, customer, counter.period_start)?;
    }
    counters::save(conn, &counter)?;
    ledger::append(
        conn,
        &Entry {
            customer_id: customer.to_owned(),
            event_id: Uuid::now_v7(),
            metric_name: event.feature.clone(),
            period_start: counter.period_start,
            operation: Operation::Record.as_str(),
            quantity: event.quantity,
            source: event.source.clone(),
            idempotency_key: Some(event.id.as_str().to_owned()),
            fingerprint: Some(fingerprint),
            properties: event.properties.clone(),
            outcome: None,
            occurred_at,
            recorded_at: snapshot.now,
        },
    )?;
    Ok(Recorded::Recorded)
}

fn is_metered(snapshot: &Snapshot, feature: &str) -> Result<(), MeterError> {
    match snapshot.kind(feature)? {
        FeatureKind::Metered => Ok(()),
        kind => Err(MeterError::WrongKind {
            feature: feature.to_owned(),
            kind,
            needed: "a metered",
        }),
    }
}

/// The counter with the event on it, or why the event cannot go there.
fn counted(snapshot: &Snapshot, event: &Record, counter: Counter) -> Result<Counter, String> {
    let days = snapshot.plans.late_usage_days;
    if counter
        .period_end
        .is_some_and(|end| end + TimeDelta::days(i64::from(days)) <= snapshot.now)
    {
        return Err(format!(
            "occurred_at lies in a period that closed {days} days ago or more"
        ));
    }
    let value = counter
        .value
        .checked_add(event.quantity)
        .ok_or_else(|| "the period's usage would not fit into 64 bits".to_owned())?;
    let limit = snapshot
        .case(&event.feature, FeatureKind::Metered, Enforcement::Enforce)
        .terms()
        .limit;
    // A closed period warns no more.
    let warning_level = if counter.period_start == snapshot.standing.period.start {
        usage::mark(FeatureKind::Metered, counter.warning_level, value, limit)
    } else {
        counter.warning_level
    };
    Ok(Counter {
        value,
        warning_level,
        updated_at: snapshot.now,
        ..counter
    })
}

/// The counter of the period that `instant` belongs to: the running one, a stored one, or a new one in the gap between those.
fn counter_of(
    conn: &mut PgConnection,
    snapshot: &Snapshot,
    feature: &str,
    instant: DateTime<Utc>,
) -> Result<Counter, MeterError> {
    let customer = snapshot.customer_id.as_str();
    let current = snapshot.standing.period;
    let empty = |period: Period| Counter {
        customer_id: customer.to_owned(),
        metric_name: feature.to_owned(),
        period_start: period.start,
        period_end: Some(period.end),
        value: 0,
        warning_level: 0,
        updated_at: snapshot.now,
    };
    if current.contains(instant) {
        let stored = counters::find(conn, customer, feature, current.start)?;
        return Ok(stored.unwrap_or_else(|| empty(current)));
    }
    if let Some(counter) = counters::containing(conn, customer, feature, instant)? {
        return Ok(counter);
    }
    let anchoring = snapshot.standing.anchoring;
    let under_anchor = anchoring.since.is_none_or(|since| since <= instant);
    let period = if under_anchor {
        Period::containing(instant, anchoring.anchor, anchoring.since)
    } else {
        Period::containing(instant, None, None)
    };
    let gap = counters::gap_around(conn, customer, feature, instant)?;
    let start = gap.start.map_or(period.start, |end| period.start.max(end));
    let end = gap
        .end
        .map_or(period.end, |next| period.end.min(next))
        .min(current.start);
    Ok(empty(Period { start, end }))
}
