//! Overrides: more (or, capped, less) of a feature for one customer.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::overrides;
use super::unreadable;
use crate::domain::terms::Override;

/// An override as stored.
#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset, serde::Deserialize)]
#[diesel(table_name = overrides, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub struct OverrideRow {
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub feature: String,
    /// At least (capped: exactly) this limit.
    pub limit_value: Option<i64>,
    /// Added to the plan's limit.
    pub add_value: Option<i64>,
    /// On or off.
    pub enabled: Option<bool>,
    /// May lower.
    pub cap: bool,
    /// First instant at which it counts no longer.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: String,
    /// Who.
    pub created_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl OverrideRow {
    /// What it changes.
    pub fn to_domain(&self) -> Override {
        Override {
            limit: self.limit_value,
            add: self.add_value,
            enabled: self.enabled,
            cap: self.cap,
            expires_at: self.expires_at,
        }
    }
}

/// Reads an override's row as JSON.
pub(super) fn of_json(row: &str) -> QueryResult<OverrideRow> {
    serde_json::from_str(row).map_err(unreadable)
}

/// One override.
pub fn find(
    conn: &mut PgConnection,
    customer: &str,
    feature: &str,
) -> QueryResult<Option<OverrideRow>> {
    overrides::table
        .find((customer, feature))
        .select(OverrideRow::as_select())
        .first(conn)
        .optional()
}

/// Writes an override in place of the one that stands.
pub fn save(conn: &mut PgConnection, row: &OverrideRow) -> QueryResult<()> {
    diesel::insert_into(overrides::table)
        .values(row)
        .on_conflict((overrides::customer_id, overrides::feature))
        .do_update()
        .set(row)
        .execute(conn)?;
    Ok(())
}

/// Removes an override. Returns whether there was one.
pub fn delete(conn: &mut PgConnection, customer: &str, feature: &str) -> QueryResult<bool> {
    Ok(diesel::delete(overrides::table.find((customer, feature))).execute(conn)? == 1)
}
