//! A customer's account while a batch is judged: what was read under the lock, changed by one command after another. No database,
//! no clock: what must be written is collected.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::{ContextV7, Timestamp, Uuid};

use super::command::{MeterError, Settled};
use super::outcome::{self, Subject};
use super::overage::Debt;
use super::snapshot::Snapshot;
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Decision, Reason};
use crate::domain::event_id::EventId;
use crate::domain::ids::IdempotencyKey;
use crate::domain::period::Period;
use crate::domain::policy::Enforcement;
use crate::domain::reservation::ReservationId;
use crate::domain::usage::{self, Balance};
use crate::store::audit::AuditRow;
use crate::store::counters::Counter;
use crate::store::ledger::{Entry, Operation, Remembered};
use crate::store::reservations::Stored;

/// Makes ids that are ordered by the time that was decided at, and within a millisecond by their making.
#[derive(Debug, Default)]
pub(super) struct EventIds(ContextV7);

impl EventIds {
    pub(super) fn next(&self, now: DateTime<Utc>) -> Uuid {
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        Uuid::new_v7(Timestamp::from_unix(
            &self.0,
            seconds,
            now.timestamp_subsec_nanos(),
        ))
    }
}

/// What the commands did, to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Indices of the snapshot's counters that changed.
    pub(super) counters: BTreeSet<usize>,
    /// Periods that still run end here.
    pub(super) closed_at: Option<DateTime<Utc>>,
    pub(super) entries: Vec<Entry>,
    /// Indices of the account's reservations that are new.
    pub(super) reserved: Vec<usize>,
    /// Indices of the account's reservations that were settled.
    pub(super) settled: Vec<usize>,
    pub(super) denials: Vec<(String, Reason)>,
    pub(super) audits: Vec<AuditRow>,
    /// By feature and start of the counter's period.
    pub(super) debts: BTreeMap<(String, DateTime<Utc>), Debt>,
}

impl Changes {
    /// Whether anything but denials is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.reserved.is_empty() && self.settled.is_empty()
    }
}

/// Where a key was used.
enum Use {
    /// In an earlier transaction.
    Remembered(Remembered),
    /// In this one; index of the entry.
    Entered(usize),
}

/// What is known of a key's first use.
pub(super) struct Recalled<'a> {
    pub(super) fingerprint: &'a [u8],
    feature: &'a str,
    event: Uuid,
    outcome: Option<&'a str>,
    at: DateTime<Utc>,
}

/// One customer's account.
pub(super) struct Account<'a> {
    pub(super) snapshot: Snapshot,
    pub(super) reservations: Vec<Stored>,
    pub(super) changes: Changes,
    pub(super) enforcement: Enforcement,
    ids: &'a EventIds,
    keys: HashMap<String, Use>,
}

/// A change of one counter, with what its ledger entry tells.
pub(super) struct Effect<'e> {
    pub(super) operation: Operation,
    /// What the counter changes by.
    pub(super) quantity: i64,
    pub(super) key: Option<&'e IdempotencyKey>,
    pub(super) fingerprint: Option<Vec<u8>>,
    pub(super) properties: Option<Value>,
    pub(super) reason: Reason,
    pub(super) before: Balance,
    pub(super) after: Balance,
}

/// The span that a counter counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: DateTime<Utc>,
    /// `None`: a gauge.
    pub(super) end: Option<DateTime<Utc>>,
}

impl<'a> Account<'a> {
    pub(super) fn new(snapshot: Snapshot, enforcement: Enforcement, ids: &'a EventIds) -> Self {
        Self {
            snapshot,
            reservations: Vec::new(),
            changes: Changes::default(),
            enforcement,
            ids,
            keys: HashMap::new(),
        }
    }

    /// What the database remembers of keys that the commands bear.
    pub(super) fn remember(&mut self, remembered: Remembered) {
        let name = key_name(&remembered.operation, &remembered.source, &remembered.key);
        self.keys.insert(name, Use::Remembered(remembered));
    }

