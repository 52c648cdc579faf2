//! What time it is. The database's clock decides admissions, so that replicas agree; tests put their own in its place.

use chrono::{DateTime, SubsecRound, Utc};
use diesel::prelude::*;

diesel::define_sql_function! {
    /// The database's wall clock, which moves on inside a transaction.
    fn clock_timestamp() -> Timestamptz;
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The time of this process, in whole microseconds (what the database can hold).
    fn now(&self) -> DateTime<Utc>;

    /// The time to decide by where the database's clock says `database`.
    fn decide(&self, database: DateTime<Utc>) -> DateTime<Utc>;
}

/// The machine's clock, and the database's word for decisions.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn decide(&self, database: DateTime<Utc>) -> DateTime<Utc> {
        database
    }
}

/// Asks the database for its time and lets `clock` have the last word.
pub fn deciding_time(conn: &mut PgConnection, clock: &dyn Clock) -> QueryResult<DateTime<Utc>> {
    let database = diesel::select(clock_timestamp()).get_result(conn)?;
    Ok(clock.decide(database))
}
