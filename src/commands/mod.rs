//! One function for each command.

pub(crate) mod catalogue;
pub(crate) mod keys;
pub(crate) mod serve;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use secrecy::{ExposeSecret, SecretString};

use plangate::config::{Config, ConfigFaults, LogFormat};
use plangate::http::openapi;
use plangate::server::{StartError, connect, with_time_bounds};
use plangate::service::api_keys::CreateKeyError;
use plangate::store::counters;
use plangate::store::embedded::{Cluster, DATABASE, EmbeddedError, Options, running_url};
use plangate::store::migrations::{self, MigrationError};
use plangate::telemetry::{self, start_logging};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error("the database did not answer: {0}")]
    Query(#[from] diesel::result::Error),
    #[error("the key was not made: {0}")]
    Key(#[from] CreateKeyError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// 2: the configuration or the command line is at fault; 1: anything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Config(_)) {
            2
        } else {
            1
        })
    }
}

/// A line on standard output, which carries a command's result and nothing else.
fn say(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(Failure::Io)
}

fn log(config: &Config) {
    let format = match config.log_format {
        LogFormat::Json => telemetry::LogFormat::Json,
        LogFormat::Pretty => telemetry::LogFormat::Pretty,
    };
    // Fails only where logging was started before, which is as good.
    let _ = start_logging(format);
}

/// The database of a command: the configured one, the embedded one of a Plangate that runs, or the embedded one started for
/// as long as this lives.
struct Database {
    url: SecretString,
    /// Stopped when this is dropped.
    _cluster: Option<Cluster>,
}

impl Database {
    fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(url) = Self::reachable(config)? {
            return Ok(Self {
                url,
                _cluster: None,
            });
        }
        let cluster = Cluster::start(&embedded(config))?;
        Ok(Self {
            url: cluster.url(DATABASE),
            _cluster: Some(cluster),
        })
    }

    /// Without starting anything.
    fn reachable(config: &Config) -> Result<Option<SecretString>, Failure> {
        if let Some(url) = &config.database.url {
            return Ok(Some(with_time_bounds(url)));
        }
        match running_url(&config.data_dir, DATABASE) {
            Ok(url) => Ok(Some(url)),
            Err(EmbeddedError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn embedded(config: &Config) -> Options {
    Options {
        data_dir: config.data_dir.clone(),
        durable: true,
    }
}

pub(crate) fn openapi() -> Result<ExitCode, Failure> {
    let document = openapi::rendered(&openapi::document())
        .map_err(|error| Failure::Start(StartError::Document(error)))?;
    io::stdout().lock().write_all(document.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn migrate(config: &Config) -> Result<ExitCode, Failure> {
    log(config);
    let database = Database::open(config)?;
    let applied = migrations::run(&mut connect(&database.url)?)?;
    if applied.is_empty() {
        say("the schema is up to date")?;
    }
    for migration in applied {
        say(format_args!("applied {migration}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn database_url(config: &Config) -> Result<ExitCode, Failure> {
    let url = running_url(&config.data_dir, DATABASE)?;
    say(url.expose_secret())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(config: &Config) -> Result<ExitCode, Failure> {
    log(config);
    let database = Database::open(config)?;
    let mut conn = connect(&database.url)?;
    if migrations::pending(&mut conn)? {
        return Err(Failure::Refused(
            "the database schema is not up to date; run `plangate migrate`".to_owned(),
        ));
    }
    let compared = counters::compare(&mut conn, None)?;
    if compared.drifts.is_empty() {
        say(format_args!(
            "{} counters equal their ledger",
            compared.checked
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    for drift in &compared.drifts {
        say(serde_json::to_string(drift).map_err(io::Error::from)?)?;
    }
    Ok(ExitCode::FAILURE)
}
