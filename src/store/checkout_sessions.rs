//! Attempts to sell a plan. At most one per customer and provider is under way, which a partial unique index enforces.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::checkout_sessions;
use crate::domain::provider_event::ProviderName;

/// An attempt that was begun, and the session once the provider made it.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = checkout_sessions, check_for_backend(diesel::pg::Pg))]
pub struct Attempt {
    /// Whose.
    pub customer_id: String,
    /// Ours; the provider's idempotency key derives from it.
    pub attempt_id: Uuid,
    /// Provider's name.
    pub provider: String,
    /// What is sold.
    pub plan_tier: String,
    /// Which version of it.
    pub plan_version: i32,
    /// `creating`, `open`, `complete`, `expired` or `failed`.
    pub state: String,
    /// The provider's id.
    pub session_id: Option<String>,
    /// Where the customer pays.
    pub checkout_url: Option<String>,
    /// Where the customer comes back to.
    pub success_url: String,
    /// Where the customer comes back to without having paid.
    pub cancel_url: String,
    /// Days before the first payment is taken, as they are asked for.
    pub trial_days: Option<i32>,
    /// The subscription whose place the new one takes once it is paid, by the provider's id.
    pub replaces: Option<String>,
    /// When the first period begins; `None`: with the payment.
    pub starts_at: Option<DateTime<Utc>>,
    /// Somebody is asking a provider without idempotency keys for the session until then.
    pub claimed_until: Option<DateTime<Utc>>,
    /// When the session closes by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Begun at.
    pub created_at: DateTime<Utc>,
    /// Last changed at.
    pub updated_at: DateTime<Utc>,
}

impl Attempt {
    /// Whether it can still lead to a purchase.
    pub fn is_under_way(&self) -> bool {
        UNDER_WAY.contains(&self.state.as_str())
    }
}

const UNDER_WAY: [&str; 2] = ["creating", "open"];

/// The attempt under way, if there is one.
pub fn under_way(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
) -> QueryResult<Option<Attempt>> {
    checkout_sessions::table
        .filter(checkout_sessions::customer_id.eq(customer))
        .filter(checkout_sessions::provider.eq(provider.as_str()))
        .filter(checkout_sessions::state.eq_any(UNDER_WAY))
        .select(Attempt::as_select())
        .first(conn)
        .optional()
}

/// The attempts under way at other providers.
pub fn under_way_elsewhere(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
) -> QueryResult<Vec<Attempt>> {
    checkout_sessions::table
        .filter(checkout_sessions::customer_id.eq(customer))
        .filter(checkout_sessions::provider.ne(provider.as_str()))
        .filter(checkout_sessions::state.eq_any(["creating", "open"]))
        .select(Attempt::as_select())
        .load(conn)
}

/// Begins an attempt. Returns `false` where another is under way.
pub fn begin(conn: &mut PgConnection, attempt: &Attempt) -> QueryResult<bool> {
    Ok(diesel::insert_into(checkout_sessions::table)
        .values(attempt)
        .on_conflict_do_nothing()
        .execute(conn)?
        == 1)
}

/// The attempt as it is now.
pub fn find(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
) -> QueryResult<Option<Attempt>> {
    checkout_sessions::table
        .find((customer, attempt))
        .select(Attempt::as_select())
        .first(conn)
        .optional()
}

/// Takes the right to ask the provider for the attempt's session until then. Returns `false` where somebody else has it, or where no
/// session is wanted any more.
pub fn claim(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let free = checkout_sessions::claimed_until
        .is_null()
        .or(checkout_sessions::claimed_until.le(now));
    let taken = diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::state.eq("creating"))
            .filter(free),
    )
    .set(checkout_sessions::claimed_until.eq(until))
    .execute(conn)?;
    Ok(taken == 1)
}

/// Has the claim that runs until `claimed` run longer, or gives it back (`None`). Returns `false`, having changed nothing, where it is
/// somebody else's by now.
pub fn claim_until(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    claimed: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> QueryResult<bool> {
    let changed = diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::claimed_until.eq(claimed)),
    )
    .set(checkout_sessions::claimed_until.eq(until))
    .execute(conn)?;
    Ok(changed == 1)
}

/// Remembers the session that the provider made for the attempt, which nobody has to be asked for any more. Returns `false` where the
/// attempt was closed meanwhile, or has another session: that one may be paid already.
pub fn opened(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    (session_id, url): (&str, &str),
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let changed = diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::state.eq_any(UNDER_WAY))
            .filter(
                checkout_sessions::session_id
                    .is_null()
                    .or(checkout_sessions::session_id.eq(session_id)),
            ),
    )
    .set((
        checkout_sessions::state.eq("open"),
        checkout_sessions::claimed_until.eq(None::<DateTime<Utc>>),
        checkout_sessions::session_id.eq(session_id),
        checkout_sessions::checkout_url.eq(url),
        checkout_sessions::expires_at.eq(expires_at),
        checkout_sessions::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(changed == 1)
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Paid for, or at least agreed to.
    Complete,
    /// The session closed by itself or was closed by us.
    Expired,
    /// The provider would not make a session.
    Failed,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Expired => "expired",
            Self::Failed => "failed",
        }
    }
}

