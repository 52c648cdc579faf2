//! Subscriptions that must be ended at their provider: noted in the transaction that finds out, carried out by a job.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::subscription_endings;
use super::unreadable;
use crate::domain::payment::{EndingReason, EndingState, Refund};
use crate::domain::subscription::Subscription;

/// Notes that a subscription of the customer must be ended, unless that is noted already (`false`).
pub fn note(
    conn: &mut PgConnection,
    customer: &str,
    subscription: &Subscription,
    reason: EndingReason,
    refund: Refund,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let since = match refund {
        Refund::UnusedSince(since) => Some(since),
        Refund::None | Refund::Whole => None,
    };
    let noted = diesel::insert_into(subscription_endings::table)
        .values((
            subscription_endings::customer_id.eq(customer),
            subscription_endings::subscription_id.eq(subscription.id),
            subscription_endings::provider.eq(subscription.provider.as_str()),
            subscription_endings::provider_subscription_id
                .eq(&subscription.provider_subscription_id),
            subscription_endings::reason.eq(reason.as_str()),
            subscription_endings::refund.eq(refund != Refund::None),
            subscription_endings::refund_since.eq(since),
            subscription_endings::state.eq("due"),
            subscription_endings::attempts.eq(0),
            subscription_endings::next_attempt_at.eq(now),
            subscription_endings::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(noted == 1)
}

/// An end that is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// Of which subscription, by our id.
    pub subscription_id: Uuid,
    /// Why.
    pub reason: EndingReason,
    /// How far it has come.
    pub state: EndingState,
    /// How often it was tried to carry it out.
    pub attempts: i32,
}

/// The ends that are noted of the customer's subscriptions.
pub fn of_customer(
    conn: &mut PgConnection,
    customer: &str,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Noted>> {
    type Row = (Uuid, String, String, i32, Option<DateTime<Utc>>);
    let rows: Vec<Row> = subscription_endings::table
        .filter(subscription_endings::customer_id.eq(customer))
        .select((
            subscription_endings::subscription_id,
            subscription_endings::reason,
            subscription_endings::state,
            subscription_endings::attempts,
            subscription_endings::claimed_until,
        ))
        .load(conn)?;
    rows.into_iter()
        .map(
            |(subscription_id, reason, state, attempts, claimed_until)| {
                let state = match (state.as_str(), claimed_until) {
                    ("done", _) => EndingState::Done,
                    (_, Some(until)) if now < until => EndingState::UnderWay,
                    _ => EndingState::Due,
                };
                Ok(Noted {
                    subscription_id,
                    reason: reason_of(&reason)?,
                    state,
                    attempts,
                })
            },
        )
        .collect()
}

/// The customer's subscriptions whose place others have taken, by our ids.
pub fn replaced(conn: &mut PgConnection, customer: &str) -> QueryResult<Vec<Uuid>> {
    subscription_endings::table
        .filter(subscription_endings::customer_id.eq(customer))
        .filter(subscription_endings::reason.eq(EndingReason::Replaced.as_str()))
        .select(subscription_endings::subscription_id)
        .load(conn)
}

/// Takes back what was noted, unless it was carried out or somebody is at it (`false`).
pub fn withdraw(
    conn: &mut PgConnection,
    customer: &str,
    subscription_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let noted = subscription_endings::table
        .find((customer, subscription_id))
        .filter(subscription_endings::state.eq("due"))
        .filter(
            subscription_endings::claimed_until
                .is_null()
                .or(subscription_endings::claimed_until.le(now)),
        );
    Ok(diesel::delete(noted).execute(conn)? == 1)
}

/// The right of one worker to carry out one end.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = subscription_endings, check_for_backend(diesel::pg::Pg))]
pub struct Claimed {
    /// Whose subscription.
    pub customer_id: String,
    /// Ours.
    pub subscription_id: Uuid,
    /// Who bills it.
    pub provider: String,
    /// The provider's id.
    pub provider_subscription_id: String,
    /// Why it ends: a word of [`EndingReason`].
    pub reason: String,
    refund: bool,
    refund_since: Option<DateTime<Utc>>,
    /// Attempts, this one included.
    pub attempts: i32,
    /// When it was noted.
    pub created_at: DateTime<Utc>,
    /// From then on others may claim it; tells this claim from later ones.
    #[diesel(column_name = claimed_until)]
    until: Option<DateTime<Utc>>,
}

impl Claimed {
    /// What is given back of what was paid for it last.
    pub fn refund(&self) -> Refund {
        match (self.refund, self.refund_since) {
            (false, _) => Refund::None,
            (true, None) => Refund::Whole,
            (true, Some(since)) => Refund::UnusedSince(since),
        }
    }
}

/// Claims the end that is due first. Should this worker die, it comes up again at `until`.
pub fn claim(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> QueryResult<Option<Claimed>> {
    conn.transaction(|conn| {
        let due: Option<(String, Uuid)> = subscription_endings::table
            .filter(subscription_endings::state.eq("due"))
            .filter(subscription_endings::next_attempt_at.le(now))
            .filter(
                subscription_endings::claimed_until
                    .is_null()
                    .or(subscription_endings::claimed_until.le(now)),
            )
            .order(subscription_endings::next_attempt_at)
            .select((
                subscription_endings::customer_id,
                subscription_endings::subscription_id,
            ))
            .for_update()
            .skip_locked()
            .first(conn)
            .optional()?;
        let Some(key) = due else { return Ok(None) };
        diesel::update(subscription_endings::table.find(key))
            .set((
                subscription_endings::attempts.eq(subscription_endings::attempts + 1),
                subscription_endings::claimed_until.eq(until),
            ))
            .returning(Claimed::as_returning())
            .get_result(conn)
            .map(Some)
    })
}

/// Marks an end carried out. Returns `false`, having changed nothing, where the claim was lost.
pub fn finish(conn: &mut PgConnection, claim: &Claimed, now: DateTime<Utc>) -> QueryResult<bool> {
    let done = diesel::update(
        subscription_endings::table
            .find((&claim.customer_id, claim.subscription_id))
            .filter(subscription_endings::state.eq("due"))
            .filter(subscription_endings::attempts.eq(claim.attempts))
            .filter(subscription_endings::claimed_until.eq(claim.until)),
    )
    .set((
        subscription_endings::state.eq("done"),
        subscription_endings::error.eq(None::<String>),
        subscription_endings::claimed_until.eq(None::<DateTime<Utc>>),
        subscription_endings::done_at.eq(now),
    ))
    .execute(conn)?;
    Ok(done == 1)
}

/// Forgets an end that must not be carried out after all. Returns `false`, having changed nothing, where the claim was lost.
pub fn forget(conn: &mut PgConnection, claim: &Claimed) -> QueryResult<bool> {
    let claimed = subscription_endings::table
        .find((&claim.customer_id, claim.subscription_id))
        .filter(subscription_endings::state.eq("due"))
        .filter(subscription_endings::attempts.eq(claim.attempts))
        .filter(subscription_endings::claimed_until.eq(claim.until));
    Ok(diesel::delete(claimed).execute(conn)? == 1)
}

/// How many ends are due, and since when.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Backlog {
    /// Subscriptions that are to be ended.
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub due: i64,
    /// When the oldest of them was noted.
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>)]
    pub oldest_at: Option<DateTime<Utc>>,
}

