//! Customers: whom usage and subscriptions belong to.

#![allow(
    clippy::option_option,
    reason = "clearing a column is not leaving it alone"
)]

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;

use super::schema::customers;
use crate::domain::standing::Anchoring;

/// A customer's row.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = customers, check_for_backend(diesel::pg::Pg))]
pub struct CustomerRow {
    /// The caller's own id.
    pub customer_id: String,
    /// For receipts.
    pub email: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// ISO 4217, lowercase.
    pub currency: Option<String>,
    /// The caller's own notes.
    pub metadata: Value,
    /// Where usage periods step from.
    pub period_anchor: Option<DateTime<Utc>>,
    /// When that anchor took over.
    pub period_anchored_at: Option<DateTime<Utc>>,
    /// Until when that is settled.
    pub period_settled_at: Option<DateTime<Utc>>,
    /// First seen.
    pub created_at: DateTime<Utc>,
    /// Last changed.
    pub updated_at: DateTime<Utc>,
}

impl CustomerRow {
    /// The anchor that the row remembers.
    pub fn anchoring(&self) -> Anchoring {
        Anchoring {
            anchor: self.period_anchor,
            since: self.period_anchored_at,
            settled: self.period_settled_at,
        }
    }
}

/// What a caller says about a customer; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = customers)]
pub struct Profile {
    /// For receipts.
    pub email: Option<Option<String>>,
    /// For people.
    pub name: Option<Option<String>>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<Option<String>>,
    /// ISO 4217, lowercase.
    pub currency: Option<Option<String>>,
    /// The caller's own notes.
    pub metadata: Option<Value>,
}

/// Reads a customer.
pub fn find(conn: &mut PgConnection, customer: &str) -> QueryResult<Option<CustomerRow>> {
    customers::table
        .find(customer)
        .select(CustomerRow::as_select())
        .first(conn)
        .optional()
}

/// Reads a customer and keeps every other writer of that customer out until the transaction ends.
pub fn lock(conn: &mut PgConnection, customer: &str) -> QueryResult<Option<CustomerRow>> {
    customers::table
        .find(customer)
        .select(CustomerRow::as_select())
        .for_no_key_update()
        .first(conn)
        .optional()
}

/// Makes the customer if it is new. Returns whether it was.
pub fn create(conn: &mut PgConnection, customer: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    let made = diesel::insert_into(customers::table)
        .values((
            customers::customer_id.eq(customer),
            customers::metadata.eq(Value::Object(serde_json::Map::new())),
            customers::created_at.eq(now),
            customers::updated_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(conn)?;
    Ok(made == 1)
}

/// Locks the customer, which is made first if it is new.
pub fn lock_or_create(
    conn: &mut PgConnection,
    customer: &str,
    now: DateTime<Utc>,
) -> QueryResult<CustomerRow> {
    if let Some(row) = lock(conn, customer)? {
        return Ok(row);
    }
    create(conn, customer, now)?;
    customers::table
        .find(customer)
        .select(CustomerRow::as_select())
        .for_no_key_update()
        .first(conn)
}

/// Writes what the caller said.
pub fn update_profile(
    conn: &mut PgConnection,
    customer: &str,
    profile: &Profile,
    now: DateTime<Utc>,
) -> QueryResult<CustomerRow> {
    diesel::update(customers::table.find(customer))
        .set((profile, customers::updated_at.eq(now)))
        .returning(CustomerRow::as_returning())
        .get_result(conn)
}

/// Remembers where usage periods step from, and since when.
pub fn remember_anchoring(
    conn: &mut PgConnection,
    customer: &str,
    anchoring: Anchoring,
) -> QueryResult<()> {
    diesel::update(customers::table.find(customer))
        .set((
            customers::period_anchor.eq(anchoring.anchor),
            customers::period_anchored_at.eq(anchoring.since),
            customers::period_settled_at.eq(anchoring.settled),
        ))
        .execute(conn)?;
    Ok(())
}
