//! How every command begins: the customer is locked, then read.

use diesel::prelude::*;

use crate::domain::policy::UnknownCustomers;
use crate::store::clock::deciding_time;
use crate::store::customers;

use super::Rules;
use super::command::MeterError;
use super::snapshot::Snapshot;

/// Locks the customer (made first, where unknown ones are welcome) and reads all that a decision needs.
pub(super) fn enter(
    conn: &mut PgConnection,
    rules: &Rules,
    customer: &str,
) -> Result<Snapshot, MeterError> {
    let row = match customers::lock(conn, customer)? {
        Some(row) => row,
        None if rules.unknown_customers == UnknownCustomers::Reject => {
            return Err(MeterError::UnknownCustomer);
        }
        None => {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            customers::lock_or_create(conn, customer, now)?
        }
    };
    // Asked after the lock was had: for one customer, time never runs backwards.
    let now = deciding_time(conn, rules.clock.as_ref())?;
    Snapshot::read(conn, &rules.book, customer, Some(row.anchoring()), now)
}
