//! Reports on their way: which are due, whose turn it is, and what becomes of them.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz};

use super::{Change, Report, Scope, State, put_back};
use crate::store::schema::usage_reports;

/// The advisory lock under which reports are sealed and claimed ("usage" in ASCII).
const CLAIMING: i64 = 0x75_73_61_67_65;

/// Every column of a [`Report`].
const COLUMNS: &str = "r.customer_id, r.report_id, r.provider, r.metric_name, r.period_start, r.period_end, r.state, r.quantity, \
    r.used_at, r.provider_customer_id, r.told_at, r.told_since, r.first_tried_at, r.is_final, r.attempts, r.claimed_until";

/// Keeps other workers from sealing and claiming until the transaction ends. Two would not see each other's choice, and send two
/// reports of one customer on their way.
pub fn lock_claims(conn: &mut PgConnection) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)")
        .bind::<BigInt, _>(CLAIMING)
        .execute(conn)?;
    Ok(())
}

/// Open reports that are due and of whose customer no other report is under way, those first whose periods end first. They stay
/// locked; those that somebody adds to at the moment come up later.
pub fn due_to_leave(
    conn: &mut PgConnection,
    scope: Scope<'_>,
    limit: i64,
) -> QueryResult<Vec<Report>> {
    sql_query(format!(
        "SELECT {COLUMNS} FROM usage_reports r \
         WHERE r.state = 'open' AND r.next_attempt_at <= $1 AND r.provider = ANY($2) AND ($3 IS NULL OR r.customer_id = $3) \
           AND NOT EXISTS (SELECT 1 FROM usage_reports u WHERE u.customer_id = r.customer_id AND u.provider = r.provider \
                           AND u.state IN ('sealed', 'retracting')) \
         ORDER BY r.period_end, r.next_attempt_at LIMIT $4 FOR UPDATE OF r SKIP LOCKED"
    ))
    .bind::<Timestamptz, _>(scope.now)
    .bind::<Array<Text>, _>(scope.providers)
    .bind::<Nullable<Text>, _>(scope.customer)
    .bind::<BigInt, _>(limit)
    .load(conn)
}

/// Fixes the quantity of an open report.
pub fn seal(conn: &mut PgConnection, report: &Report, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&report.customer_id, report.report_id)))
        .set((
            usage_reports::state.eq(State::Sealed.as_str()),
            usage_reports::next_attempt_at.eq(now),
            usage_reports::updated_at.eq(now),
        ))
        .execute(conn)?;
    Ok(())
}

/// Removes an open report in which corrections made up for all use.
pub fn drop_empty(conn: &mut PgConnection, report: &Report) -> QueryResult<()> {
    diesel::delete(
        usage_reports::table
            .find((&report.customer_id, report.report_id))
            .filter(usage_reports::quantity.eq(0)),
    )
    .execute(conn)?;
    Ok(())
}

/// Leaves an open report alone until an instant, or until something is added to it.
pub fn park_open(
    conn: &mut PgConnection,
    report: &Report,
    until: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&report.customer_id, report.report_id)))
        .set(usage_reports::next_attempt_at.eq(until))
        .execute(conn)?;
    Ok(())
}

/// Leaves a correction that nothing makes up for to a person.
pub fn give_up_open(
    conn: &mut PgConnection,
    report: &Report,
    reason: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&report.customer_id, report.report_id)))
        .set((
            usage_reports::state.eq(State::Doubtful.as_str()),
            usage_reports::error.eq(reason),
            usage_reports::updated_at.eq(now),
        ))
        .execute(conn)?;
    Ok(())
}

/// The report of the same counter that was told last, where that was after `since` and it may still be taken back. It stays locked.
pub fn newest_sent(
    conn: &mut PgConnection,
    open: &Report,
    since: DateTime<Utc>,
) -> QueryResult<Option<Report>> {
    usage_reports::table
        .filter(usage_reports::customer_id.eq(&open.customer_id))
        .filter(usage_reports::provider.eq(&open.provider))
        .filter(usage_reports::metric_name.eq(&open.metric_name))
        .filter(usage_reports::period_start.eq(open.period_start))
        .filter(usage_reports::state.eq(State::Sent.as_str()))
        .filter(usage_reports::is_final.eq(false))
        .filter(usage_reports::first_tried_at.gt(since))
        .order((
            usage_reports::sent_at.desc(),
            usage_reports::report_id.desc(),
        ))
        .select(Report::as_select())
        .for_update()
        .skip_locked()
        .first(conn)
        .optional()
}