    /// A reservation that the commands are about.
    pub(super) fn recollect(&mut self, stored: Stored) {
        let id = stored.reservation.id;
        if !self
            .reservations
            .iter()
            .any(|known| known.reservation.id == id)
        {
            self.reservations.push(stored);
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.snapshot.now
    }

    pub(super) fn next_id(&self) -> Uuid {
        self.ids.next(self.snapshot.now)
    }

    /// The first use of a key, if it was used.
    pub(super) fn recall(
        &self,
        operation: Operation,
        source: &str,
        key: &IdempotencyKey,
    ) -> Option<Recalled<'_>> {
        match self
            .keys
            .get(&key_name(operation.as_str(), source, key.as_str()))?
        {
            Use::Remembered(first) => Some(Recalled {
                fingerprint: &first.fingerprint,
                feature: &first.feature,
                event: first.event_id,
                outcome: first.outcome.as_deref(),
                at: first.recorded_at,
            }),
            Use::Entered(index) => self.changes.entries.get(*index).map(|entry| Recalled {
                fingerprint: entry.fingerprint.as_deref().unwrap_or_default(),
                feature: &entry.metric_name,
                event: entry.event_id,
                outcome: entry.outcome.as_deref(),
                at: entry.recorded_at,
            }),
        }
    }

