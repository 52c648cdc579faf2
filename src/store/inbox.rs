//! The inbox (`webhooks`): what a provider sent, raw, kept before it is acknowledged.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::webhooks;
use crate::domain::provider_event::ProviderName;

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

/// An event that a worker claimed.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = webhooks, check_for_backend(diesel::pg::Pg))]
pub struct Claimed {
    /// Who sent it.
    pub provider: String,
    /// The provider's id.
    pub event_id: String,
    /// The provider's type.
    pub event_type: String,
    /// Attempts, this one included.
    pub attempts: i32,
    /// The raw body.
    pub body: Vec<u8>,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// Claims the event that is due first, and hides it from other workers until `hidden_until`: should this worker die, the
/// event comes up again.
pub fn claim(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    hidden_until: DateTime<Utc>,
) -> QueryResult<Option<Claimed>> {
    conn.transaction(|conn| {
        let due: Option<(String, String)> = webhooks::table
            .filter(webhooks::status.eq_any([Status::Queued.as_str(), Status::Parked.as_str()]))
            .filter(webhooks::next_attempt_at.le(now))
            .order(webhooks::next_attempt_at)
            .select((webhooks::provider, webhooks::event_id))
            .for_update()
            .skip_locked()
            .first(conn)
            .optional()?;
        let Some(key) = due else { return Ok(None) };
        diesel::update(webhooks::table.find(key))
            .set((
                webhooks::attempts.eq(webhooks::attempts + 1),
                webhooks::next_attempt_at.eq(hidden_until),
            ))
            .returning(Claimed::as_returning())
            .get_result(conn)
            .map(Some)
    })
}

/// Marks an event applied (in the transaction that applied it), ignored or failed for good.
pub fn settle(
    conn: &mut PgConnection,
    provider: ProviderName,
    event_id: &str,
    status: Status,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(webhooks::table.find((provider.as_str(), event_id)))
        .set((
            webhooks::status.eq(status.as_str()),
            webhooks::error.eq(error),
            webhooks::processed_at.eq((status == Status::Processed).then_some(now)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Keeps an event for later, with the reason.
pub fn park(
    conn: &mut PgConnection,
    provider: ProviderName,
    event_id: &str,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(webhooks::table.find((provider.as_str(), event_id)))
        .set((
            webhooks::status.eq(Status::Parked.as_str()),
            webhooks::error.eq(error),
            webhooks::next_attempt_at.eq(next_attempt_at),
        ))
        .execute(conn)?;
    Ok(())
}

/// How many events wait, and since when the oldest does.
pub fn backlog(conn: &mut PgConnection) -> QueryResult<(i64, Option<DateTime<Utc>>)> {
    webhooks::table
        .filter(webhooks::status.eq_any([Status::Queued.as_str(), Status::Parked.as_str()]))
        .select((
            diesel::dsl::count_star(),
            diesel::dsl::min(webhooks::received_at),
        ))
        .first(conn)
}

/// When the next event is due.
pub fn next_due(conn: &mut PgConnection) -> QueryResult<Option<DateTime<Utc>>> {
    webhooks::table
        .filter(webhooks::status.eq_any([Status::Queued.as_str(), Status::Parked.as_str()]))
        .select(diesel::dsl::min(webhooks::next_attempt_at))
        .first(conn)
}

/// Makes parked events due at once: something they wait for may have come.
pub fn wake_parked(conn: &mut PgConnection, now: DateTime<Utc>) -> QueryResult<usize> {
    diesel::update(
        webhooks::table
            .filter(webhooks::status.eq(Status::Parked.as_str()))
            .filter(webhooks::next_attempt_at.gt(now)),
    )
    .set(webhooks::next_attempt_at.eq(now))
    .execute(conn)
}
