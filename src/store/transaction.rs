//! What became of a transaction.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

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

/// Asks for the fate of a transaction by its id (`pg_current_xact_id`).
pub fn fate(conn: &mut PgConnection, transaction: &str) -> QueryResult<Fate> {
    #[derive(QueryableByName)]
    #[diesel(check_for_backend(diesel::pg::Pg))]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        status: Option<String>,
    }
    let row: Row = diesel::sql_query("SELECT pg_xact_status($1::text::xid8) AS status")
        .bind::<Text, _>(transaction)
        .get_result(conn)?;
    Ok(match row.status.as_deref() {
        Some("committed") => Fate::Committed,
        Some("aborted") => Fate::Aborted,
        Some("in progress") => Fate::UnderWay,
        _ => Fate::Unknown,
    })
}
