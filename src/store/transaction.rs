//! What became of a transaction.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use uuid::Uuid;

use super::reservations;
use super::schema::usage_events;
use crate::domain::reservation::{ReservationId, ReservationState};

/// The fate of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the database.
    Committed,
    /// Nothing of it is.
    Aborted,
    /// It is not decided.
    UnderWay,
    /// The server does not know it, or not any more.
    Unknown,
}

/// Something that a transaction wrote: where it is, the transaction is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// An entry of the ledger.
    Entry {
        /// Whose.
        customer: String,
        /// Its id.
        id: Uuid,
    },
    /// A reservation in a state that it was not in before.
    Reservation {
        /// Whose.
        customer: String,
        /// Its id.
        id: ReservationId,
        /// The state.
        state: ReservationState,
    },
}

/// Asks for the fate of a transaction by its id (`pg_current_xact_id`), and by something that it wrote. The id alone may lie: a server
/// that was killed before anything of the transaction came to its log gives the same id to another one.
pub fn fate(
    conn: &mut PgConnection,
    transaction: &str,
    witness: Option<&Witness>,
) -> QueryResult<Fate> {
    // A standby may not have heard of it yet.
    if is_standby(conn)? {
        return Ok(Fate::UnderWay);
    }
    let status = match status(conn, transaction) {
        Err(error) if is_of_the_future(&error) => Some("aborted".to_owned()),
        status => status?,
    };
    Ok(match status.as_deref() {
        Some("committed") => match witness {
            Some(witness) if !is_there(conn, witness)? => Fate::Aborted,
            _ => Fate::Committed,
        },
        Some("aborted") => Fate::Aborted,
        Some("in progress") => Fate::UnderWay,
        _ => Fate::Unknown,
    })
}

fn is_standby(conn: &mut PgConnection) -> QueryResult<bool> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(
        "pg_is_in_recovery()",
    ))
    .get_result(conn)
}

fn status(conn: &mut PgConnection, transaction: &str) -> QueryResult<Option<String>> {
    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        status: Option<String>,
    }
    let row: Row = diesel::sql_query("SELECT pg_xact_status($1::text::xid8) AS status")
        .bind::<Text, _>(transaction)
        .get_result(conn)?;
    Ok(row.status)
}

/// A server that was killed does not know a transaction of which nothing came to its log, and has not given its id to another yet.
fn is_of_the_future(error: &diesel::result::Error) -> bool {
    matches!(error, diesel::result::Error::DatabaseError(_, information)
             if information.message().contains("is in the future"))
}

fn is_there(conn: &mut PgConnection, witness: &Witness) -> QueryResult<bool> {
    match witness {
        Witness::Entry { customer, id } => {
            let entry = usage_events::table.find((customer, id));
            diesel::select(diesel::dsl::exists(entry)).get_result(conn)
        }
        Witness::Reservation {
            customer,
            id,
            state,
        } => {
            let stored = reservations::find(conn, customer, *id)?;
            Ok(stored.is_some_and(|stored| stored.reservation.state == *state))
        }
    }
}
