//! Plan versions and the provider prices they were sold under. Rows are only ever added.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;

use super::schema::{plan_prices, plan_versions};
use crate::domain::catalogue::Plan;
use crate::domain::plans::PlanVersion;
use crate::domain::provider_event::ProviderName;

/// What a provider's price pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceRole {
    /// The plan itself.
    Base,
    /// Use above a limit.
    Overage,
}

impl PriceRole {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Overage => "overage",
        }
    }
}

/// Every version ever sold, each with the position at which its tier ranked then.
pub fn all(conn: &mut PgConnection) -> QueryResult<Vec<(Arc<PlanVersion>, usize)>> {
    let rows: Vec<(i32, Value, i32)> = plan_versions::table
        .select((
            plan_versions::version,
            plan_versions::content,
            plan_versions::position,
        ))
        .load(conn)?;
    rows.into_iter()
        .map(|(version, content, position)| {
            let plan: Plan = serde_json::from_value(content)
                .map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
            Ok((
                Arc::new(PlanVersion { version, plan }),
                usize::try_from(position).unwrap_or(0),
            ))
        })
        .collect()
}

/// The version number of this content: the one it always had, or the next one of its tier. The caller's transaction must
/// hold a lock that keeps other replicas from numbering at the same time.
pub fn number(
    conn: &mut PgConnection,
    plan: &Plan,
    content_sha256: &[u8],
    position: usize,
    now: DateTime<Utc>,
) -> QueryResult<i32> {
    let known: Option<i32> = plan_versions::table
        .filter(plan_versions::tier.eq(&plan.tier))
        .filter(plan_versions::content_sha256.eq(content_sha256))
        .select(plan_versions::version)
        .first(conn)
        .optional()?;
    if let Some(version) = known {
        return Ok(version);
    }
    let latest: Option<i32> = plan_versions::table
        .filter(plan_versions::tier.eq(&plan.tier))
        .select(diesel::dsl::max(plan_versions::version))
        .first(conn)?;
    let version = latest.unwrap_or(0).saturating_add(1);
    let content = serde_json::to_value(plan)
        .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
    diesel::insert_into(plan_versions::table)
        .values((
            plan_versions::tier.eq(&plan.tier),
            plan_versions::version.eq(version),
            plan_versions::content_sha256.eq(content_sha256),
            plan_versions::content.eq(content),
            plan_versions::position.eq(i32::try_from(position).unwrap_or(i32::MAX)),
            plan_versions::created_at.eq(now),
        ))
        .execute(conn)?;
    Ok(version)
}

/// Remembers that a version is sold under a provider's price.
pub fn remember_price(
    conn: &mut PgConnection,
    provider: ProviderName,
    price_id: &str,
    (tier, version): (&str, i32),
    role: PriceRole,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(plan_prices::table)
        .values((
            plan_prices::provider.eq(provider.as_str()),
            plan_prices::price_id.eq(price_id),
            plan_prices::tier.eq(tier),
            plan_prices::version.eq(version),
            plan_prices::role.eq(role.as_str()),
            plan_prices::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(())
}

/// The tiers that a price was ever sold as.
pub fn tiers_of_price(
    conn: &mut PgConnection,
    provider: ProviderName,
    price_id: &str,
) -> QueryResult<Vec<String>> {
    plan_prices::table
        .filter(plan_prices::provider.eq(provider.as_str()))
        .filter(plan_prices::price_id.eq(price_id))
        .select(plan_prices::tier)
        .distinct()
        .load(conn)
}

/// Every price that any version was ever sold under, base and overage alike.
pub fn all_prices(conn: &mut PgConnection, provider: ProviderName) -> QueryResult<Vec<String>> {
    plan_prices::table
        .filter(plan_prices::provider.eq(provider.as_str()))
        .select(plan_prices::price_id)
        .distinct()
        .order(plan_prices::price_id)
        .load(conn)
}

/// The versions that any of these prices pays for as a plan's base price, newest first.
pub fn sold_under(
    conn: &mut PgConnection,
    provider: ProviderName,
    price_ids: &[String],
) -> QueryResult<Vec<(String, i32)>> {
    plan_prices::table
        .filter(plan_prices::provider.eq(provider.as_str()))
        .filter(plan_prices::price_id.eq_any(price_ids))
        .filter(plan_prices::role.eq(PriceRole::Base.as_str()))
        .order(plan_prices::version.desc())
        .select((plan_prices::tier, plan_prices::version))
        .load(conn)
}