    /// The answer that the key was given before, if it was. `fingerprint` is asked for only then.
    pub(super) fn replay(
        &self,
        operation: Operation,
        key: Option<&IdempotencyKey>,
        fingerprint: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<Settled>, MeterError> {
        let Some(first) = key.and_then(|key| self.recall(operation, "", key)) else {
            return Ok(None);
        };
        if first.fingerprint != fingerprint() {
            return Err(MeterError::KeyReused);
        }
        let subject = Subject {
            customer: &self.snapshot.customer_id,
            feature: first.feature,
            event: Some(EventId(first.event).to_string()),
            at: first.at,
        };
        Ok(Some(Settled {
            decision: outcome::recall(first.outcome, subject)?,
            replayed: true,
        }))
    }

    /// The span in which a feature of this kind is counted now.
    pub(super) fn span(&self, kind: FeatureKind) -> Span {
        Span {
            start: self.snapshot.period_start(kind),
            end: (kind == FeatureKind::Metered).then_some(self.snapshot.standing.period.end),
        }
    }

    /// Carries the effect out on the counter of `span` and returns the decision that tells of it.
    pub(super) fn settle(
        &mut self,
        feature: &str,
        kind: FeatureKind,
        span: Span,
        ask: Ask,
        effect: Effect<'_>,
    ) -> Result<Decision, MeterError> {
        let event = self.next_id();
        let announced = self
            .snapshot
            .counter(feature, span.start)
            .map_or(0, |counter| counter.warning_level);
        let case = self.snapshot.case(feature, kind, self.enforcement);
        let limit = case.terms().limit;
        // A closed period warns no more.
        let (crossed, level) = if span.start == self.snapshot.period_start(kind) {
            (
                usage::levels_crossed(
                    effect.after.used,
                    limit,
                    u8::try_from(announced).unwrap_or(0),
                ),
                usage::mark(kind, announced, effect.after.used, limit),
            )
        } else {
            (Vec::new(), announced)
        };
        let decision = Decision {
            allowed: true,
            event_id: Some(EventId(event).to_string()),
            period: span.end.map(|end| Period {
                start: span.start,
                end,
            }),
            ..case.decision(ask, effect.reason, effect.before, effect.after, crossed)
        };
        // Only a key's answer is ever given again; a commit's reservation remembers it.
        let remembered = effect
            .key
            .map(|_| outcome::remember(&decision))
            .transpose()?;
        self.count(feature, span, effect.after.used, level);
        let entry = Entry {
            customer_id: self.snapshot.customer_id.clone(),
            event_id: event,
            metric_name: feature.to_owned(),
            period_start: span.start,
            operation: effect.operation,
            quantity: effect.quantity,
            source: String::new(),
            idempotency_key: effect.key.map(|key| key.as_str().to_owned()),
            fingerprint: effect.fingerprint,
            properties: effect.properties,
            outcome: remembered,
            occurred_at: self.snapshot.now,
            recorded_at: self.snapshot.now,
        };
        self.enter(entry);
        Ok(decision)
    }

    /// Adds an entry to the ledger; its key is used from here on.
    pub(super) fn enter(&mut self, entry: Entry) {
        if let Some(key) = &entry.idempotency_key {
            let name = key_name(entry.operation.as_str(), &entry.source, key);
            self.keys
                .insert(name, Use::Entered(self.changes.entries.len()));
        }
        self.changes.entries.push(entry);
    }

    /// Sets the counter of a span. The one place where what is counted changes, and with it what is owed.
    pub(super) fn count(&mut self, feature: &str, span: Span, value: i64, level: i16) {
        if let Some(counter) = self.counter_of(feature, span) {
            let before = counter.value;
            counter.value = value;
            counter.warning_level = level;
            self.owe(feature, span, before, value);
        }
    }

    /// Holds units of a counter until an instant.
    pub(super) fn hold(&mut self, feature: &str, span: Span, quantity: i64, until: DateTime<Utc>) {
        if let Some(counter) = self.counter_of(feature, span) {
            counter.held = counter.held.saturating_add(quantity);
            counter.held_until = Some(counter.held_until.map_or(until, |first| first.min(until)));
        }
    }

    /// Frees units that a live reservation held.
    pub(super) fn free(&mut self, feature: &str, span: Span, quantity: i64) {
        if let Some(counter) = self.counter_of(feature, span) {
            counter.held = counter.held.saturating_sub(quantity).max(0);
            if counter.held == 0 {
                counter.held_until = None;
            }
        }
    }

    /// The counter of a span, which will be written; made where it is new.
    fn counter_of(&mut self, feature: &str, span: Span) -> Option<&mut Counter> {
        let now = self.snapshot.now;
        let counters = &mut self.snapshot.counters;
        let stored = counters.iter().position(|counter| {
            counter.metric_name == feature && counter.period_start == span.start
        });
        let index = stored.unwrap_or(counters.len());
        if stored.is_none() {
            if self.snapshot.standing.anchoring.since == Some(span.start) {
                // The first use under a new anchor: whatever period still ran ended when the anchor took over.
                for counter in counters.iter_mut().filter(|counter| {
                    counter.period_start < span.start
                        && counter.period_end.is_some_and(|end| span.start < end)
                }) {
                    counter.period_end = Some(span.start);
                }
                self.changes.closed_at = Some(span.start);
            }
            counters.push(Counter {
                customer_id: self.snapshot.customer_id.clone(),
                metric_name: feature.to_owned(),
                period_start: span.start,
                period_end: span.end,
                value: 0,
                warning_level: 0,
                updated_at: now,
                held: 0,
                held_until: None,
            });
        }
        self.changes.counters.insert(index);
        let counter = counters.get_mut(index)?;
        counter.updated_at = now;
        Some(counter)
    }

    /// Notes that somebody was turned away.
    pub(super) fn deny(&mut self, feature: &str, reason: Reason) {
        if !reason.allows() {
            self.changes.denials.push((feature.to_owned(), reason));
        }
    }

    /// A reservation as it now is, with its index.
    pub(super) fn reservation(&self, id: ReservationId) -> Option<(usize, Stored)> {
        let mut numbered = self.reservations.iter().enumerate();
        let (index, stored) = numbered.find(|(_, stored)| stored.reservation.id == id)?;
        Some((index, stored.clone()))
    }

    /// The reservation that was made under a key.
    pub(super) fn reservation_of(&self, key: &IdempotencyKey) -> Option<&Stored> {
        self.reservations
            .iter()
            .find(|stored| stored.idempotency_key.as_deref() == Some(key.as_str()))
    }
}

/// Operation and source never hold a NUL, so no two keys share a name.
fn key_name(operation: &str, source: &str, key: &str) -> String {
    [operation, "\0", source, "\0", key].concat()
}
