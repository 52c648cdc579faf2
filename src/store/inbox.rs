//! The inbox (`webhooks`): what a provider sent, raw, kept before it is acknowledged.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};

use super::schema::webhooks;
use crate::domain::provider_event::ProviderName;

/// The advisory lock under which events are claimed ("inbox" in ASCII).
const CLAIMING: i64 = 0x69_6e_62_6f_78;

/// The waiting events `w` that may be claimed at `$1`: nobody is at them, nor at another event of the same subject. Literals,
/// not parameters, so that the partial indexes fit.
const FREE: &str = "w.status IN ('queued', 'parked') \
    AND (w.claimed_until IS NULL OR w.claimed_until <= $1) \
    AND NOT EXISTS (SELECT 1 FROM webhooks o WHERE o.provider = w.provider AND o.subject = w.subject \
        AND o.status IN ('queued', 'parked') AND o.claimed_until > $1)";

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// To be applied as soon as possible.
    Queued,
    /// Applied.
    Processed,
    /// Cannot be applied yet; will be tried again.
    Parked,
    /// Of no use here.
    Ignored,
    /// Cannot be applied; needs a person.
    Failed,
}

impl Status {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processed => "processed",
            Self::Parked => "parked",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

/// An event to keep.
#[derive(Debug, Clone)]
pub struct Delivery<'a> {
    /// Who sent it.
    pub provider: ProviderName,
    /// The provider's id.
    pub event_id: &'a str,
    /// The provider's type.
    pub event_type: &'a str,
    /// The provider's id of what it is about, where that is followed here.
    pub subject: Option<&'a str>,
    /// It asks for nothing but a look at its subject, so that one look answers all such events that came before it.
    pub refetch_only: bool,
    /// Real money?
    pub livemode: bool,
    /// [`Status::Queued`] or [`Status::Ignored`].
    pub status: Status,
    /// The raw body.
    pub body: &'a [u8],
}

/// Keeps an event. Returns `false` where it is known already.
pub fn keep(
    conn: &mut PgConnection,
    delivery: &Delivery<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let kept = diesel::insert_into(webhooks::table)
        .values((
            webhooks::provider.eq(delivery.provider.as_str()),
            webhooks::event_id.eq(delivery.event_id),
            webhooks::event_type.eq(delivery.event_type),
            webhooks::subject.eq(delivery.subject),
            webhooks::refetch_only.eq(delivery.refetch_only),
            webhooks::livemode.eq(delivery.livemode),
            webhooks::status.eq(delivery.status.as_str()),
            webhooks::attempts.eq(0),
            webhooks::body.eq(delivery.body),
            webhooks::received_at.eq(now),
            webhooks::next_attempt_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(kept == 1)
}

/// Queues an event after all that was kept as one of no use. Returns `false` where it was not.
pub fn revive(
    conn: &mut PgConnection,
    delivery: &Delivery<'_>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let revived = diesel::update(
        webhooks::table
            .find((delivery.provider.as_str(), delivery.event_id))
            .filter(webhooks::status.eq(Status::Ignored.as_str()))
            .filter(webhooks::attempts.eq(0))
            .filter(webhooks::livemode.eq(delivery.livemode)),
    )
    .set((
        webhooks::status.eq(Status::Queued.as_str()),
        webhooks::subject.eq(delivery.subject),
        webhooks::refetch_only.eq(delivery.refetch_only),
        webhooks::next_attempt_at.eq(now),
    ))
    .execute(conn)?;
    Ok(revived == 1)
}

/// The right of one worker to put one event down again.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = webhooks, check_for_backend(diesel::pg::Pg))]
pub struct Claim {
    /// Who sent it.
    pub provider: String,
    /// The provider's id.
    pub event_id: String,
    /// Attempts, this one included.
    pub attempts: i32,
    /// From then on others may claim it; tells this claim from later ones.
    pub claimed_until: Option<DateTime<Utc>>,
}

/// An event that a worker claimed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = webhooks, check_for_backend(diesel::pg::Pg))]
pub struct Claimed {
    /// What it is put down with.
    #[diesel(embed)]
    pub claim: Claim,
    /// The provider's type.
    pub event_type: String,
    /// The raw body.
    pub body: Vec<u8>,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Text)]
    event_id: String,
}

