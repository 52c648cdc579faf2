//! Meeting the database: waiting until it accepts connections, asking what it promises, bringing its schema up to date.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::Text;
use secrecy::{ExposeSecret, SecretString};

use super::StartError;
use crate::config::Environment;
use crate::store::migrations;

/// How long a database may take to come up beside this process, as it does in a compose file or after a reboot.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// Bounds on how long a host that drops packets holds anybody up: seconds for an attempt to connect, seconds until a silent connection is
/// asked for a sign of life and between such questions, milliseconds for what was sent to be received. Without them it is minutes, or
/// hours. They are no bound on how long a statement may take.
const BOUNDS: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];

/// The URL with bounds on the time that a host which is gone may take, as far as it has none.
pub fn with_time_bounds(url: &SecretString) -> SecretString {
    let mut bounded = url.expose_secret().to_owned();
    for (name, value) in BOUNDS {
        if !bounded.contains(&format!("{name}=")) {
            bounded.push(if bounded.contains('?') { '&' } else { '?' });
            bounded.extend([name, "=", value]);
        }
    }
    SecretString::from(bounded)
}

/// Connects. A server that is not there yet is waited for; one that answers and says no is believed. Blocks.
pub fn connect(url: &SecretString) -> Result<PgConnection, StartError> {
    connect_within(url, PATIENCE)
}

fn connect_within(url: &SecretString, patience: Duration) -> Result<PgConnection, StartError> {
    let deadline = Instant::now() + patience;
    let mut told = false;
    loop {
        let reason = match PgConnection::establish(url.expose_secret()) {
            Ok(conn) => return Ok(conn),
            Err(error) => error.to_string(),
        };
        if !may_pass(&reason) {
            return Err(StartError::Database(reason));
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(StartError::Database(format!(
                "no connection within {} s: {reason}",
                patience.as_secs()
            )));
        }
        if !told {
            tracing::info!(reason, "waiting for the database");
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether waiting may help. What a server answers with is FATAL; most of it (a wrong password, no such database) stays so.
fn may_pass(reason: &str) -> bool {
    const PASSING: [&str; 3] = [
        "the database system is",
        "too many clients",
        "remaining connection slots",
    ];
    !reason.contains("FATAL:") || PASSING.iter().any(|passing| reason.contains(passing))
}

/// Refuses a server that cannot keep what it acknowledges, then brings the schema up to date.
pub(super) fn prepare(conn: &mut PgConnection, environment: Environment) -> Result<(), StartError> {
    judge(conn, environment)?;
    let applied = migrations::run(conn)?;
    if !applied.is_empty() {
        tracing::info!(
            migrations = applied.len(),
            "the database schema was updated"
        );
    }
    Ok(())
}

fn judge(conn: &mut PgConnection, environment: Environment) -> Result<(), StartError> {
    if !is_on(conn, "fsync")? {
        if environment == Environment::Production {
            return Err(StartError::NotDurable);
        }
        tracing::warn!("the database runs with fsync=off: a power cut loses acknowledged usage");
    } else if !is_on(conn, "full_page_writes")? {
        tracing::warn!(
            "the database runs with full_page_writes=off: unless its file system never tears a page, a power cut can damage it"
        );
    }
    Ok(())
}

fn is_on(conn: &mut PgConnection, setting: &str) -> Result<bool, StartError> {
    diesel::select(
        diesel::dsl::sql::<Text>("current_setting(")
            .bind::<Text, _>(setting)
            .sql(")"),
    )
    .get_result::<String>(conn)
    .map(|value| value == "on")
    .map_err(|error| StartError::Database(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_is_bounded_unless_the_url_says_how() {
        let bounded = |url: &str| {
            with_time_bounds(&SecretString::from(url))
                .expose_secret()
                .to_owned()
        };
        let alive =
            "keepalives_idle=5&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=10000";
        assert_eq!(
            bounded("postgres://a,b/x"),
            format!("postgres://a,b/x?connect_timeout=5&{alive}")
        );
        assert_eq!(
            bounded("postgres://a/x?sslmode=require"),
            format!("postgres://a/x?sslmode=require&connect_timeout=5&{alive}")
        );
        let own = "postgres://a/x?connect_timeout=60";
        assert_eq!(bounded(own), format!("{own}&{alive}"));
    }

    #[test]
    fn only_what_may_pass_is_waited_for() {
        for passing in [
            "connection to server at \"127.0.0.1\", port 1 failed: Connection refused",
            "could not translate host name \"db\" to address",
            "FATAL:  the database system is starting up",
            "FATAL:  sorry, too many clients already",
        ] {
            assert!(may_pass(passing), "{passing}");
        }
        for lasting in [
            "FATAL:  password authentication failed for user \"plangate\"",
            "FATAL:  database \"plangate\" does not exist",
        ] {
            assert!(!may_pass(lasting), "{lasting}");
        }
    }

    #[test]
    fn a_database_that_never_comes_is_given_up() {
        let url = SecretString::from("postgres://user:hunter2@127.0.0.1:1/none");
        let error = connect_within(&url, Duration::ZERO)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no connection within 0 s"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
