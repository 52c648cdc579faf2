//! The configuration: the one place that knows the names of environment variables.
//!
//! A bad configuration is one error that lists every fault. Secrets can be given as `NAME` or, in a file, as
//! `NAME_FILE`; they are never shown, neither in errors nor by `Debug`.

mod accounts;
mod source;
mod web;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use source::{ConfigFault, ConfigFaults};
pub use web::ReturnUrls;

use crate::domain::catalogue::Catalogue;
use crate::domain::policy::{
    BillingPolicy, Enforcement, OnDuplicate, OnFullRefund, UnknownCustomers,
};
use crate::providers::registry::Account;
use source::Source;

/// Shorter keys could be guessed.
const SHORTEST_KEY: usize = 32;

/// Everything that an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// What kind of deployment this is.
    pub environment: Environment,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How to reach the database.
    pub database: DatabaseConfig,
    /// Where the embedded cluster and the generated admin key live.
    pub data_dir: PathBuf,
    /// The plans on offer.
    pub catalogue: Arc<Catalogue>,
    /// The tier of customers who never subscribed, where it is not the catalogue's default; always in the catalogue.
    pub plan_tier: Option<String>,
    /// Accepted as a bearer key with every scope.
    pub admin_key: Option<SecretString>,
    /// Signs customer tokens; always given in production.
    pub token_secret: Option<SecretString>,
    /// The providers through which payments are taken.
    pub accounts: Vec<Account>,
    /// Where browsers may be sent after a checkout.
    pub return_urls: ReturnUrls,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Whether a denial denies.
    pub enforcement: Enforcement,
    /// What becomes of a customer never seen before.
    pub unknown_customers: UnknownCustomers,
    /// What follows refunds and second subscriptions.
    pub billing_policy: BillingPolicy,
    /// How old the numbers of a check may be; zero: read anew for each.
    pub check_max_age: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How long to go on serving after readiness is withdrawn, so that load balancers notice.
    pub drain: Duration,
    /// What is allowed and yet likely a mistake; to be logged at the start.
    pub warnings: Vec<String>,
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Absent: the embedded cluster; always given in production.
    pub url: Option<SecretString>,
    /// Connections at most.
    pub pool_size: u32,
}

/// What kind of deployment this is. Development forgives what production must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// One machine, nothing to lose.
    Development,
    /// Customers depend on it.
    Production,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One object a line, for machines.
    Json,
    /// For people.
    Pretty,
}

