//! Customers: whom usage and subscriptions belong to.

#![allow(
    clippy::option_option,
    reason = "clearing a column is not leaving it alone"
)]

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use serde_json::Value;

use super::schema::customers;
use super::statement::statement;
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

statement! {
    /// The time is asked for outside of the subquery, so that each row's is read after its lock was had.
    LockAll<'a> -> (Text, Nullable<Timestamptz>, Nullable<Timestamptz>, Nullable<Timestamptz>, Timestamptz, Text) {
        "SELECT locked.*, clock_timestamp(), pg_current_xact_id()::text \
         FROM (SELECT customer_id, period_anchor, period_anchored_at, period_settled_at FROM customers \
               WHERE customer_id = ANY("
        customers: &'a [&'a str] as Array<Text>,
        ") ORDER BY customer_id FOR NO KEY UPDATE) locked"
    }
}

statement! {
    /// The same without those that somebody else has locked.
    LockFree<'a> -> (Text, Nullable<Timestamptz>, Nullable<Timestamptz>, Nullable<Timestamptz>, Timestamptz, Text) {
        "SELECT locked.*, clock_timestamp(), pg_current_xact_id()::text \
         FROM (SELECT customer_id, period_anchor, period_anchored_at, period_settled_at FROM customers \
               WHERE customer_id = ANY("
        customers: &'a [&'a str] as Array<Text>,
        ") ORDER BY customer_id FOR NO KEY UPDATE SKIP LOCKED) locked"
    }
}

/// What to do about customers that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// Wait for them, as long as the session does.
    Wait,
    /// Leave them out.
    Skip,
}

/// What the lock on several customers was had with.
#[derive(Debug, Default)]
pub struct Locked {
    /// Each customer that exists, with what its row remembers.
    pub customers: Vec<(String, Anchoring)>,
    /// The database's time once every lock was had; `None`: no customer exists.
    pub at: Option<DateTime<Utc>>,
    /// The transaction's id, to ask for its fate by.
    pub transaction: Option<String>,
}

/// Locks those of these customers that exist, in the order of their ids, so that two who lock several never wait for each other.
pub fn lock_all(
    conn: &mut PgConnection,
    customers: &[&str],
    occupied: Occupied,
) -> QueryResult<Locked> {
    type Row = (
        String,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        DateTime<Utc>,
        String,
    );
    let rows: Vec<Row> = match occupied {
        Occupied::Wait => LockAll { customers }.load(conn)?,
        Occupied::Skip => LockFree { customers }.load(conn)?,
    };
    let mut locked = Locked::default();
    for (customer, anchor, since, settled, at, transaction) in rows {
        let anchoring = Anchoring {
            anchor,
            since,
            settled,
        };
        locked.customers.push((customer, anchoring));
        locked.at = locked.at.max(Some(at));
        locked.transaction = Some(transaction);
    }
    Ok(locked)
}

/// Those of these customers that exist.
pub fn existing(conn: &mut PgConnection, customers: &[&str]) -> QueryResult<Vec<String>> {
    customers::table
        .filter(customers::customer_id.eq_any(customers))
        .select(customers::customer_id)
        .load(conn)
}

statement! {
    CreateAll<'a> -> () {
        "INSERT INTO customers (customer_id, created_at, updated_at) SELECT new.id, "
        created_at: DateTime<Utc> as Timestamptz,
        ", "
        updated_at: DateTime<Utc> as Timestamptz,
        " FROM unnest("
        customers: &'a [&'a str] as Array<Text>,
        ") AS new(id) ORDER BY new.id ON CONFLICT DO NOTHING"
    }
}

/// Makes those of these customers that are new.
pub fn create_all(
    conn: &mut PgConnection,
    customers: &[&str],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let statement = CreateAll {
        created_at: now,
        updated_at: now,
        customers,
    };
    statement.execute(conn)?;
    Ok(())
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
