//! The connection pool, and the one way from async code to a blocking connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, HandleError};
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Connections to the one database, and room for those who wait for one. Clones share both.
#[derive(Clone)]
pub struct Pool {
    connections: r2d2::Pool<ConnectionManager<PgConnection>>,
    room: Arc<Semaphore>,
    url: Arc<SecretString>,
}

impl Pool {
    /// A connection of the caller's own, for statements of fixed shape by the thousand: each is planned once, for any values, and
    /// only ever by an index, however small the tables were when that was done. It fails at once where there is no database.
    pub fn dedicated(&self) -> Result<PgConnection, StoreError> {
        let mut connection = PgConnection::establish(self.url.expose_secret())
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        connection.batch_execute(SESSION)?;
        connection.batch_execute(FIXED_PLANS)?;
        Ok(connection)
    }
}

/// How many may wait for each connection. Beyond it a caller is told at once that the service is busy: what waits is memory,
/// and an answer that comes too late.
const WAITING_FOR_EACH: usize = 64;
/// How long work may wait for a thread before it is given up: its caller has long asked another replica.
const QUEUE_PATIENCE: Duration = Duration::from_secs(3);

/// How long a request waits for a connection. Longer hides an outage from the caller, who could ask another replica;
/// shorter turns every burst into errors.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// What every session promises. `synchronous_commit` is what "committed before answered" rests on, whatever the server's
/// or the role's default is; the time-outs bound how long a stuck statement can hold its locks.
const SESSION: &str = "\
SET synchronous_commit = on;
SET TIME ZONE 'UTC';
SET statement_timeout = '10s';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '15s';";

/// What a dedicated session adds. A plan that was made while a table was empty would read it from end to end for ever, and many
/// customers must not wait for long for one whom somebody else has locked.
const FIXED_PLANS: &str = "\
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET lock_timeout = '300ms';";

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection could be made, or it broke. Whether a statement under way took effect is unknown.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// Every connection is busy, or a lock, a deadlock or a time-out stood in the way: nothing was done, a repetition
    /// may succeed.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// Anything else: a constraint, a missing row, or a fault of ours.
    #[error(transparent)]
    Query(QueryError),
}

impl StoreError {
    /// The same for another who waited for the same work.
    #[must_use]
    pub fn shared(&self) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(reason.clone()),
            Self::Busy(reason) => Self::Busy(reason.clone()),
            Self::Query(error) => {
                Self::Query(QueryError::QueryBuilderError(error.to_string().into()))
            }
        }
    }
}

impl From<QueryError> for StoreError {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::BrokenTransactionManager
            // A standby that is not in charge yet, or no longer.
            | QueryError::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::ReadOnlyTransaction,
                _,
            ) => {
                Self::Unavailable(error.to_string())
            }
            QueryError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => {
                Self::Busy(error.to_string())
            }
            QueryError::DatabaseError(
                DatabaseErrorKind::Unknown | DatabaseErrorKind::UnableToSendCommand,
                information,
            ) => match classify_by_message(information.message()) {
                Some(Transient::Lost) => Self::Unavailable(error.to_string()),
                Some(Transient::Busy) => Self::Busy(error.to_string()),
                None => Self::Query(error),
            },
            _ => Self::Query(error),
        }
    }
}

enum Transient {
    Lost,
    Busy,
}

/// Diesel drops the SQLSTATE of these, so the server's English text is all that is left. A server that speaks another
/// language costs a 500 in place of a 503, nothing more.
fn classify_by_message(message: &str) -> Option<Transient> {
    const LOST: [&str; 9] = [
        "No space left on device",
        "terminating connection",
        "server closed the connection",
        "the database system is",
        "no connection to the server",
        "could not receive data from server",
        "could not send data to server",
        "connection not open",
        "SSL connection has been closed",
    ];
    const BUSY: [&str; 4] = [
        "deadlock detected",
        "canceling statement due to",
        "could not obtain lock",
        "sorry, too many clients already",
    ];
    let contains = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if contains(&LOST) {
        Some(Transient::Lost)
    } else if contains(&BUSY) {
        Some(Transient::Busy)
    } else {
        None
    }
}

