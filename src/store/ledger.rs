//! The ledger (`usage_events`): append-only facts of use, each with its idempotency key and the outcome that was answered.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::schema::usage_events;

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
}

impl Operation {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Record => "record",
            Self::Release => "release",
            Self::Set => "set",
        }
    }
}

/// One fact of use.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = usage_events)]
pub struct Entry {
    /// Whose.
    pub customer_id: String,
    /// UUID version 7: ordered by time.
    pub event_id: Uuid,
    /// Of which feature.
    pub metric_name: String,
    /// Of which counter.
    pub period_start: DateTime<Utc>,
    /// [`Operation::as_str`].
    pub operation: &'static str,
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
    /// The answer that was given, to be given again.
    pub outcome: Option<Value>,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// Adds to the ledger.
pub fn append(conn: &mut PgConnection, entry: &Entry) -> QueryResult<()> {
    diesel::insert_into(usage_events::table)
        .values(entry)
        .execute(conn)?;
    Ok(())
}

/// What is remembered of a key's first use.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// SHA-256 of the request.
    pub fingerprint: Vec<u8>,
    /// The answer that was given.
    pub outcome: Option<Value>,
}

/// Looks a key up.
pub fn recall(
    conn: &mut PgConnection,
    customer: &str,
    operation: Operation,
    source: &str,
    key: &str,
) -> QueryResult<Option<Remembered>> {
    let row: Option<(Option<Vec<u8>>, Option<Value>)> = usage_events::table
        .filter(usage_events::customer_id.eq(customer))
        .filter(usage_events::operation.eq(operation.as_str()))
        .filter(usage_events::source.eq(source))
        .filter(usage_events::idempotency_key.eq(key))
        .select((usage_events::fingerprint, usage_events::outcome))
        .first(conn)
        .optional()?;
    Ok(row.map(|(fingerprint, outcome)| Remembered {
        fingerprint: fingerprint.unwrap_or_default(),
        outcome,
    }))
}

/// An entry as it is shown.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = usage_events, check_for_backend(diesel::pg::Pg))]
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
    let mut query = usage_events::table
        .filter(usage_events::customer_id.eq(customer))
        .order(usage_events::event_id.desc())
        .limit(limit)
        .select(Shown::as_select())
        .into_boxed();
    if let Some(feature) = feature {
        query = query.filter(usage_events::metric_name.eq(feature));
    }
    if let Some(before) = before {
        query = query.filter(usage_events::event_id.lt(before));
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

/// Sums a feature's entries with `from <= occurred_at < to` by `granularity` (`hour`, `day` or `month`, UTC), oldest first.
/// Spans without an entry are left out.
pub fn history(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    granularity: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> QueryResult<Vec<Bucket>> {
    use diesel::sql_types::{Text, Timestamptz};
    diesel::sql_query(
        "SELECT date_trunc($3, occurred_at, 'UTC') AS start, \
                greatest(least(sum(quantity), 9223372036854775807), -9223372036854775808)::bigint AS quantity, \
                count(*) AS events \
         FROM usage_events \
         WHERE customer_id = $1 AND metric_name = $2 AND occurred_at >= $4 AND occurred_at < $5 \
         GROUP BY 1 ORDER BY 1",
    )
    .bind::<Text, _>(customer)
    .bind::<Text, _>(feature)
    .bind::<Text, _>(granularity)
    .bind::<Timestamptz, _>(from)
    .bind::<Timestamptz, _>(to)
    .load(conn)
}
