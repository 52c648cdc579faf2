//! Turns to change a subscription at its provider: one caller at a time has it, and never for ever.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::subscription_leases;
use crate::domain::provider_event::ProviderName;

/// A turn that somebody has. The instant of its end tells it from later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who bills the subscription.
    pub provider: ProviderName,
    /// The provider's id of it.
    pub provider_subscription_id: String,
    /// From then on others may have it.
    pub until: DateTime<Utc>,
}

/// Takes the turn, unless somebody else has it. The subscription must have been seen here.
pub fn take(conn: &mut PgConnection, turn: &Turn, now: DateTime<Utc>) -> QueryResult<bool> {
    let free = subscription_leases::changing_until
        .is_null()
        .or(subscription_leases::changing_until.le(now));
    let taken = diesel::update(
        subscription_leases::table
            .find((turn.provider.as_str(), &turn.provider_subscription_id))
            .filter(free),
    )
    .set(subscription_leases::changing_until.eq(turn.until))
    .execute(conn)?;
    Ok(taken == 1)
}

/// Has the turn end later, or at once (`None`). Returns `false`, having changed nothing, where it was somebody else's by then.
pub fn end_at(
    conn: &mut PgConnection,
    turn: &Turn,
    until: Option<DateTime<Utc>>,
) -> QueryResult<bool> {
    let changed = diesel::update(
        subscription_leases::table
            .find((turn.provider.as_str(), &turn.provider_subscription_id))
            .filter(subscription_leases::changing_until.eq(turn.until)),
    )
    .set(subscription_leases::changing_until.eq(until))
    .execute(conn)?;
    Ok(changed == 1)
}
