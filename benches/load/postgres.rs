//! The benchmark's own PostgreSQL: durable as in production, and thrown away afterwards.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use secrecy::{ExposeSecret, SecretString};

use plangate::store::embedded::{Cluster, Options};

use crate::Outcome;

const ADMINISTRATION: &str = "postgres";
/// Migrated and furnished with API keys once; every run begins on a copy.
pub(crate) const TEMPLATE: &str = "bench_template";

/// Without these an answer is not a durable one, and a figure not worth printing.
const REQUIRED: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// What else decides the figures, for the report.
const SHOWN: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
];

/// A running cluster. Dropping it stops the server and removes its files.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// `None` while it is being dropped.
    cluster: Option<Cluster>,
    directory: PathBuf,
    data_dir: PathBuf,
}

impl Postgres {
    /// Makes a cluster below `scratch`, with settings given as `name=value`.
    pub(crate) fn start(scratch: &Path, settings: &[String]) -> Outcome<Self> {
        let data_dir = scratch.join("postgres");
        let cluster = Cluster::start(&Options {
            data_dir: data_dir.clone(),
            durable: true,
        })?;
        let postgres = Self {
            directory: cluster.directory(),
            cluster: Some(cluster),
            data_dir,
        };
        for setting in settings {
            let (name, value) = setting
                .split_once('=')
                .ok_or_else(|| format!("--set {setting}: write it as NAME=VALUE"))?;
            if !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
            {
                return Err(format!("--set {setting}: that is no name of a setting").into());
            }
            let value = value.replace('\'', "''");
            postgres.administer(&format!("ALTER SYSTEM SET {name} = '{value}'"))?;
        }
        if !settings.is_empty() {
            postgres.cluster()?.restart()?;
        }
        for name in REQUIRED {
            let value = postgres.show(name)?;
            if value != "on" {
                return Err(format!("PostgreSQL runs with {name}={value}; it must be on").into());
            }
        }
        Ok(postgres)
    }

    /// A libpq URL over the unix socket, the same way for every case.
    pub(crate) fn url(&self, database: &str) -> Outcome<SecretString> {
        Ok(self.cluster()?.url(database))
    }

    /// A connection to one database.
    pub(crate) fn connect(&self, database: &str) -> Outcome<PgConnection> {
        Ok(PgConnection::establish(
            self.url(database)?.expose_secret(),
        )?)
    }

    /// Runs statements in one database, as one batch.
    pub(crate) fn run(&self, database: &str, statements: &str) -> Outcome<()> {
        Ok(self.connect(database)?.batch_execute(statements)?)
    }

    /// The number that a query returns as `number`.
    pub(crate) fn number(&self, database: &str, query: &str) -> Outcome<i64> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        let row: Row = diesel::sql_query(query).get_result(&mut self.connect(database)?)?;
        Ok(row.number)
    }

    /// A database of one run: a copy of `template`.
    pub(crate) fn copy(&self, template: &str, name: &str) -> Outcome<Database<'_>> {
        self.administer(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
        self.administer(&format!("CREATE DATABASE {name} TEMPLATE {template}"))?;
        Ok(Database {
            postgres: self,
            name: name.to_owned(),
            url: self.url(name)?,
        })
    }

    /// An empty database that stays until the cluster goes.
    pub(crate) fn create(&self, name: &str) -> Outcome<SecretString> {
        self.administer(&format!("CREATE DATABASE {name}"))?;
        self.url(name)
    }

    /// Lets every run begin behind a checkpoint: none of them pays for what another wrote.
    pub(crate) fn checkpoint(&self) -> Outcome<()> {
        self.administer("CHECKPOINT")
    }

    /// The settings that decide the figures, as `name=value`.
    pub(crate) fn settings(&self) -> Outcome<Vec<String>> {
        SHOWN
            .iter()
            .map(|name| Ok(format!("{name}={}", self.show(name)?)))
            .collect()
    }

    fn show(&self, name: &str) -> Outcome<String> {
        let setting = diesel::dsl::sql::<Text>("current_setting(")
            .bind::<Text, _>(name)
            .sql(")");
        Ok(diesel::select(setting).get_result(&mut self.connect(ADMINISTRATION)?)?)
    }

    fn administer(&self, statement: &str) -> Outcome<()> {
        self.run(ADMINISTRATION, statement)
    }

    fn cluster(&self) -> Outcome<&Cluster> {
        self.cluster
            .as_ref()
            .ok_or_else(|| "the cluster is stopped".into())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Stops the server.
        drop(self.cluster.take());
        // Outside the scratch directory where the server's user cannot reach that one.
        for left in [&self.directory, &self.data_dir] {
            if left.exists() && std::fs::remove_dir_all(left).is_err() {
                crate::tell(format_args!("could not remove {}", left.display()));
            }
        }
    }
}

/// A database that is dropped with this.
#[derive(Debug)]
pub(crate) struct Database<'a> {
    postgres: &'a Postgres,
    /// Its name.
    pub(crate) name: String,
    /// A libpq URL.
    pub(crate) url: SecretString,
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // The cluster is thrown away anyway.
        let _ = self.postgres.administer(&format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.name
        ));
    }
}