impl Config {
    /// Reads the settings through `lookup`, which answers for a variable's name with its value.
    pub fn load(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigFaults> {
        let mut source = Source::new(&lookup);
        let config = read(&mut source);
        match config {
            Some(config) if source.faults.is_empty() => Ok(config),
            _ => Err(ConfigFaults(source.faults)),
        }
    }

    /// As [`Self::load`], from this process's environment. A value that is not Unicode is taken with replacement
    /// characters, so that it is seen to be wrong instead of being taken for unset.
    pub fn from_environment() -> Result<Self, ConfigFaults> {
        Self::load(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }
}

fn read(source: &mut Source<'_>) -> Option<Config> {
    let environments = [
        ("development", Environment::Development),
        ("production", Environment::Production),
    ];
    let environment = source
        .choice("PLANGATE_ENV", &environments)
        .unwrap_or(Environment::Development);
    let production = environment == Environment::Production;

    let catalogue = read_catalogue(source);
    let database = read_database(source, production);
    let accounts = accounts::read(source, environment, catalogue.as_ref());
    let return_urls = web::return_urls(source, environment);
    if production
        && !accounts.is_empty()
        && return_urls.origins.is_empty()
        && return_urls.success_url.is_none()
    {
        source.warn("neither PLANGATE_RETURN_ORIGINS nor PLANGATE_SUCCESS_URL is set: no checkout can be made");
    }
    let token_secret = source.long_secret("PLANGATE_TOKEN_SECRET", SHORTEST_KEY);
    if production && !source.is_set_as_secret("PLANGATE_TOKEN_SECRET") {
        source.fault(
            "PLANGATE_TOKEN_SECRET",
            "is required in production; make one with `openssl rand -hex 32`",
        );
    }
    let log_formats = [("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
    let enforcements = [
        ("enforce", Enforcement::Enforce),
        ("observe", Enforcement::Observe),
    ];
    let unknown_customers = [
        ("create", UnknownCustomers::Create),
        ("reject", UnknownCustomers::Reject),
    ];
    let on_full_refund = [
        ("cancel", OnFullRefund::Cancel),
        ("ignore", OnFullRefund::Ignore),
    ];
    let on_duplicate = [
        ("refund", OnDuplicate::Refund),
        ("alert", OnDuplicate::Alert),
    ];
    let (log_format, drain) = match environment {
        Environment::Development => (LogFormat::Pretty, 0),
        Environment::Production => (LogFormat::Json, 5),
    };
    Some(Config {
        environment,
        bind: read_bind(source),
        database,
        data_dir: source
            .text("PLANGATE_DATA_DIR")
            .map_or_else(|| PathBuf::from(".plangate"), PathBuf::from),
        plan_tier: read_plan_tier(source, catalogue.as_ref()),
        admin_key: source.long_secret("PLANGATE_ADMIN_KEY", SHORTEST_KEY),
        token_secret,
        accounts,
        return_urls,
        cors_origins: web::cors_origins(source, environment),
        enforcement: source
            .choice("PLANGATE_ENFORCEMENT", &enforcements)
            .unwrap_or(Enforcement::Enforce),
        unknown_customers: source
            .choice("PLANGATE_UNKNOWN_CUSTOMERS", &unknown_customers)
            .unwrap_or(UnknownCustomers::Create),
        billing_policy: BillingPolicy {
            on_full_refund: source
                .choice("PLANGATE_ON_FULL_REFUND", &on_full_refund)
                .unwrap_or(OnFullRefund::Cancel),
            on_duplicate: source
                .choice("PLANGATE_ON_DUPLICATE_SUBSCRIPTION", &on_duplicate)
                .unwrap_or(OnDuplicate::Refund),
        },
        check_max_age: Duration::from_millis(u64::from(
            source
                .number("PLANGATE_CHECK_MAX_AGE_MS", 0..=60_000)
                .unwrap_or(1000),
        )),
        log_format: source
            .choice("PLANGATE_LOG_FORMAT", &log_formats)
            .unwrap_or(log_format),
        drain: Duration::from_secs(u64::from(
            source
                .number("PLANGATE_DRAIN_SECONDS", 0..=60)
                .unwrap_or(drain),
        )),
        catalogue: Arc::new(catalogue?),
        warnings: std::mem::take(&mut source.warnings),
    })
}

fn read_bind(source: &mut Source<'_>) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let Some(text) = source.text("PLANGATE_BIND") else {
        return default;
    };
    text.parse().unwrap_or_else(|_| {
        source.fault(
            "PLANGATE_BIND",
            "must be an IP address and a port, such as 0.0.0.0:8080 or [::]:8080",
        );
        default
    })
}

fn read_database(source: &mut Source<'_>, production: bool) -> DatabaseConfig {
    let name = "DATABASE_URL";
    let url = source.secret(name);
    // No closer look: libpq takes lists of hosts, which are no URLs to anybody else.
    if let Some(url) = &url
        && !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
    {
        source.fault(
            name,
            "must begin with postgres:// or postgresql://, as in postgres://user:password@host:5432/plangate",
        );
    }
    if production && !source.is_set_as_secret(name) {
        source.fault(
            name,
            "is required in production, where no embedded database is kept; set it to postgres://user:password@host:5432/plangate",
        );
    }
    DatabaseConfig {
        url: url.map(SecretString::from),
        pool_size: source
            .number("PLANGATE_DATABASE_POOL_SIZE", 1..=200)
            .unwrap_or(10),
    }
}

fn read_catalogue(source: &mut Source<'_>) -> Option<Catalogue> {
    let name = "PLANGATE_CATALOGUE";
    let parsed = match source.text(name) {
        None => Catalogue::embedded(),
        Some(path) => {
            match fs::read_to_string(&path) {
                Ok(text) => Catalogue::parse(&text),
                Err(error) => {
                    source.fault(
                    name,
                    format!("cannot read the file `{path}`: {error}; name one that this user may read"),
                );
                    return None;
                }
            }
        }
    };
    parsed
        .map_err(|faults| {
            for fault in faults.0 {
                source.fault(name, fault.to_string());
            }
        })
        .ok()
}

fn read_plan_tier(source: &mut Source<'_>, catalogue: Option<&Catalogue>) -> Option<String> {
    let name = "PLAN_TIER";
    let tier = source.text(name)?;
    let catalogue = catalogue?;
    let Some(plan) = catalogue.plan(&tier) else {
        let tiers: Vec<&str> = catalogue
            .tiers
            .iter()
            .map(|plan| plan.tier.as_str())
            .collect();
        source.fault(
            name,
            format!(
                "is no tier of the catalogue; set it to one of {}",
                tiers.join(", ")
            ),
        );
        return None;
    };
    if plan.is_paid() {
        source.warn(format!(
            "{name} gives the paid tier `{tier}` to every customer who never subscribed, for nothing"
        ));
    }
    Some(tier)
}

#[cfg(test)]
mod tests;