/// What is still to be ended.
pub fn backlog(conn: &mut PgConnection) -> QueryResult<Backlog> {
    diesel::sql_query(
        "SELECT count(*) AS due, min(created_at) AS oldest_at FROM subscription_endings WHERE state = 'due'",
    )
    .get_result(conn)
}

/// Keeps an end for later, with the reason. Returns `false`, having changed nothing, where the claim was lost.
pub fn postpone(
    conn: &mut PgConnection,
    claim: &Claimed,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> QueryResult<bool> {
    let postponed = diesel::update(
        subscription_endings::table
            .find((&claim.customer_id, claim.subscription_id))
            .filter(subscription_endings::state.eq("due"))
            .filter(subscription_endings::attempts.eq(claim.attempts))
            .filter(subscription_endings::claimed_until.eq(claim.until)),
    )
    .set((
        subscription_endings::error.eq(error),
        subscription_endings::next_attempt_at.eq(next_attempt_at),
        subscription_endings::claimed_until.eq(None::<DateTime<Utc>>),
    ))
    .execute(conn)?;
    Ok(postponed == 1)
}

/// When the next end is due, apart from those that somebody is at.
pub fn next_due(conn: &mut PgConnection, now: DateTime<Utc>) -> QueryResult<Option<DateTime<Utc>>> {
    subscription_endings::table
        .filter(subscription_endings::state.eq("due"))
        .filter(
            subscription_endings::claimed_until
                .is_null()
                .or(subscription_endings::claimed_until.le(now)),
        )
        .order(subscription_endings::next_attempt_at)
        .select(subscription_endings::next_attempt_at)
        .first(conn)
        .optional()
}

fn reason_of(word: &str) -> QueryResult<EndingReason> {
    EndingReason::parse(word)
        .ok_or_else(|| unreadable(format!("reason of a subscription's end {word:?}")))
}
