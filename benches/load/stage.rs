//! What all cases stand on: the database cluster, the catalogue, the API keys, and how Plangate is started on a database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use diesel::prelude::*;
use secrecy::{ExposeSecret, SecretString};

use plangate::store::migrations;

use crate::Outcome;
use crate::arguments::Options;
use crate::http::{self, Caller};
use crate::postgres::{Postgres, TEMPLATE};
use crate::process::{Server, finish, free_port};
use crate::wrk::Wrk;

/// API keys that take turns, so that no case lives off a single cached one.
const KEYS: usize = 64;
const COMMAND_PATIENCE: Duration = Duration::from_mins(5);

/// The product, as it is built for release.
const PLANGATE: &str = env!("CARGO_BIN_EXE_plangate");

/// The ground of every case.
#[derive(Debug)]
pub(crate) struct Stage {
    /// What was asked for.
    pub(crate) options: Options,
    /// The cluster. Before `scratch`, which is removed after it.
    pub(crate) postgres: Postgres,
    /// The load generator.
    pub(crate) wrk: Wrk,
    /// The callers' keys.
    pub(crate) keys: Vec<String>,
    /// What Plangate answers, found out before anything is measured.
    pub(crate) probe: Probe,
    /// Files of this run.
    pub(crate) scratch: Scratch,
}

/// What one request of each kind was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Probe {
    /// Size of a check's body, which the bare handler's answers take.
    pub(crate) check_bytes: usize,
    /// Size of a consume's body.
    pub(crate) consume_bytes: usize,
    /// Whether there are reservations.
    pub(crate) reservations: bool,
}

impl Stage {
    /// Starts PostgreSQL, makes the template database with its keys, and asks Plangate once.
    pub(crate) fn set(options: Options) -> Outcome<Self> {
        let scratch = Scratch::new(options.scratch.as_deref())?;
        let postgres = Postgres::start(&scratch.0, &options.settings)?;
        let url = postgres.create(TEMPLATE)?;
        migrations::run(&mut PgConnection::establish(url.expose_secret())?)?;
        let keys = make_keys(&scratch, &url)?;
        let keys_file = scratch.0.join("keys");
        fs::write(&keys_file, keys.join("\n") + "\n")?;
        let mut stage = Self {
            wrk: Wrk::new(keys_file),
            options,
            postgres,
            keys,
            probe: Probe::default(),
            scratch,
        };
        stage.probe = stage.ask()?;
        Ok(stage)
    }

    /// The product on this database, with its log reduced to warnings.
    pub(crate) fn plangate(&self, url: &SecretString) -> Outcome<Server> {
        let port = free_port()?;
        let mut command = plangate(&self.scratch, url);
        command
            .arg("serve")
            .env("PLANGATE_BIND", format!("127.0.0.1:{port}"));
        Server::start(&mut command, port, &self.scratch.log("plangate"))
    }

    /// The baseline on this database: a transaction for each request.
    pub(crate) fn baseline(&self, url: &SecretString) -> Outcome<Server> {
        let port = free_port()?;
        let mut command = self.itself()?;
        command
            .args(["serve-baseline", "--port", &port.to_string()])
            .args(["--pool", &self.options.baseline_pool.to_string()])
            .arg("--catalogue")
            .arg(catalogue())
            .env("DATABASE_URL", url.expose_secret());
        Server::start(&mut command, port, &self.scratch.log("baseline"))
    }

    /// The ceiling: a handler that does nothing.
    pub(crate) fn bare(&self) -> Outcome<Server> {
        let port = free_port()?;
        let mut command = self.itself()?;
        command
            .args(["serve-bare", "--port", &port.to_string()])
            .args(["--bytes", &self.probe.check_bytes.to_string()]);
        Server::start(&mut command, port, &self.scratch.log("bare"))
    }

    /// Compares every counter of a database with its ledger; an error says what differs.
    pub(crate) fn verify(&self, url: &SecretString) -> Outcome<()> {
        let mut command = plangate(&self.scratch, url);
        let finished = finish(command.arg("verify"), COMMAND_PATIENCE)?;
        finished.success("plangate verify").map(drop)
    }

    fn itself(&self) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env_clear().current_dir(&self.scratch.0);
        Ok(command)
    }

    fn ask(&self) -> Outcome<Probe> {
        let database = self.postgres.copy(TEMPLATE, "bench_probe")?;
        let server = self.plangate(&database.url)?;
        let caller = Caller::new(&self.keys, "probe")?;
        let check = http::ask_once(server.port, &caller.check(1))?;
        let consume = http::ask_once(server.port, &caller.consume(1, 1))?;
        for (name, answer) in [("check", &check), ("consume", &consume)] {
            if answer.status != 200 {
                let status = answer.status;
                let body = String::from_utf8_lossy(&answer.body);
                return Err(format!("a {name} was answered {status}: {body}").into());
            }
        }
        Ok(Probe {
            check_bytes: check.body.len(),
            consume_bytes: consume.body.len(),
            reservations: http::ask_once(server.port, &caller.reserve(1))?.status != 404,
        })
    }
}

/// The product's program with every setting given here and none taken from the environment around.
fn plangate(scratch: &Scratch, url: &SecretString) -> Command {
    let mut command = Command::new(PLANGATE);
    command
        .env_clear()
        .current_dir(&scratch.0)
        .env("PLANGATE_ENV", "production")
        .env("DATABASE_URL", url.expose_secret())
        .env("PLANGATE_DATA_DIR", scratch.0.join("plangate"))
        .env("PLANGATE_CATALOGUE", catalogue())
        // Guards nothing: no customer token is made here.
        .env("PLANGATE_TOKEN_SECRET", "of-the-benchmark".repeat(2))
        .env("PLANGATE_DRAIN_SECONDS", "0")
        .env("RUST_LOG", "warn");
    command
}

fn make_keys(scratch: &Scratch, url: &SecretString) -> Outcome<Vec<String>> {
    (0..KEYS)
        .map(|number| {
            let mut command = plangate(scratch, url);
            command
                .args(["keys", "create", "--scopes", "entitlements"])
                .args(["--name", &format!("bench-{number}")]);
            let key = finish(&mut command, COMMAND_PATIENCE)?.success("plangate keys create")?;
            Ok(key.trim().to_owned())
        })
        .collect()
}

/// Directory of this benchmark's own files in the source tree.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load")
}

/// As the product's own catalogue, with limits that no run reaches.
fn catalogue() -> PathBuf {
    sources().join("catalogue.json")
}

/// A directory that is removed with this.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: Option<&Path>) -> Outcome<Self> {
        let parent = parent.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")));
        let directory = parent.join(format!("load-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory.canonicalize()?))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The log file of a server.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.log"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            crate::tell(format_args!("could not remove {}", self.0.display()));
        }
    }
}