/// Ends an attempt that is under way.
pub fn end(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    ending: Ending,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::state.eq_any(UNDER_WAY)),
    )
    .set((
        checkout_sessions::state.eq(ending.as_str()),
        checkout_sessions::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(())
}

/// Ends an attempt for which the provider would not make a session; one whose session is known is left alone.
pub fn give_up(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::state.eq("creating")),
    )
    .set((
        checkout_sessions::state.eq(Ending::Failed.as_str()),
        checkout_sessions::updated_at.eq(now),
    ))
    .execute(conn)?;
    Ok(())
}

/// The sessions, each with its provider's name, that the customer has not gone through.
pub fn not_gone_through(
    conn: &mut PgConnection,
    customer: &str,
) -> QueryResult<Vec<(String, String)>> {
    checkout_sessions::table
        .filter(checkout_sessions::customer_id.eq(customer))
        .filter(checkout_sessions::state.ne(Ending::Complete.as_str()))
        .filter(checkout_sessions::session_id.is_not_null())
        .select((
            checkout_sessions::provider,
            checkout_sessions::session_id.assume_not_null(),
        ))
        .load(conn)
}

/// The attempts to sell something in that subscription's place, latest first.
pub fn replacing(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    replaced: &str,
) -> QueryResult<Vec<Attempt>> {
    checkout_sessions::table
        .filter(checkout_sessions::customer_id.eq(customer))
        .filter(checkout_sessions::provider.eq(provider.as_str()))
        .filter(checkout_sessions::replaces.eq(replaced))
        .order(checkout_sessions::created_at.desc())
        .select(Attempt::as_select())
        .load(conn)
}

/// The whole attempt behind a provider's session.
pub fn attempt_of_session(
    conn: &mut PgConnection,
    provider: ProviderName,
    session_id: &str,
) -> QueryResult<Option<Attempt>> {
    checkout_sessions::table
        .filter(checkout_sessions::provider.eq(provider.as_str()))
        .filter(checkout_sessions::session_id.eq(session_id))
        .select(Attempt::as_select())
        .first(conn)
        .optional()
}

/// The attempt behind a provider's session: its customer and id.
pub fn of_session(
    conn: &mut PgConnection,
    provider: ProviderName,
    session_id: &str,
) -> QueryResult<Option<(String, Uuid)>> {
    checkout_sessions::table
        .filter(checkout_sessions::provider.eq(provider.as_str()))
        .filter(checkout_sessions::session_id.eq(session_id))
        .select((
            checkout_sessions::customer_id,
            checkout_sessions::attempt_id,
        ))
        .first(conn)
        .optional()
}

/// Whether the session was ever one of the customer's.
pub fn was_opened_for(
    conn: &mut PgConnection,
    customer: &str,
    provider: ProviderName,
    session_id: &str,
) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(
        checkout_sessions::table
            .filter(checkout_sessions::customer_id.eq(customer))
            .filter(checkout_sessions::provider.eq(provider.as_str()))
            .filter(checkout_sessions::session_id.eq(session_id)),
    ))
    .get_result(conn)
}

/// An attempt whose session was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct OpenSession {
    /// Whose.
    pub customer_id: String,
    /// Ours.
    pub attempt_id: Uuid,
    /// The provider's id of the session.
    pub session_id: String,
}

/// Open attempts whose session should have closed before `expired_before`, without those that were looked at since `seen_before`; the
/// longest overdue first.
pub fn stale(
    conn: &mut PgConnection,
    provider: ProviderName,
    expired_before: DateTime<Utc>,
    seen_before: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<OpenSession>> {
    checkout_sessions::table
        .filter(checkout_sessions::state.eq("open"))
        .filter(checkout_sessions::expires_at.lt(expired_before))
        .filter(checkout_sessions::provider.eq(provider.as_str()))
        .filter(checkout_sessions::updated_at.lt(seen_before))
        .filter(checkout_sessions::session_id.is_not_null())
        .order(checkout_sessions::expires_at)
        .limit(limit)
        .select((
            checkout_sessions::customer_id,
            checkout_sessions::attempt_id,
            checkout_sessions::session_id.assume_not_null(),
        ))
        .load(conn)
}

/// Remembers that an open attempt was looked at in vain, so that the next round begins with others.
pub fn mark_seen(
    conn: &mut PgConnection,
    customer: &str,
    attempt: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(
        checkout_sessions::table
            .find((customer, attempt))
            .filter(checkout_sessions::state.eq("open")),
    )
    .set(checkout_sessions::updated_at.eq(now))
    .execute(conn)?;
    Ok(())
}
