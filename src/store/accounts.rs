//! What a batch of commands reads and writes of its customers: one statement each way, however many customers there are. Each
//! statement is a round trip for everyone who waits.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Jsonb, Nullable, SmallInt, Text, Timestamptz};
use serde_json::Value;
use uuid::Uuid;

use super::counters::Counter;
use super::ledger::{Entry, KeyUse, Remembered};
use super::overrides::{self, OverrideRow};
use super::statement::statement;
use super::{subscriptions, unreadable};
use crate::domain::subscription::Subscription;

/// Longer than any usage period: the running one began after so long ago.
const LONGEST_PERIOD: TimeDelta = TimeDelta::days(32);

/// What was read of several customers, each row with its customer.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Every subscription, each customer's oldest first.
    pub subscriptions: Vec<(String, Subscription)>,
    /// Every override, expired ones included.
    pub overrides: Vec<OverrideRow>,
    /// The gauges and the counters of lately begun periods, the running ones among them.
    pub counters: Vec<Counter>,
    /// First uses of the keys that were asked for; those that were never used are left out.
    pub remembered: Vec<Remembered>,
}

/// Which table, whose, and the columns of all tables; what a table does not have is null.
type Sql = (
    Text,
    Text,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<SmallInt>,
    Nullable<Timestamptz>,
    Nullable<BigInt>,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<diesel::sql_types::Uuid>,
    Nullable<Text>,
);

type Row = (
    String,
    String,
    Option<String>,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
    Option<i64>,
    Option<i16>,
    Option<DateTime<Utc>>,
    Option<i64>,
    Option<DateTime<Utc>>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Vec<u8>>,
    Option<Uuid>,
    Option<String>,
);

statement! {
    /// Subscriptions and overrides, which few have and which change seldom, come as JSON. Each key is looked up by itself, so that no plan can
    /// prefer to read the table.
    ReadAll<'a> -> Sql {
        "SELECT 'subscription', s.customer_id, NULL::text, s.started_at, NULL::timestamptz, NULL::bigint, NULL::smallint, \
                NULL::timestamptz, NULL::bigint, NULL::timestamptz, NULL::text, NULL::text, NULL::text, NULL::bytea, NULL::uuid, \
                row_to_json(s)::text \
         FROM subscriptions s WHERE s.customer_id = ANY("
        subscribers: &'a [&'a str] as Array<Text>,
        ") UNION ALL \
         SELECT 'override', o.customer_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, row_to_json(o)::text \
         FROM overrides o WHERE o.customer_id = ANY("
        favoured: &'a [&'a str] as Array<Text>,
        ") UNION ALL \
         SELECT 'counter', m.customer_id, m.metric_name, m.period_start, m.period_end, m.value, m.warning_level, m.updated_at, \
                m.held, m.held_until, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM usage_metrics m WHERE m.customer_id = ANY("
        metered: &'a [&'a str] as Array<Text>,
        ") AND m.period_start > "
        since: DateTime<Utc> as Timestamptz,
        " UNION ALL \
         SELECT 'counter', m.customer_id, m.metric_name, m.period_start, m.period_end, m.value, m.warning_level, m.updated_at, \
                m.held, m.held_until, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM usage_metrics m WHERE m.customer_id = ANY("
        gauged: &'a [&'a str] as Array<Text>,
        ") AND m.period_start = 'epoch' \
         UNION ALL \
         SELECT 'key', l.customer_id, l.metric_name, l.recorded_at, NULL, NULL, NULL, NULL, NULL, NULL, \
                l.operation, l.source, l.idempotency_key, l.fingerprint, l.event_id, l.outcome::text \
         FROM unnest("
        key_customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        key_operations: Vec<&'a str> as Array<Text>,
        "::text[], "
        key_sources: Vec<&'a str> as Array<Text>,
        "::text[], "
        keys: Vec<&'a str> as Array<Text>,
        "::text[]) AS asked(customer_id, operation, source, idempotency_key) \
         CROSS JOIN LATERAL (SELECT * FROM ledger e \
                             WHERE e.customer_id = asked.customer_id AND e.operation = asked.operation \
                               AND e.source = asked.source AND e.idempotency_key = asked.idempotency_key LIMIT 1) l"
    }
}

