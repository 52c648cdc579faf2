//! The counters (`usage_metrics`): one row for each customer, feature and period; each equals the sum of its ledger rows.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::usage_metrics;

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = usage_metrics, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub struct Counter {
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub metric_name: String,
    /// First instant of its period; the epoch for a gauge.
    pub period_start: DateTime<Utc>,
    /// First instant after its period; `None`: a gauge, which never resets.
    pub period_end: Option<DateTime<Utc>>,
    /// Sum of the ledger; never negative.
    pub value: i64,
    /// Highest warning level announced.
    pub warning_level: i16,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

/// The counters a decision at some instant may need: those of the period that begins at `period_start`, and the gauges.
pub fn current(
    conn: &mut PgConnection,
    customer: &str,
    period_start: DateTime<Utc>,
) -> QueryResult<Vec<Counter>> {
    usage_metrics::table
        .filter(usage_metrics::customer_id.eq(customer))
        .filter(usage_metrics::period_start.eq_any([period_start, DateTime::UNIX_EPOCH]))
        .select(Counter::as_select())
        .load(conn)
}

/// One counter by its key.
pub fn find(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    period_start: DateTime<Utc>,
) -> QueryResult<Option<Counter>> {
    usage_metrics::table
        .find((customer, feature, period_start))
        .select(Counter::as_select())
        .first(conn)
        .optional()
}

/// The stored counter of a metered feature whose period contains `instant`.
pub fn containing(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    instant: DateTime<Utc>,
) -> QueryResult<Option<Counter>> {
    usage_metrics::table
        .filter(usage_metrics::customer_id.eq(customer))
        .filter(usage_metrics::metric_name.eq(feature))
        .filter(usage_metrics::period_start.le(instant))
        .filter(usage_metrics::period_end.gt(instant))
        .order(usage_metrics::period_start.desc())
        .select(Counter::as_select())
        .first(conn)
        .optional()
}

/// A span of time that no stored period covers; `None`: open on that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// End of the stored period before.
    pub start: Option<DateTime<Utc>>,
    /// Start of the stored period after.
    pub end: Option<DateTime<Utc>>,
}

/// The gap that `instant` lies in: a period of the feature that is opened there must stay inside it.
pub fn gap_around(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    instant: DateTime<Utc>,
) -> QueryResult<Gap> {
    let metered = || {
        usage_metrics::table
            .filter(usage_metrics::customer_id.eq(customer))
            .filter(usage_metrics::metric_name.eq(feature))
            .filter(usage_metrics::period_end.is_not_null())
    };
    let start = metered()
        .filter(usage_metrics::period_end.le(instant))
        .select(diesel::dsl::max(usage_metrics::period_end))
        .first(conn)?;
    let end = metered()
        .filter(usage_metrics::period_start.gt(instant))
        .select(diesel::dsl::min(usage_metrics::period_start))
        .first(conn)?;
    Ok(Gap { start, end })
}

/// Writes a counter.
pub fn save(conn: &mut PgConnection, counter: &Counter) -> QueryResult<()> {
    diesel::insert_into(usage_metrics::table)
        .values(counter)
        .on_conflict((
            usage_metrics::customer_id,
            usage_metrics::metric_name,
            usage_metrics::period_start,
        ))
        .do_update()
        .set(counter)
        .execute(conn)?;
    Ok(())
}

/// Ends every period of the customer that still runs at `instant` right there: a new anchor has taken over.
pub fn close_running(
    conn: &mut PgConnection,
    customer: &str,
    instant: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        usage_metrics::table
            .filter(usage_metrics::customer_id.eq(customer))
            .filter(usage_metrics::period_start.lt(instant))
            .filter(usage_metrics::period_end.gt(instant)),
    )
    .set(usage_metrics::period_end.eq(instant))
    .execute(conn)?;
    Ok(())
}

/// A counter that is not the sum of its ledger rows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub feature: String,
    /// First instant of the period; the epoch for a gauge.
    pub period_start: DateTime<Utc>,
    /// First instant after the period; `None`: a gauge, or a counter that is missing.
    pub period_end: Option<DateTime<Utc>>,
    /// Sum of the ledger.
    pub ledger: i64,
    /// What the counter says.
    pub counter: i64,
}

/// Compares every counter with its ledger rows, in one statement and so on one snapshot.
pub fn drifts(conn: &mut PgConnection) -> QueryResult<Vec<Drift>> {
    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        customer_id: String,
        #[diesel(sql_type = diesel::sql_types::Text)]
        metric_name: String,
        #[diesel(sql_type = diesel::sql_types::Timestamptz)]
        period_start: DateTime<Utc>,
        #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>)]
        period_end: Option<DateTime<Utc>>,
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        ledger: i64,
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        counter: i64,
    }
    let rows: Vec<Row> = diesel::sql_query(include_str!("drifts.sql")).load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| Drift {
            customer_id: row.customer_id,
            feature: row.metric_name,
            period_start: row.period_start,
            period_end: row.period_end,
            ledger: row.ledger,
            counter: row.counter,
        })
        .collect())
}

/// How many counters there are.
pub fn count(conn: &mut PgConnection) -> QueryResult<i64> {
    usage_metrics::table.count().get_result(conn)
}
