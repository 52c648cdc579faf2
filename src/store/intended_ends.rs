//! Ends with the period that are kept here until their provider is told of them, shortly before.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::{subscription_leases, subscriptions};
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::SubscriptionStatus;

/// A subscription whose end its provider is to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct DueEnd {
    /// Whose.
    pub customer_id: String,
    /// The provider's id.
    pub provider_subscription_id: String,
    /// When it is to end.
    pub ends_at: DateTime<Utc>,
}

/// Subscriptions that are to end before `until` and of which the provider was not told in their present period, or has not answered;
/// the next end first.
pub fn due(
    conn: &mut PgConnection,
    provider: ProviderName,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<DueEnd>> {
    let ended = SubscriptionStatus::ALL
        .into_iter()
        .filter(|status| status.is_terminal())
        .map(SubscriptionStatus::as_str);
    let same = subscription_leases::provider
        .eq(subscriptions::provider)
        .and(
            subscription_leases::provider_subscription_id
                .eq(subscriptions::provider_subscription_id),
        );
    let untold = subscription_leases::end_sent_at
        .is_null()
        .or(subscription_leases::end_retry_at.is_not_null())
        .or(subscription_leases::end_sent_at.lt(subscriptions::current_period_start));
    subscriptions::table
        .inner_join(subscription_leases::table.on(same))
        .filter(subscriptions::provider.eq(provider.as_str()))
        .filter(subscriptions::cancel_at_period_end)
        .filter(subscriptions::status.ne_all(ended))
        .filter(subscriptions::current_period_end.lt(until))
        .filter(untold)
        .filter(
            subscription_leases::end_retry_at
                .is_null()
                .or(subscription_leases::end_retry_at.le(now)),
        )
        .order(subscriptions::current_period_end)
        .limit(limit)
        .select((
            subscriptions::customer_id,
            subscriptions::provider_subscription_id,
            subscriptions::current_period_end.assume_not_null(),
        ))
        .load(conn)
}

/// What the provider was told of a subscription's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Queryable)]
pub struct Told {
    /// When; from then on nobody can know that it was not heard.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it is told again; `None`: it has answered, or was never told.
    pub retry_at: Option<DateTime<Utc>>,
}

/// What the provider was told so far.
pub fn told(conn: &mut PgConnection, provider: ProviderName, id: &str) -> QueryResult<Told> {
    let told: Option<Told> = subscription_leases::table
        .find((provider.as_str(), id))
        .select((
            subscription_leases::end_sent_at,
            subscription_leases::end_retry_at,
        ))
        .first(conn)
        .optional()?;
    Ok(told.unwrap_or_default())
}

/// Notes what the provider is told, or was.
pub fn note(
    conn: &mut PgConnection,
    provider: ProviderName,
    id: &str,
    told: Told,
) -> QueryResult<()> {
    diesel::update(subscription_leases::table.find((provider.as_str(), id)))
        .set((
            subscription_leases::end_sent_at.eq(told.sent_at),
            subscription_leases::end_retry_at.eq(told.retry_at),
        ))
        .execute(conn)?;
    Ok(())
}