/// Reads what decisions at `now` may need of these customers, and the first uses of these keys.
pub fn read_all(
    conn: &mut PgConnection,
    customers: &[&str],
    keys: &[KeyUse<'_>],
    now: DateTime<Utc>,
) -> QueryResult<Accounts> {
    let statement = ReadAll {
        subscribers: customers,
        favoured: customers,
        metered: customers,
        since: now - LONGEST_PERIOD,
        gauged: customers,
        key_customers: keys.iter().map(|key| key.customer).collect(),
        key_operations: keys.iter().map(|key| key.operation.as_str()).collect(),
        key_sources: keys.iter().map(|key| key.source).collect(),
        keys: keys.iter().map(|key| key.key).collect(),
    };
    let rows: Vec<Row> = statement.load(conn)?;
    let mut accounts = Accounts::default();
    for row in rows {
        accounts.take(row)?;
    }
    accounts
        .subscriptions
        .sort_by_key(|(_, subscription)| (subscription.started_at, subscription.id));
    Ok(accounts)
}

impl Accounts {
    fn take(&mut self, row: Row) -> QueryResult<()> {
        let (kind, customer_id, name, start, end, value, level, updated, held, held_until, ..) =
            row;
        let (.., operation, source, key, fingerprint, event, document) = row;
        match (kind.as_str(), name, start) {
            ("subscription", ..) => {
                let document = document.unwrap_or_default();
                let subscription = subscriptions::of_json(&document)?;
                self.subscriptions.push((customer_id, subscription));
            }
            ("override", ..) => {
                let document = document.unwrap_or_default();
                self.overrides.push(overrides::of_json(&document)?);
            }
            ("counter", Some(metric_name), Some(period_start)) => self.counters.push(Counter {
                customer_id,
                metric_name,
                period_start,
                period_end: end,
                value: value.unwrap_or(0),
                warning_level: level.unwrap_or(0),
                updated_at: updated.unwrap_or(period_start),
                held: held.unwrap_or(0),
                held_until,
            }),
            ("key", Some(feature), Some(recorded_at)) => self.remembered.push(Remembered {
                customer_id,
                operation: operation.unwrap_or_default(),
                source: source.unwrap_or_default(),
                key: key.unwrap_or_default(),
                feature,
                fingerprint: fingerprint.unwrap_or_default(),
                event_id: event.unwrap_or_default(),
                outcome: document,
                recorded_at,
            }),
            (other, ..) => return Err(unreadable(format!("a row of {other:?}"))),
        }
        Ok(())
    }
}

statement! {
    /// Two tables in one statement, of which neither half looks at what the other writes.
    WriteAll<'a> -> () {
        "WITH counted AS ( \
             INSERT INTO usage_metrics \
                 (customer_id, metric_name, period_start, period_end, value, warning_level, updated_at, held, held_until) \
             SELECT * FROM unnest("
        counted: Vec<&'a str> as Array<Text>,
        "::text[], "
        metrics: Vec<&'a str> as Array<Text>,
        "::text[], "
        periods: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        ends: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[], "
        values: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        levels: Vec<i16> as Array<SmallInt>,
        "::smallint[], "
        updated: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        held: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        held_until: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[]) \
             ON CONFLICT (customer_id, period_start, metric_name) DO UPDATE \
             SET period_end = excluded.period_end, value = excluded.value, warning_level = excluded.warning_level, \
                 updated_at = excluded.updated_at, held = excluded.held, held_until = excluded.held_until) \
         INSERT INTO usage_events \
             (customer_id, event_id, metric_name, period_start, operation, quantity, source, idempotency_key, fingerprint, \
              properties, outcome, occurred_at, recorded_at) \
         SELECT customer_id, event_id, metric_name, period_start, operation, quantity, source, idempotency_key, fingerprint, \
                properties, outcome::jsonb, occurred_at, recorded_at \
         FROM unnest("
        customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        ids: Vec<Uuid> as Array<diesel::sql_types::Uuid>,
        "::uuid[], "
        features: Vec<&'a str> as Array<Text>,
        "::text[], "
        starts: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        operations: Vec<&'a str> as Array<Text>,
        "::text[], "
        quantities: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        sources: Vec<&'a str> as Array<Text>,
        "::text[], "
        keys: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        "::text[], "
        fingerprints: Vec<Option<&'a [u8]>> as Array<Nullable<Binary>>,
        "::bytea[], "
        properties: Vec<Option<&'a Value>> as Array<Nullable<Jsonb>>,
        "::jsonb[], "
        outcomes: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        "::text[], "
        occurred: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        recorded: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[]) \
         AS new(customer_id, event_id, metric_name, period_start, operation, quantity, source, idempotency_key, fingerprint, \
                properties, outcome, occurred_at, recorded_at)"
    }
}

/// Adds entries to the ledger, and writes the counters as they are with them.
pub fn write_all<'a>(
    conn: &mut PgConnection,
    counters: impl Iterator<Item = &'a Counter> + Clone,
    entries: impl Iterator<Item = &'a Entry> + Clone,
) -> QueryResult<()> {
    let (c, e) = (counters, entries);
    let statement = WriteAll {
        counted: c.clone().map(|c| c.customer_id.as_str()).collect(),
        metrics: c.clone().map(|c| c.metric_name.as_str()).collect(),
        periods: c.clone().map(|c| c.period_start).collect(),
        ends: c.clone().map(|c| c.period_end).collect(),
        values: c.clone().map(|c| c.value).collect(),
        levels: c.clone().map(|c| c.warning_level).collect(),
        updated: c.clone().map(|c| c.updated_at).collect(),
        held: c.clone().map(|c| c.held).collect(),
        held_until: c.map(|c| c.held_until).collect(),
        customers: e.clone().map(|e| e.customer_id.as_str()).collect(),
        ids: e.clone().map(|e| e.event_id).collect(),
        features: e.clone().map(|e| e.metric_name.as_str()).collect(),
        starts: e.clone().map(|e| e.period_start).collect(),
        operations: e.clone().map(|e| e.operation.as_str()).collect(),
        quantities: e.clone().map(|e| e.quantity).collect(),
        sources: e.clone().map(|e| e.source.as_str()).collect(),
        keys: e.clone().map(|e| e.idempotency_key.as_deref()).collect(),
        fingerprints: e.clone().map(|e| e.fingerprint.as_deref()).collect(),
        properties: e.clone().map(|e| e.properties.as_ref()).collect(),
        outcomes: e.clone().map(|e| e.outcome.as_deref()).collect(),
        occurred: e.clone().map(|e| e.occurred_at).collect(),
        recorded: e.map(|e| e.recorded_at).collect(),
    };
    statement.execute(conn)?;
    Ok(())
}
