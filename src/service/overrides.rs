//! Overrides: an operator gives one customer more of a feature, or with a cap less.

use chrono::{DateTime, Utc};
use diesel::Connection;
use serde_json::json;

use super::context::Context;
use crate::domain::catalogue::FeatureKind;
use crate::domain::ids::CustomerId;
use crate::domain::policy::UnknownCustomers;
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::customers;
use crate::store::overrides::{self, OverrideRow};
use crate::store::pool::{self, StoreError};

/// What an operator orders.
#[derive(Debug, Clone)]
pub struct Order {
    /// For whom.
    pub customer: CustomerId,
    /// Of which feature.
    pub feature: String,
    /// The limit is at least (capped: exactly) this.
    pub limit: Option<i64>,
    /// Added to the plan's limit.
    pub add: Option<i64>,
    /// Turns a boolean feature on, or with a cap off.
    pub enabled: Option<bool>,
    /// May lower, too.
    pub cap: bool,
    /// First instant at which it counts no longer.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: String,
}

/// Why an override was not made.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// No plan ever had such a feature.
    #[error("no plan has such a feature")]
    UnknownFeature,
    /// Unknown customers are rejected.
    #[error("the customer is not known")]
    UnknownCustomer,
    /// It does not fit the feature's kind, or says nothing; names the field.
    #[error("{detail}")]
    Misfit {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for OverrideError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

fn fits(order: &Order, kind: FeatureKind) -> Result<(), OverrideError> {
    let misfit = |field, detail| Err(OverrideError::Misfit { field, detail });
    match (kind, order.limit, order.add, order.enabled) {
        (FeatureKind::Boolean, None, None, None) => {
            misfit("enabled", "is required for a boolean feature")
        }
        (FeatureKind::Boolean, Some(_), _, _) => misfit("limit", "a boolean feature has no limit"),
        (FeatureKind::Boolean, _, Some(_), _) => misfit("add", "a boolean feature has no limit"),
        (FeatureKind::Boolean, None, None, Some(_)) => Ok(()),
        (_, _, _, Some(_)) => misfit("enabled", "only a boolean feature can be enabled"),
        (_, None, None, None) => misfit("limit", "limit or add is required"),
        (_, Some(_), Some(_), None) => misfit("add", "limit and add exclude each other"),
        (_, _, _, None) => Ok(()),
    }
}

/// Writes an override in place of the one that stands.
pub async fn put(
    context: &Context,
    actor: String,
    order: Order,
) -> Result<OverrideRow, OverrideError> {
    let kind = context
        .book()
        .plans()
        .kind(&order.feature)
        .ok_or(OverrideError::UnknownFeature)?;
    fits(&order, kind)?;
    let meter = context.meter.clone();
    pool::run(&context.pool, move |conn| {
        let rules = meter.rules();
        let owner = order.customer.clone();
        let saved = conn.transaction(|conn| {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            if order.expires_at.is_some_and(|end| end <= now) {
                return Err(OverrideError::Misfit { field: "expires_at", detail: "must be in the future" });
            }
            let customer = order.customer.as_str();
            if customers::lock(conn, customer)?.is_none() {
                if rules.unknown_customers == UnknownCustomers::Reject {
                    return Err(OverrideError::UnknownCustomer);
                }
                customers::lock_or_create(conn, customer, now)?;
            }
            let row = OverrideRow {
                customer_id: customer.to_owned(),
                feature: order.feature,
                limit_value: order.limit,
                add_value: order.add,
                enabled: order.enabled,
                cap: order.cap,
                expires_at: order.expires_at,
                reason: order.reason,
                created_by: actor.clone(),
                created_at: now,
            };
            overrides::save(conn, &row)?;
            let details = json!({"limit": row.limit_value, "add": row.add_value, "enabled": row.enabled, "cap": row.cap,
                                 "expires_at": row.expires_at, "reason": row.reason});
            let target = row.feature.clone();
            audit::append(conn, &AuditRow::new(actor, "override.put", Some(customer), target, details, now))?;
            Ok(row)
        });
        meter.forget(owner.as_str());
        saved
    })
    .await
}

/// One override.
pub async fn get(
    context: &Context,
    customer: CustomerId,
    feature: String,
) -> Result<Option<OverrideRow>, StoreError> {
    pool::run(&context.pool, move |conn| {
        overrides::find(conn, customer.as_str(), &feature).map_err(StoreError::from)
    })
    .await
}

/// Removes an override. Returns whether there was one.
pub async fn delete(
    context: &Context,
    actor: String,
    customer: CustomerId,
    feature: String,
) -> Result<bool, StoreError> {
    let meter = context.meter.clone();
    pool::run(&context.pool, move |conn| {
        let deleted = conn.transaction(|conn| {
            let now = deciding_time(conn, meter.rules().clock.as_ref())?;
            customers::lock(conn, customer.as_str())?;
            let found = overrides::delete(conn, customer.as_str(), &feature)?;
            if found {
                let row = AuditRow::new(
                    actor,
                    "override.delete",
                    Some(customer.as_str()),
                    feature,
                    json!({}),
                    now,
                );
                audit::append(conn, &row)?;
            }
            Ok(found)
        });
        meter.forget(customer.as_str());
        deleted
    })
    .await
}