/// Decides to take a report back: its units go to the open one again, which is told when it is known what became of this.
pub fn begin_retraction(
    conn: &mut PgConnection,
    sent: &Report,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&sent.customer_id, sent.report_id)))
        .set((
            usage_reports::state.eq(State::Retracting.as_str()),
            usage_reports::attempts.eq(0),
            usage_reports::next_attempt_at.eq(now),
            usage_reports::created_at.eq(now),
            usage_reports::updated_at.eq(now),
        ))
        .execute(conn)?;
    put_back(conn, sent.returned(sent.quantity, now))
}

/// Claims the reports under way that are due. Should this worker die, they come up again at `until`.
pub fn take_due(
    conn: &mut PgConnection,
    scope: Scope<'_>,
    until: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<Report>> {
    sql_query(format!(
        "UPDATE usage_reports r SET attempts = r.attempts + 1, claimed_until = $5 \
         FROM (SELECT u.customer_id, u.report_id FROM usage_reports u \
               WHERE u.state IN ('sealed', 'retracting') AND u.next_attempt_at <= $1 AND u.provider = ANY($2) \
                 AND ($3 IS NULL OR u.customer_id = $3) AND (u.claimed_until IS NULL OR u.claimed_until <= $1) \
               ORDER BY u.period_end, u.next_attempt_at LIMIT $4 FOR UPDATE SKIP LOCKED) due \
         WHERE r.customer_id = due.customer_id AND r.report_id = due.report_id RETURNING {COLUMNS}"
    ))
    .bind::<Timestamptz, _>(scope.now)
    .bind::<Array<Text>, _>(scope.providers)
    .bind::<Nullable<Text>, _>(scope.customer)
    .bind::<BigInt, _>(limit)
    .bind::<Timestamptz, _>(until)
    .load(conn)
}

/// Writes down, before the provider hears of a report, of whom and under which instant it is told.
pub fn note_telling(conn: &mut PgConnection, report: &Report) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&report.customer_id, report.report_id)))
        .set((
            usage_reports::provider_customer_id.eq(&report.provider_customer_id),
            usage_reports::told_at.eq(report.told_at),
            usage_reports::told_since.eq(report.told_since),
            usage_reports::first_tried_at.eq(report.first_tried_at),
        ))
        .execute(conn)?;
    Ok(())
}

/// Puts a claimed report down. Returns `false`, having changed nothing, where the claim was lost or somebody else found out what became
/// of the report.
pub fn settle(
    conn: &mut PgConnection,
    claimed: &Report,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let settled = diesel::update(
        usage_reports::table
            .find((&claimed.customer_id, claimed.report_id))
            .filter(usage_reports::state.eq(&claimed.state))
            .filter(usage_reports::attempts.eq(claimed.attempts))
            .filter(usage_reports::claimed_until.eq(claimed.claimed_until)),
    )
    .set((
        change,
        usage_reports::claimed_until.eq(None::<DateTime<Utc>>),
        usage_reports::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(settled == 1)
}

/// Makes due at once what the customer owes and what waits to be tried again. Nobody is waited for: what somebody is at is told soon
/// anyway. Returns how many reports that hastens.
pub fn hurry(
    conn: &mut PgConnection,
    customer: &str,
    provider: &str,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    sql_query(
        "UPDATE usage_reports r SET next_attempt_at = $3 \
         FROM (SELECT u.customer_id, u.report_id FROM usage_reports u \
               WHERE u.customer_id = $1 AND u.provider = $2 AND u.state IN ('open', 'sealed', 'retracting') \
                 AND u.next_attempt_at > $3 FOR UPDATE SKIP LOCKED) waiting \
         WHERE r.customer_id = waiting.customer_id AND r.report_id = waiting.report_id",
    )
    .bind::<Text, _>(customer)
    .bind::<Text, _>(provider)
    .bind::<Timestamptz, _>(now)
    .execute(conn)
}

/// Whether the provider does not have all yet that the customer owes, or still has what it should not.
pub fn has_pending(conn: &mut PgConnection, customer: &str, provider: &str) -> QueryResult<bool> {
    let mine = usage_reports::table
        .filter(usage_reports::customer_id.eq(customer))
        .filter(usage_reports::provider.eq(provider));
    let under_way =
        usage_reports::state.eq_any([State::Sealed.as_str(), State::Retracting.as_str()]);
    let owed = usage_reports::state
        .eq(State::Open.as_str())
        .and(usage_reports::quantity.gt(0));
    diesel::select(diesel::dsl::exists(mine.filter(under_way.or(owed)))).get_result(conn)
}

/// Has what a refused report accounts for told anew: its units go back to the open row.
pub fn begin_anew(
    conn: &mut PgConnection,
    refused: &Report,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(usage_reports::table.find((&refused.customer_id, refused.report_id)))
        .set((
            usage_reports::state.eq(State::Retracted.as_str()),
            usage_reports::updated_at.eq(now),
        ))
        .execute(conn)?;
    put_back(conn, refused.returned(refused.quantity, now))
}
