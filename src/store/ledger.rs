//! The ledger (`usage_events`): append-only facts of use, each with its idempotency key and the outcome that was answered.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Text, Timestamptz};
use serde_json::Value;
use uuid::Uuid;

use super::schema::ledger;

/// What wrote an entry. A key belongs to one customer and operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An admitted consume.
    Consume,
    /// Usage that had already happened.
    Record,
    /// Allocated units given back.
    Release,
    /// The count of an allocated feature, stated.
    Set,
    /// Use of what was reserved; its reservation remembers the key.
    Commit,
    /// An operator's correction.
    Adjust,
}

impl Operation {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Record => "record",
            Self::Release => "release",
            Self::Set => "set",
            Self::Commit => "commit",
            Self::Adjust => "adjust",
        }
    }
}

/// One fact of use.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose.
    pub customer_id: String,
    /// UUID version 7: ordered by time.
    pub event_id: Uuid,
    /// Of which feature.
    pub metric_name: String,
    /// Of which counter.
    pub period_start: DateTime<Utc>,
    /// What wrote it.
    pub operation: Operation,
    /// What it added to the counter.
    pub quantity: i64,
    /// `source` of a CloudEvent; else empty.
    pub source: String,
    /// The caller's key.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request after defaults; given where there is a key.
    pub fingerprint: Option<Vec<u8>>,
    /// The caller's own notes.
    pub properties: Option<Value>,
    /// JSON of the numbers that were answered, from which an equal answer is made; given where there is a key.
    pub outcome: Option<String>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// A key, with what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse<'a> {
    /// Whose.
    pub customer: &'a str,
    /// Of which operation.
    pub operation: Operation,
    /// `source` of a CloudEvent; else empty.
    pub source: &'a str,
    /// The caller's key.
    pub key: &'a str,
}

/// What is remembered of a key's first use.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Whose.
    pub customer_id: String,
    /// [`Operation::as_str`].
    pub operation: String,
    /// `source` of a CloudEvent; else empty.
    pub source: String,
    /// The caller's key.
    pub key: String,
    /// Of which feature.
    pub feature: String,
    /// SHA-256 of the request.
    pub fingerprint: Vec<u8>,
    /// The ledger entry.
    pub event_id: Uuid,
    /// JSON of the numbers that were answered.
    pub outcome: Option<String>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// An entry as it is shown.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = ledger, check_for_backend(diesel::pg::Pg))]
pub struct Shown {
    /// Ledger id.
    pub event_id: Uuid,
    /// Feature key.
    pub metric_name: String,
    /// [`Operation::as_str`].
    pub operation: String,
    /// What it added to the counter.
    pub quantity: i64,
    /// `source` of a CloudEvent; else empty.
    pub source: String,
    /// The caller's key.
    pub idempotency_key: Option<String>,
    /// The caller's own notes.
    pub properties: Option<Value>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// Entries of a customer, newest first, those before `before` (an id of an earlier page) only.
pub fn page(
    conn: &mut PgConnection,
    customer: &str,
    feature: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<Shown>> {
    let mut query = ledger::table
        .filter(ledger::customer_id.eq(customer))
        .order(ledger::event_id.desc())
        .limit(limit)
        .select(Shown::as_select())
        .into_boxed();
    if let Some(feature) = feature {
        query = query.filter(ledger::metric_name.eq(feature));
    }
    if let Some(before) = before {
        query = query.filter(ledger::event_id.lt(before));
    }
    query.load(conn)
}

/// Usage summed up over a span of time.
#[derive(Debug, Clone, QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub struct Bucket {
    /// First instant of the span, UTC.
    #[diesel(sql_type = diesel::sql_types::Timestamptz)]
    pub start: DateTime<Utc>,
    /// Sum of the quantities.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub quantity: i64,
    /// Number of entries.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub events: i64,
}

/// How far ahead of ours a caller's clock may be: usage that happens later than this after its recording is refused.
pub const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Sums a feature's entries with `from <= occurred_at < to` by `granularity` (`hour`, `day` or `month`, UTC), oldest first.
/// Spans without an entry are left out. `latest` is how long after it happened usage may have been recorded; ids are ordered by
/// the time of recording, so the span is found by them.
pub fn history(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    granularity: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    latest: TimeDelta,
) -> QueryResult<Vec<Bucket>> {
    diesel::sql_query(
        "SELECT date_trunc($3, occurred_at, 'UTC') AS start, \
                greatest(least(sum(quantity), 9223372036854775807), -9223372036854775808)::bigint AS quantity, \
                count(*) AS events \
         FROM ledger \
         WHERE customer_id = $1 AND metric_name = $2 AND occurred_at >= $4 AND occurred_at < $5 \
           AND event_id >= $6 AND event_id < $7 \
         GROUP BY 1 ORDER BY 1",
    )
    .bind::<Text, _>(customer)
    .bind::<Text, _>(feature)
    .bind::<Text, _>(granularity)
    .bind::<Timestamptz, _>(from)
    .bind::<Timestamptz, _>(to)
    .bind::<diesel::sql_types::Uuid, _>(first_id(from - CLOCK_SKEW))
    .bind::<diesel::sql_types::Uuid, _>(first_id(to + latest))
    .load(conn)
}

/// What no id made at `instant` or later is below.
fn first_id(instant: DateTime<Utc>) -> Uuid {
    let milliseconds = u64::try_from(instant.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(milliseconds) << 80)
}
