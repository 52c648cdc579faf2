//! One cluster for the test process and a database for each test, copied from a migrated template.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use plangate::store::embedded::{Cluster, Options};
use plangate::store::migrations;
use secrecy::ExposeSecret;

use super::scratch::Scratch;

const TEMPLATE: &str = "template_of_tests";

/// A database of one test, dropped with it.
pub(crate) struct TestDatabase {
    name: String,
    /// A libpq URL.
    pub(crate) url: String,
}

impl TestDatabase {
    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url).unwrap()
    }

    /// Ends every session and refuses new ones, as if the database had died.
    pub(crate) fn take_away(&self) {
        administer(&format!(
            "ALTER DATABASE {} WITH ALLOW_CONNECTIONS false",
            self.name
        ));
        administer(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ));
    }

    /// Undoes [`TestDatabase::take_away`].
    pub(crate) fn bring_back(&self) {
        administer(&format!(
            "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true",
            self.name
        ));
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A failing test drops this while it unwinds, so a failure here must not panic. The
        // cluster is thrown away anyway.
        if let Ok(mut connection) = PgConnection::establish(&url("postgres")) {
            let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            let _ = diesel::sql_query(statement).execute(&mut connection);
        }
    }
}

/// Makes a database with the current schema for one test.
pub(crate) fn fresh_database() -> TestDatabase {
    static MIGRATED: OnceLock<()> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(1);
    MIGRATED.get_or_init(|| {
        administer(&format!("DROP DATABASE IF EXISTS {TEMPLATE}"));
        administer(&format!("CREATE DATABASE {TEMPLATE}"));
        // Closed at the end of this block: a template may have no sessions.
        migrations::run(&mut PgConnection::establish(&url(TEMPLATE)).unwrap()).unwrap();
    });
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    administer(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"));
    TestDatabase {
        url: url(&name),
        name,
    }
}

fn administer(statement: &str) {
    let mut connection = PgConnection::establish(&url("postgres")).unwrap();
    diesel::sql_query(statement)
        .execute(&mut connection)
        .unwrap();
}

fn url(database: &str) -> String {
    // A static is never dropped; the scratch directory's watchdog ends the server.
    static CLUSTER: OnceLock<(Scratch, Cluster)> = OnceLock::new();
    let (_, cluster) = CLUSTER.get_or_init(|| {
        let scratch = Scratch::new();
        let cluster = Cluster::start(&Options {
            data_dir: scratch.path().to_path_buf(),
            durable: false,
        })
        .unwrap();
        (scratch, cluster)
    });
    cluster.url(database).expose_secret().to_owned()
}
