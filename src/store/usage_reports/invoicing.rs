//! Reports of closed periods that are billed with an invoice of our own, because no meter can be told.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Text, Timestamptz};
use uuid::Uuid;

use super::{Report, State};
use crate::store::schema::usage_reports;

/// Somebody of whom closed periods are to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, QueryableByName)]
pub struct Closing {
    /// Whose.
    #[diesel(sql_type = Text)]
    pub customer_id: String,
    /// Who bills it.
    #[diesel(sql_type = Text)]
    pub provider: String,
}

/// Whose open reports are due of periods that were over by `closed_by`, the longest closed first.
pub fn closing(
    conn: &mut PgConnection,
    providers: &[&str],
    closed_by: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<Closing>> {
    sql_query(
        "SELECT customer_id, provider FROM usage_reports \
         WHERE state = 'open' AND provider = ANY($1) AND period_end <= $2 AND next_attempt_at <= $3 \
         GROUP BY customer_id, provider ORDER BY min(period_end) LIMIT $4",
    )
    .bind::<Array<Text>, _>(providers)
    .bind::<Timestamptz, _>(closed_by)
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(limit)
    .load(conn)
}

/// The customer's open reports of periods that were over by `closed_by`. The caller holds the customer's lock, so that nothing is added
/// to them until the transaction ends.
pub fn closed_of(
    conn: &mut PgConnection,
    whose: &Closing,
    closed_by: DateTime<Utc>,
) -> QueryResult<Vec<Report>> {
    usage_reports::table
        .filter(usage_reports::customer_id.eq(&whose.customer_id))
        .filter(usage_reports::provider.eq(&whose.provider))
        .filter(usage_reports::state.eq(State::Open.as_str()))
        .filter(usage_reports::period_end.le(closed_by))
        .order((
            usage_reports::metric_name,
            usage_reports::period_start,
            usage_reports::report_id,
        ))
        .select(Report::as_select())
        .load(conn)
}

/// Those of these periods of the customer, by their first instants, that were billed with an invoice already.
pub fn invoiced_periods(
    conn: &mut PgConnection,
    whose: &Closing,
    starts: &[DateTime<Utc>],
) -> QueryResult<Vec<DateTime<Utc>>> {
    usage_reports::table
        .filter(usage_reports::customer_id.eq(&whose.customer_id))
        .filter(usage_reports::provider.eq(&whose.provider))
        .filter(usage_reports::invoice_id.is_not_null())
        .filter(usage_reports::period_start.eq_any(starts))
        .select(usage_reports::period_start)
        .distinct()
        .load(conn)
}

/// Bills reports with an invoice: they are never changed again. The same transaction must write the invoice.
pub fn invoice(
    conn: &mut PgConnection,
    customer: &str,
    reports: &[Uuid],
    invoice: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        usage_reports::table
            .filter(usage_reports::customer_id.eq(customer))
            .filter(usage_reports::report_id.eq_any(reports)),
    )
    .set((
        usage_reports::state.eq(State::Sent.as_str()),
        usage_reports::invoice_id.eq(invoice),
        usage_reports::told_at.eq(now),
        usage_reports::told_since.eq(now),
        usage_reports::sent_at.eq(now),
        usage_reports::is_final.eq(true),
        usage_reports::error.eq(None::<String>),
        usage_reports::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(())
}

/// Carries reports forward: they are looked at again at `until`, when something is added to them, or with the next period that closes.
pub fn carry_forward(
    conn: &mut PgConnection,
    customer: &str,
    reports: &[Uuid],
    reason: Option<&str>,
    until: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        usage_reports::table
            .filter(usage_reports::customer_id.eq(customer))
            .filter(usage_reports::report_id.eq_any(reports)),
    )
    .set((
        usage_reports::next_attempt_at.eq(until),
        usage_reports::error.eq(reason),
    ))
    .execute(conn)?;
    Ok(())
}

/// Leaves all that the customer owes alone until an instant: it could not be looked at.
pub fn leave(conn: &mut PgConnection, whose: &Closing, until: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(
        usage_reports::table
            .filter(usage_reports::customer_id.eq(&whose.customer_id))
            .filter(usage_reports::provider.eq(&whose.provider))
            .filter(usage_reports::state.eq(State::Open.as_str())),
    )
    .set(usage_reports::next_attempt_at.eq(until))
    .execute(conn)?;
    Ok(())
}