/// A pool of up to `size` connections. It returns before the first one stands: readiness is asked elsewhere, and a
/// service that starts before its database must not die of it.
pub fn build(url: &SecretString, size: u32) -> Pool {
    let connections = r2d2::Pool::builder()
        .max_size(size)
        .connection_timeout(CONNECTION_TIMEOUT)
        .connection_customizer(Box::new(SessionSettings))
        .error_handler(Box::new(LogFailures))
        .build_unchecked(ConnectionManager::new(url.expose_secret()));
    let room = usize::try_from(size)
        .unwrap_or(1)
        .saturating_mul(WAITING_FOR_EACH);
    Pool {
        connections,
        room: Arc::new(Semaphore::new(room)),
        url: Arc::new(url.clone()),
    }
}

/// Runs `work` with a connection, off the async threads. Dropping the future does not stop work that has begun.
pub async fn run<T, E, F>(pool: &Pool, work: F) -> Result<T, E>
where
    F: FnOnce(&mut PgConnection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let busy = |what: &str| StoreError::Busy(what.to_owned());
    let Ok(permit) = Arc::clone(&pool.room).try_acquire_owned() else {
        return Err(busy("too many wait for a connection").into());
    };
    let connections = pool.connections.clone();
    let (span, asked) = (tracing::Span::current(), Instant::now());
    let task = tokio::task::spawn_blocking(move || {
        // Held until the work is done, even if nobody awaits it any more.
        let _permit = permit;
        span.in_scope(|| {
            if asked.elapsed() > QUEUE_PATIENCE {
                return Err(busy("no thread came free in time").into());
            }
            let mut connection = connections.get().map_err(|error| {
                if connections.state().connections > 0 {
                    busy("no connection came free in time")
                } else {
                    StoreError::Unavailable(error.to_string())
                }
            })?;
            work(&mut connection)
        })
    });
    match task.await {
        Ok(result) => result,
        // Either the runtime shuts down or `work` panicked; the panic has already been reported where it happened.
        Err(error) => Err(StoreError::Unavailable(error.to_string()).into()),
    }
}

#[derive(Debug)]
struct SessionSettings;

impl CustomizeConnection<PgConnection, r2d2::Error> for SessionSettings {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), r2d2::Error> {
        connection
            .batch_execute(SESSION)
            .map_err(r2d2::Error::QueryError)
    }
}

/// r2d2 reports failures of its background connecting here. libpq's messages name the host, never the password.
#[derive(Debug)]
struct LogFailures;

impl HandleError<r2d2::Error> for LogFailures {
    fn handle_error(&self, error: r2d2::Error) {
        tracing::warn!(%error, "no database connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database_error(kind: DatabaseErrorKind, message: &str) -> StoreError {
        QueryError::DatabaseError(kind, Box::new(message.to_owned())).into()
    }

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_will_not() {
        use DatabaseErrorKind as K;
        assert!(matches!(
            database_error(
                K::Unknown,
                "terminating connection due to administrator command"
            ),
            StoreError::Unavailable(_)
        ));
        assert!(matches!(
            database_error(K::Unknown, "deadlock detected"),
            StoreError::Busy(_)
        ));
        assert!(matches!(
            database_error(K::Unknown, "canceling statement due to statement timeout"),
            StoreError::Busy(_)
        ));
        assert!(matches!(
            database_error(K::SerializationFailure, ""),
            StoreError::Busy(_)
        ));
        assert!(matches!(
            database_error(K::UniqueViolation, "deadlock detected"),
            StoreError::Query(_)
        ));
        assert!(matches!(
            database_error(K::Unknown, "column does not exist"),
            StoreError::Query(_)
        ));
        assert!(matches!(
            StoreError::from(QueryError::NotFound),
            StoreError::Query(_)
        ));
    }

    #[actix_web::test]
    async fn a_database_that_is_away_is_unavailable_and_the_password_stays_secret() {
        let url = SecretString::from("postgres://user:hunter2@127.0.0.1:1/none");
        let pool = build(&url, 1);
        let result: Result<(), StoreError> = run(&pool, |_| Ok(())).await;
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
