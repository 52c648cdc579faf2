//! The catalogue becomes plan versions at the start.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use sha2::{Digest, Sha256};

use crate::domain::catalogue::Catalogue;
use crate::domain::plans::{PlanVersion, Plans};
use crate::domain::provider_event::ProviderName;
use crate::providers::SoldUnder;
use crate::store::plan_versions::{self, PriceRole};

/// Keeps two starting replicas from numbering versions at the same time.
const CATALOGUE_LOCK: i64 = 0x706c_616e_6361_7461;

/// Why the catalogue cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A provider's price was sold as another tier: old renewals would change their meaning.
    #[error(
        "price {price_id} of {provider} was sold as tier \"{was}\" before and cannot be tier \"{now}\""
    )]
    PriceReused {
        /// Who charges it.
        provider: ProviderName,
        /// The price.
        price_id: String,
        /// What it was.
        was: String,
        /// What it would become.
        now: String,
    },
    /// The database did not do it.
    #[error("the plan versions could not be stored: {0}")]
    Store(#[from] diesel::result::Error),
}

/// Stores every plan of the catalogue that is new as a version, remembers the prices it is sold under, and returns the plans.
/// The same content is the same version, whoever starts with it and how often.
pub fn register(
    conn: &mut PgConnection,
    catalogue: &Catalogue,
    newcomer_tier: Option<String>,
    prices: &[(ProviderName, String, SoldUnder)],
    now: DateTime<Utc>,
) -> Result<Plans, CatalogueError> {
    conn.transaction(|conn| {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
            .bind::<diesel::sql_types::BigInt, _>(CATALOGUE_LOCK)
            .execute(conn)?;
        let mut current = Vec::with_capacity(catalogue.tiers.len());
        for (position, plan) in catalogue.tiers.iter().enumerate() {
            let content = serde_json::to_vec(plan.as_ref())
                .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
            let version =
                plan_versions::number(conn, plan, &Sha256::digest(content), position, now)?;
            current.push(Arc::new(PlanVersion {
                version,
                plan: plan.as_ref().clone(),
            }));
        }
        for (provider, tier, sold_under) in prices {
            let Some(version) = current.iter().find(|version| &version.plan.tier == tier) else {
                continue;
            };
            let roles = [
                (PriceRole::Base, &sold_under.base),
                (PriceRole::Overage, &sold_under.overage),
            ];
            for (role, price_id) in roles
                .into_iter()
                .filter_map(|(role, id)| Some((role, id.as_ref()?)))
            {
                let sold_as = plan_versions::tiers_of_price(conn, *provider, price_id)?;
                if let Some(was) = sold_as.into_iter().find(|was| was != tier) {
                    let (price_id, now) = (price_id.clone(), tier.clone());
                    return Err(CatalogueError::PriceReused {
                        provider: *provider,
                        price_id,
                        was,
                        now,
                    });
                }
                plan_versions::remember_price(
                    conn,
                    *provider,
                    price_id,
                    (tier, version.version),
                    role,
                    now,
                )?;
            }
        }
        let sold = plan_versions::all(conn)?;
        let plans = Plans::new(
            current,
            catalogue.default_tier.clone(),
            newcomer_tier,
            catalogue.grace_period_days,
            catalogue.late_usage_days,
        );
        Ok(plans.with_sold(sold))
    })
}
