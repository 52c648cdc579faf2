//! The counters (`usage_metrics`): one row for each customer, feature and period; each equals the sum of its ledger rows.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Timestamptz};

use super::schema::usage_metrics;
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
}

statement! {
    /// Each pair is looked up by itself, so that no plan can prefer to read the table.
    Current<'a> -> BalanceSql {
        "SELECT m.customer_id, m.metric_name, m.period_start, m.period_end, m.value, m.warning_level, m.updated_at, NULL::bigint \
         FROM unnest("
        owners: Vec<&'a str> as Array<Text>,
        "::text[], "
        starts: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[]) AS wanted(customer_id, period_start) \
         CROSS JOIN LATERAL (SELECT * FROM usage_metrics u \
                             WHERE u.customer_id = wanted.customer_id AND u.period_start = wanted.period_start OFFSET 0) m \
         UNION ALL \
         SELECT r.customer_id, r.metric_name, r.period_start, NULL, 0, 0::smallint, r.period_start, \
                least(sum(r.quantity), 9223372036854775807)::bigint \
         FROM reservations r \
         WHERE r.customer_id = ANY("
        customers: &'a [&'a str] as Array<Text>,
        ") AND r.state = 'held' AND r.expires_at > "
        now: DateTime<Utc> as Timestamptz,
        " GROUP BY r.customer_id, r.metric_name, r.period_start"
    }
}

type BalanceSql = (
    Text,
    Text,
    Timestamptz,
    Nullable<Timestamptz>,
    BigInt,
    SmallInt,
    Timestamptz,
    Nullable<BigInt>,
);

/// What live reservations hold of a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub metric_name: String,
    /// First instant of the counter's period.
    pub period_start: DateTime<Utc>,
    /// Their sum; capped at what 64 bits hold.
    pub quantity: i64,
}

/// What decisions at `now` may need of several customers, each given with the start of its current period: the counters of that
/// period and the gauges, and what is held of any counter.
pub fn current(
    conn: &mut PgConnection,
    customers: &[(&str, DateTime<Utc>)],
    now: DateTime<Utc>,
) -> QueryResult<(Vec<Counter>, Vec<Hold>)> {
    type Row = (
        String,
        String,
        DateTime<Utc>,
        Option<DateTime<Utc>>,
        i64,
        i16,
        DateTime<Utc>,
        Option<i64>,
    );
    let ids: Vec<&str> = customers.iter().map(|(customer, _)| *customer).collect();
    let statement = Current {
        owners: ids.iter().chain(&ids).copied().collect(),
        starts: customers
            .iter()
            .map(|(_, start)| *start)
            .chain(ids.iter().map(|_| DateTime::UNIX_EPOCH))
            .collect(),
        customers: &ids,
        now,
    };
    let rows: Vec<Row> = statement.load(conn)?;
    let (mut counters, mut holds) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let (customer_id, metric_name, period_start, period_end, value, level, updated_at, held) =
            row;
        match held {
            Some(quantity) => holds.push(Hold {
                customer_id,
                metric_name,
                period_start,
                quantity,
            }),
            None => counters.push(Counter {
                customer_id,
                metric_name,
                period_start,
                period_end,
                value,
                warning_level: level,
                updated_at,
            }),
        }
    }
    Ok((counters, holds))
}

/// Every counter that these customers ever had.
pub fn of_customers(conn: &mut PgConnection, customers: &[&str]) -> QueryResult<Vec<Counter>> {
    usage_metrics::table
        .filter(usage_metrics::customer_id.eq_any(customers))
        .select(Counter::as_select())
        .load(conn)
}

statement! {
    SaveAll<'a> -> () {
        "INSERT INTO usage_metrics \
             (customer_id, metric_name, period_start, period_end, value, warning_level, updated_at) \
         SELECT * FROM unnest("
        customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        features: Vec<&'a str> as Array<Text>,
        "::text[], "
        starts: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        ends: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[], "
        values: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        levels: Vec<i16> as Array<SmallInt>,
        "::smallint[], "
        updated: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[]) \
         ON CONFLICT (customer_id, period_start, metric_name) DO UPDATE \
         SET period_end = excluded.period_end, value = excluded.value, warning_level = excluded.warning_level, \
             updated_at = excluded.updated_at"
    }
}

/// Writes counters as they now are.
pub fn save_all<'a>(
    conn: &mut PgConnection,
    counters: impl Iterator<Item = &'a Counter> + Clone,
) -> QueryResult<()> {
    let statement = SaveAll {
        customers: counters.clone().map(|c| c.customer_id.as_str()).collect(),
        features: counters.clone().map(|c| c.metric_name.as_str()).collect(),
        starts: counters.clone().map(|c| c.period_start).collect(),
        ends: counters.clone().map(|c| c.period_end).collect(),
        values: counters.clone().map(|c| c.value).collect(),
        levels: counters.clone().map(|c| c.warning_level).collect(),
        updated: counters.map(|c| c.updated_at).collect(),
    };
    statement.execute(conn)?;
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