/// Claims the event that is due first and of whose subject no other event is claimed. Should this worker die, the event
/// comes up again at `until`.
pub fn claim(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> QueryResult<Option<Claimed>> {
    conn.transaction(|conn| {
        // Two workers would not see each other's claim before it is committed, and take two events of one subject.
        sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<BigInt, _>(CLAIMING)
            .execute(conn)?;
        let due: Option<Key> = sql_query(format!(
            "SELECT w.provider, w.event_id FROM webhooks w WHERE {FREE} AND w.next_attempt_at <= $1 \
             ORDER BY w.next_attempt_at, w.received_at LIMIT 1 FOR UPDATE OF w SKIP LOCKED"
        ))
        .bind::<Timestamptz, _>(now)
        .get_result(conn)
        .optional()?;
        let Some(key) = due else { return Ok(None) };
        diesel::update(webhooks::table.find((key.provider, key.event_id)))
            .set((
                webhooks::attempts.eq(webhooks::attempts + 1),
                webhooks::claimed_until.eq(until),
            ))
            .returning(Claimed::as_returning())
            .get_result(conn)
            .map(Some)
    })
}

/// Marks an event applied (in the transaction that applied it), ignored or failed for good. Returns `false`, having changed
/// nothing, where the claim was lost.
pub fn settle(
    conn: &mut PgConnection,
    claim: &Claim,
    status: Status,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let settled = diesel::update(
        webhooks::table
            .find((&claim.provider, &claim.event_id))
            .filter(webhooks::attempts.eq(claim.attempts))
            .filter(webhooks::claimed_until.eq(claim.claimed_until)),
    )
    .set((
        webhooks::status.eq(status.as_str()),
        webhooks::error.eq(error),
        webhooks::claimed_until.eq(None::<DateTime<Utc>>),
        webhooks::processed_at.eq((status == Status::Processed).then_some(now)),
    ))
    .execute(conn)?;
    Ok(settled == 1)
}

/// Marks the waiting events applied that ask for nothing but a look at this subject and came until `looked_at`: what was fetched
/// afterwards answers them, too. To be called in the transaction that writes what was fetched.
pub fn answer(
    conn: &mut PgConnection,
    provider: ProviderName,
    subject: &str,
    looked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(
        webhooks::table
            .filter(webhooks::provider.eq(provider.as_str()))
            .filter(webhooks::subject.eq(subject))
            .filter(webhooks::refetch_only)
            .filter(webhooks::status.eq_any([Status::Queued.as_str(), Status::Parked.as_str()]))
            .filter(webhooks::received_at.le(looked_at))
            .filter(
                webhooks::claimed_until
                    .is_null()
                    .or(webhooks::claimed_until.le(now)),
            ),
    )
    .set((
        webhooks::status.eq(Status::Processed.as_str()),
        webhooks::error.eq(None::<String>),
        webhooks::processed_at.eq(now),
    ))
    .execute(conn)
}

/// Keeps an event for later, with the reason. Returns `false`, having changed nothing, where the claim was lost.
pub fn park(
    conn: &mut PgConnection,
    claim: &Claim,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> QueryResult<bool> {
    postpone(conn, claim, claim.attempts, error, next_attempt_at)
}

/// Like [`park`], for an event that was no trouble itself: the attempt does not count.
pub fn hand_back(
    conn: &mut PgConnection,
    claim: &Claim,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> QueryResult<bool> {
    let attempts = claim.attempts.saturating_sub(1);
    postpone(conn, claim, attempts, error, next_attempt_at)
}

fn postpone(
    conn: &mut PgConnection,
    claim: &Claim,
    attempts: i32,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> QueryResult<bool> {
    let postponed = diesel::update(
        webhooks::table
            .find((&claim.provider, &claim.event_id))
            .filter(webhooks::attempts.eq(claim.attempts))
            .filter(webhooks::claimed_until.eq(claim.claimed_until)),
    )
    .set((
        webhooks::status.eq(Status::Parked.as_str()),
        webhooks::error.eq(error),
        webhooks::attempts.eq(attempts),
        webhooks::next_attempt_at.eq(next_attempt_at),
        webhooks::claimed_until.eq(None::<DateTime<Utc>>),
    ))
    .execute(conn)?;
    Ok(postponed == 1)
}

/// What has not been applied.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Backlog {
    /// Events that wait.
    #[diesel(sql_type = BigInt)]
    pub unprocessed: i64,
    /// When the oldest of them came.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub oldest_received_at: Option<DateTime<Utc>>,
    /// Events that were given up.
    #[diesel(sql_type = BigInt)]
    pub failed: i64,
}

/// How much has not been applied.
pub fn backlog(conn: &mut PgConnection) -> QueryResult<Backlog> {
    sql_query(
        "SELECT count(*) AS unprocessed, min(received_at) AS oldest_received_at, \
         (SELECT count(*) FROM webhooks WHERE status = 'failed') AS failed \
         FROM webhooks WHERE status IN ('queued', 'parked')",
    )
    .get_result(conn)
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Timestamptz)]
    next_attempt_at: DateTime<Utc>,
}

/// When the next event is due, apart from those that wait for the end of a claim.
pub fn next_due(conn: &mut PgConnection, now: DateTime<Utc>) -> QueryResult<Option<DateTime<Utc>>> {
    let due: Option<Due> = sql_query(format!(
        "SELECT w.next_attempt_at FROM webhooks w WHERE {FREE} ORDER BY w.next_attempt_at LIMIT 1"
    ))
    .bind::<Timestamptz, _>(now)
    .get_result(conn)
    .optional()?;
    Ok(due.map(|due| due.next_attempt_at))
}

/// Makes the parked events about one subject due at once: what they wait for may have come.
pub fn wake(
    conn: &mut PgConnection,
    provider: ProviderName,
    subject: &str,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(
        webhooks::table
            .filter(webhooks::provider.eq(provider.as_str()))
            .filter(webhooks::subject.eq(subject))
            .filter(webhooks::status.eq(Status::Parked.as_str()))
            .filter(webhooks::next_attempt_at.gt(now))
            .filter(webhooks::claimed_until.is_null()),
    )
    .set(webhooks::next_attempt_at.eq(now))
    .execute(conn)
}

/// Makes every parked event due at once: the configuration that they wait for may be in force now.
pub fn wake_all(conn: &mut PgConnection, now: DateTime<Utc>) -> QueryResult<usize> {
    diesel::update(
        webhooks::table
            .filter(webhooks::status.eq(Status::Parked.as_str()))
            .filter(webhooks::next_attempt_at.gt(now))
            .filter(webhooks::claimed_until.is_null()),
    )
    .set(webhooks::next_attempt_at.eq(now))
    .execute(conn)
}
