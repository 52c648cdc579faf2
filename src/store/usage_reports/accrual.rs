//! What is owed is added to its counter's open row.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};
use uuid::Uuid;

use super::{Accrual, Returned};
use crate::store::statement::statement;

statement! {
    /// What was owed before is summed up only where something is taken back. The caller holds the customer's lock, or changes nothing that
    /// depends on that sum.
    AccrueAll<'a> -> () {
        "INSERT INTO usage_reports AS r \
             (customer_id, report_id, provider, metric_name, period_start, period_end, state, quantity, used_at, next_attempt_at, \
              created_at, updated_at) \
         SELECT customer_id, report_id, provider, metric_name, period_start, period_end, 'open', quantity, used_at, due_at, \
                used_at, used_at \
         FROM (SELECT n.*, CASE WHEN n.owed = n.at_least THEN n.owed ELSE greatest(n.owed, n.at_least - ( \
                          SELECT coalesce(sum(o.quantity), 0) FROM usage_reports o \
                          WHERE o.customer_id = n.customer_id AND o.provider = n.provider AND o.metric_name = n.metric_name \
                            AND o.period_start = n.period_start AND o.state NOT IN ('retracting', 'retracted')))::bigint \
                      END AS quantity \
               FROM unnest("
        customers: Vec<&'a str> as Array<Text>,
        "::text[], "
        ids: Vec<Uuid> as Array<diesel::sql_types::Uuid>,
        "::uuid[], "
        providers: Vec<&'a str> as Array<Text>,
        "::text[], "
        metrics: Vec<&'a str> as Array<Text>,
        "::text[], "
        starts: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        ends: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
        "::timestamptz[], "
        owed: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        least: Vec<i64> as Array<BigInt>,
        "::bigint[], "
        used: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[], "
        due: Vec<DateTime<Utc>> as Array<Timestamptz>,
        "::timestamptz[]) \
               AS n(customer_id, report_id, provider, metric_name, period_start, period_end, owed, at_least, used_at, due_at)) new \
         WHERE quantity <> 0 \
         ON CONFLICT (customer_id, provider, metric_name, period_start) WHERE state = 'open' DO UPDATE \
         SET quantity = r.quantity + excluded.quantity, used_at = greatest(r.used_at, excluded.used_at), \
             period_end = excluded.period_end, next_attempt_at = least(r.next_attempt_at, excluded.next_attempt_at), \
             created_at = CASE WHEN r.quantity > 0 THEN r.created_at ELSE excluded.created_at END, updated_at = excluded.updated_at"
    }
}

/// Adds to the open rows. The caller's transaction must hold the customers' locks, and the order must be theirs, then the counters'.
pub fn accrue_all(conn: &mut PgConnection, accruals: &[Accrual<'_>]) -> QueryResult<()> {
    let all = || accruals.iter();
    let statement = AccrueAll {
        customers: all().map(|a| a.customer).collect(),
        ids: all().map(|_| Uuid::now_v7()).collect(),
        providers: all().map(|a| a.provider.as_str()).collect(),
        metrics: all().map(|a| a.metric).collect(),
        starts: all().map(|a| a.period_start).collect(),
        ends: all().map(|a| a.period_end).collect(),
        owed: all().map(|a| a.owed.sum).collect(),
        least: all().map(|a| a.owed.least).collect(),
        used: all().map(|a| a.used_at).collect(),
        due: all().map(|a| a.due_at).collect(),
    };
    statement.execute(conn)?;
    Ok(())
}

/// Adds units of a report to its counter's open row, or takes them away again. The same transaction must move the report out of, or
/// into, the states that count.
pub fn put_back(conn: &mut PgConnection, returned: Returned<'_>) -> QueryResult<()> {
    let Returned {
        report,
        quantity,
        now,
    } = returned;
    let statement = AccrueAll {
        customers: vec![&report.customer_id],
        ids: vec![Uuid::now_v7()],
        providers: vec![&report.provider],
        metrics: vec![&report.metric_name],
        starts: vec![report.period_start],
        ends: vec![report.period_end],
        owed: vec![quantity],
        least: vec![quantity],
        used: vec![now],
        due: vec![now],
    };
    statement.execute(conn)?;
    Ok(())
}
