//! `plangate keys`.

use std::process::ExitCode;

use secrecy::ExposeSecret;

use super::{Database, Failure, log, say};
use crate::arguments::NewKey;
use plangate::config::Config;
use plangate::domain::api_key::Scope;
use plangate::server::{connect, key_mode};
use plangate::service::api_keys::ApiKeys;
use plangate::store::clock::{Clock, SystemClock};
use plangate::store::{migrations, pool};

/// As the API has it.
const LONGEST_NAME: usize = 200;

pub(crate) fn create(config: &Config, new_key: NewKey) -> Result<ExitCode, Failure> {
    log(config);
    let now = SystemClock.now();
    let name = new_key.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(Failure::Refused(format!(
            "--name takes 1 to {LONGEST_NAME} characters"
        )));
    }
    if new_key.expires_at.is_some_and(|at| at <= now) {
        return Err(Failure::Refused("--expires-at is in the past".to_owned()));
    }
    let mut scopes: Vec<Scope> = new_key.scopes;
    scopes.sort_unstable();
    scopes.dedup();
    let database = Database::open(config)?;
    migrations::run(&mut connect(&database.url)?)?;
    let keys = ApiKeys::new(pool::build(&database.url, 1), key_mode(config.environment));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let created = runtime.block_on(keys.create(
        "command-line".to_owned(),
        name,
        scopes,
        new_key.expires_at,
        now,
    ))?;
    let record = &created.record;
    tracing::info!(
        id = record.id,
        name = record.name,
        "the key is shown this once"
    );
    say(created.key.expose_secret())?;
    Ok(ExitCode::SUCCESS)
}
