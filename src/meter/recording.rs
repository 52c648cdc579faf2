//! Usage that already happened: recorded whatever the limit, in the period it happened in.

use chrono::{DateTime, TimeDelta, Utc};

use super::account::{Account, Span};
use super::command::{Command, MeterError, Needs, Record, RecordAll, Recorded, bytes_of};
use crate::domain::catalogue::FeatureKind;
use crate::domain::ids::CustomerId;
use crate::domain::period::Period;
use crate::domain::policy::Enforcement;
use crate::domain::usage;
use crate::store::counters::Counter;
use crate::store::ledger::{CLOCK_SKEW, Entry, KeyUse, Operation};

impl Command for RecordAll {
    type Answer = Vec<Recorded>;

    fn customer(&self) -> &CustomerId {
        &self.customer
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        for event in &self.events {
            needs.keys.push(KeyUse {
                customer: self.customer.as_str(),
                operation: Operation::Record,
                source: &event.source,
                key: event.id.as_str(),
            });
        }
        if self.events.iter().any(|event| event.occurred_at.is_some()) {
            needs.past.insert(self.customer.as_str());
        }
    }

    fn entries(&self) -> usize {
        self.events.len()
    }

    fn bytes(&self) -> usize {
        let properties = self
            .events
            .iter()
            .filter_map(|event| event.properties.as_ref());
        properties.map(bytes_of).sum()
    }

    fn of_nobody(&self) -> Result<Self::Answer, MeterError> {
        let refusal = Recorded::Invalid(MeterError::UnknownCustomer.to_string());
        Ok(vec![refusal; self.events.len()])
    }

    fn judge(&self, account: &mut Account<'_>) -> Result<Self::Answer, MeterError> {
        // One bad event fails no other.
        Ok(self
            .events
            .iter()
            .map(|event| match record(account, event) {
                Ok(recorded) => recorded,
                Err(refusal) => Recorded::Invalid(refusal),
            })
            .collect())
    }
}

fn record(account: &mut Account<'_>, event: &Record) -> Result<Recorded, String> {
    let fingerprint = event.fingerprint();
    if let Some(first) = account.recall(Operation::Record, &event.source, &event.id) {
        return if first.fingerprint == fingerprint {
            Ok(Recorded::Duplicate)
        } else {
            Err(MeterError::KeyReused.to_string())
        };
    }
    is_metered(account, &event.feature).map_err(|refusal| refusal.to_string())?;
    let now = account.now();
    let occurred_at = event.occurred_at.unwrap_or(now);
    if occurred_at > now + CLOCK_SKEW {
        return Err("occurred_at lies in the future".to_owned());
    }
    let span = span_of(account, &event.feature, occurred_at.min(now));
    let (value, level) = counted(account, event, span)?;
    account.count(&event.feature, span, value, level);
    let event_id = account.next_id();
    account.enter(Entry {
        customer_id: account.snapshot.customer_id.clone(),
        event_id,
        metric_name: event.feature.clone(),
        period_start: span.start,
        operation: Operation::Record,
        quantity: event.quantity,
        source: event.source.clone(),
        idempotency_key: Some(event.id.as_str().to_owned()),
        fingerprint: Some(fingerprint),
        properties: event.properties.clone(),
        outcome: None,
        occurred_at,
        recorded_at: now,
    });
    Ok(Recorded::Recorded)
}

fn is_metered(account: &Account<'_>, feature: &str) -> Result<(), MeterError> {
    match account.snapshot.kind(feature)? {
        FeatureKind::Metered => Ok(()),
        kind => Err(MeterError::WrongKind {
            feature: feature.to_owned(),
            kind,
            needed: "a metered",
        }),
    }
}

/// The counter's value and warning mark with the event on it, or why the event cannot go there.
fn counted(account: &Account<'_>, event: &Record, span: Span) -> Result<(i64, i16), String> {
    let snapshot = &account.snapshot;
    let days = snapshot.plans.late_usage_days;
    if span
        .end
        .is_some_and(|end| end + TimeDelta::days(i64::from(days)) <= snapshot.now)
    {
        return Err(format!(
            "occurred_at lies in a period that closed {days} days ago or more"
        ));
    }
    let (before, announced) = snapshot
        .counter(&event.feature, span.start)
        .map_or((0, 0), |counter| (counter.value, counter.warning_level));
    let value = before
        .checked_add(event.quantity)
        .ok_or_else(|| MeterError::Uncountable.to_string())?;
    // A closed period warns no more.
    if span.start != snapshot.standing.period.start {
        return Ok((value, announced));
    }
    let limit = snapshot
        .case(&event.feature, FeatureKind::Metered, Enforcement::Enforce)
        .terms()
        .limit;
    let level = usage::mark(FeatureKind::Metered, announced, value, limit);
    Ok((value, level))
}

/// The span that `instant` belongs to: the running period, a stored one, or a new one in the gap between those.
fn span_of(account: &Account<'_>, feature: &str, instant: DateTime<Utc>) -> Span {
    let current = account.snapshot.standing.period;
    if current.contains(instant) {
        return account
            .snapshot
            .counter(feature, current.start)
            .map_or_else(|| account.span(FeatureKind::Metered), span);
    }
    let stored = || {
        let counters = &account.snapshot.counters;
        counters
            .iter()
            .filter(|counter| counter.metric_name == feature && counter.period_end.is_some())
    };
    let containing = stored()
        .filter(|counter| {
            counter.period_start <= instant && counter.period_end.is_some_and(|end| instant < end)
        })
        .max_by_key(|counter| counter.period_start);
    if let Some(counter) = containing {
        return span(counter);
    }
    let anchoring = account.snapshot.standing.anchoring;
    let under_anchor = anchoring.since.is_none_or(|since| since <= instant);
    let period = if under_anchor {
        Period::containing(instant, anchoring.anchor, anchoring.since)
    } else {
        Period::containing(instant, None, None)
    };
    let earlier_end = stored()
        .filter_map(|counter| counter.period_end)
        .filter(|end| *end <= instant)
        .max();
    let later_start = stored()
        .map(|counter| counter.period_start)
        .filter(|start| instant < *start)
        .min();
    let end = later_start.map_or(period.end, |next| period.end.min(next));
    Span {
        start: earlier_end.map_or(period.start, |end| period.start.max(end)),
        end: Some(end.min(current.start)),
    }
}

fn span(counter: &Counter) -> Span {
    Span {
        start: counter.period_start,
        end: counter.period_end,
    }
}
