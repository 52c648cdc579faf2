//! The counters (`usage_metrics`): one row for each customer, feature and period; each equals the sum of its ledger rows.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};

use super::schema::{usage_metrics, usage_reports};
use super::statement::statement;

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
    /// What live reservations hold of it: exact before `held_until`.
    pub held: i64,
    /// First instant at which one of those reservations may have expired; `None`: there is none.
    pub held_until: Option<DateTime<Utc>>,
}

impl Counter {
    /// Whether what is held must be summed up anew at `now`: a hold may have expired since, or, where the clock was set back, come to
    /// life again.
    pub fn is_hold_stale(&self, now: DateTime<Utc>) -> bool {
        now < self.updated_at || self.held_until.is_some_and(|until| until <= now)
    }
}

/// What live reservations hold of a counter.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Hold {
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub metric_name: String,
    /// First instant of the counter's period.
    pub period_start: DateTime<Utc>,
    /// Their sum; capped at what 64 bits hold.
    pub quantity: i64,
    /// When the first of them expires.
    pub until: DateTime<Utc>,
}

statement! {
    Holds<'a> -> (Text, Text, Timestamptz, BigInt, Timestamptz) {
        "SELECT customer_id, metric_name, period_start, least(sum(quantity), 9223372036854775807)::bigint, min(expires_at) \
         FROM reservations WHERE customer_id = ANY("
        customers: &'a [&'a str] as Array<Text>,
        ") AND state = 'held' AND expires_at > "
        now: DateTime<Utc> as Timestamptz,
        " GROUP BY customer_id, metric_name, period_start"
    }
}

/// Sums up what these customers' live reservations hold at `now`.
pub fn holds(
    conn: &mut PgConnection,
    customers: &[&str],
    now: DateTime<Utc>,
) -> QueryResult<Vec<Hold>> {
    Holds { customers, now }.load(conn)
}

/// Every counter that these customers ever had.
pub fn of_customers(conn: &mut PgConnection, customers: &[&str]) -> QueryResult<Vec<Counter>> {
    usage_metrics::table
        .filter(usage_metrics::customer_id.eq_any(customers))
        .select(Counter::as_select())
        .load(conn)
}

/// Writes a counter.
pub fn save(conn: &mut PgConnection, counter: &Counter) -> QueryResult<()> {
    diesel::insert_into(usage_metrics::table)
        .values(counter)
        .on_conflict((
            usage_metrics::customer_id,
            usage_metrics::period_start,
            usage_metrics::metric_name,
        ))
        .do_update()
        .set(counter)
        .execute(conn)?;
    Ok(())
}

/// Ends every period of the customer that still runs at `instant` right there: a new anchor has taken over. What is owed for them
/// ends with them.
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
    diesel::update(
        usage_reports::table
            .filter(usage_reports::customer_id.eq(customer))
            .filter(usage_reports::period_start.lt(instant))
            .filter(usage_reports::period_end.gt(instant)),
    )
    .set(usage_reports::period_end.eq(instant))
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
    /// Sum of the ledger, which need not fit into a counter.
    pub ledger: i128,
    /// What the counter says; 0 where it is missing.
    pub counter: i64,
}

impl Drift {
    /// Whether the counter has no period.
    pub fn is_gauge(&self) -> bool {
        self.period_start == DateTime::UNIX_EPOCH
    }
}

/// What a comparison of counters with the ledger found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How many counters there are.
    pub checked: i64,
    /// Those that differ, the first 1000.
    pub drifts: Vec<Drift>,
}

/// Compares the counters of one customer, or of all, with their ledger rows, on one snapshot. All of a large ledger takes
/// minutes, which the session's time-out for ordinary statements would not grant.
pub fn compare(conn: &mut PgConnection, customer: Option<&str>) -> QueryResult<Comparison> {
    conn.build_transaction()
        .repeatable_read()
        .read_only()
        .run(|conn| {
            conn.batch_execute("SET LOCAL statement_timeout = '10min'")?;
            let mut counted = usage_metrics::table.count().into_boxed();
            if let Some(customer) = customer {
                counted = counted.filter(usage_metrics::customer_id.eq(customer));
            }
            Ok(Comparison {
                checked: counted.get_result(conn)?,
                drifts: drifts(conn, customer)?,
            })
        })
}

/// The counters that are not the sum of their ledger rows, the first 1000, in one statement and so on one snapshot.
pub fn drifts(conn: &mut PgConnection, customer: Option<&str>) -> QueryResult<Vec<Drift>> {
    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Row {
        #[diesel(sql_type = Text)]
        customer_id: String,
        #[diesel(sql_type = Text)]
        metric_name: String,
        #[diesel(sql_type = Timestamptz)]
        period_start: DateTime<Utc>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        period_end: Option<DateTime<Utc>>,
        #[diesel(sql_type = Text)]
        ledger: String,
        #[diesel(sql_type = BigInt)]
        counter: i64,
    }
    let rows: Vec<Row> = diesel::sql_query(include_str!("drifts.sql"))
        .bind::<Nullable<Text>, _>(customer)
        .load(conn)?;
    rows.into_iter()
        .map(|row| {
            Ok(Drift {
                customer_id: row.customer_id,
                feature: row.metric_name,
                period_start: row.period_start,
                period_end: row.period_end,
                ledger: sum_of_text(&row.ledger)?,
                counter: row.counter,
            })
        })
        .collect()
}

/// The sum of a counter's ledger rows, which need not fit into a counter.
pub fn ledger_sum(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
    period_start: DateTime<Utc>,
) -> QueryResult<i128> {
    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Row {
        #[diesel(sql_type = Text)]
        total: String,
    }
    let row: Row = diesel::sql_query(
        "SELECT coalesce(sum(quantity), 0)::text AS total FROM ledger \
         WHERE customer_id = $1 AND metric_name = $2 AND period_start = $3",
    )
    .bind::<Text, _>(customer)
    .bind::<Text, _>(feature)
    .bind::<Timestamptz, _>(period_start)
    .get_result(conn)?;
    sum_of_text(&row.total)
}

fn sum_of_text(text: &str) -> QueryResult<i128> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        diesel::result::Error::DeserializationError(error.into())
    })
}
