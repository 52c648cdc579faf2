//! The one place where everything is put together: from a configuration and a database to a service that answers. The binary
//! and the tests use the same wiring.

mod database;
mod listening;
mod secrets;

use std::path::PathBuf;
use std::sync::Arc;

use diesel::PgConnection;
use secrecy::SecretString;

use crate::config::{Config, Environment};
use crate::domain::api_key::KeyMode;
use crate::domain::plans::Plans;
use crate::http::openapi::{self, ApiDocument};
use crate::http::operations::Readiness;
use crate::meter::{self, Meter, Rules};
use crate::providers::registry::{Account, SetupError};
use crate::providers::transport::{RetryPolicy, Timeouts, Transport, TransportSetupError};
use crate::service::api_keys::ApiKeys;
use crate::service::authentication::Authenticator;
use crate::service::context::{Context, Storefront};
use crate::service::customer_tokens::CustomerTokens;
use crate::service::plans::{self, CatalogueError};
use crate::service::prices::{KnownPrices, VerifiedPrices};
use crate::service::return_urls::ReturnUrls;
use crate::store::clock::Clock;
use crate::store::migrations::MigrationError;
use crate::store::plan_book::PlanBook;
use crate::store::pool;
use crate::telemetry::metrics::Metrics;

pub use database::{connect, with_time_bounds};
pub use listening::{Listening, ServeOptions};

/// Name of the file that keeps the generated admin key.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// Name of the file that keeps the generated secret of customer tokens.
const TOKEN_SECRET_FILE: &str = "token.secret";

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No connection could be made in time, or the server refused it.
    #[error("the database cannot be used: {0}")]
    Database(String),
    /// A durable answer cannot be given on this server.
    #[error(
        "the database server runs with fsync=off: what it acknowledges is lost in a power cut, and so is what Plangate \
         acknowledges. Set fsync=on in postgresql.conf"
    )]
    NotDurable,
    /// The schema could not be brought up to date.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The catalogue cannot be put in force.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A payment provider's settings cannot be used.
    #[error(transparent)]
    Provider(#[from] SetupError),
    /// There is no HTTP client for payment providers.
    #[error(transparent)]
    Transport(#[from] TransportSetupError),
    /// The operating system gave no randomness for a secret.
    #[error("no randomness for a new secret: {0}")]
    Entropy(getrandom::Error),
    /// A generated secret could not be kept or read back.
    #[error("cannot {action} {}: {source}", path.display())]
    SecretFile {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file that should hold a generated secret holds something else.
    #[error("{} does not hold a secret of 32 visible characters or more; remove it to have a new one made", path.display())]
    SecretMalformed {
        /// The file.
        path: PathBuf,
    },
    /// The OpenAPI document could not be written.
    #[error("the OpenAPI document cannot be written: {0}")]
    Document(#[from] serde_json::Error),
    /// Nothing can listen there.
    #[error("cannot listen on {address}: {source}{}", if source.kind() == std::io::ErrorKind::AddrInUse {
        "; another program listens there, set PLANGATE_BIND to another port"
    } else { "" })]
    Bind {
        /// Where.
        address: std::net::SocketAddr,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The operating system gave no thread for the meter.
    #[error("a writer of the meter cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// Work on the blocking threads was broken off.
    #[error("the start was broken off: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Where the operator's key comes from.
#[derive(Debug, Clone)]
pub enum AdminKey {
    /// The configuration.
    Configured,
    /// The data directory, where an earlier start put it.
    Kept(PathBuf),
    /// This start made it and put it there: show it once.
    Made(PathBuf, SecretString),
    /// There is none; only stored API keys administer.
    Absent,
}

/// A service, ready to listen.
pub struct Application {
    context: Context,
    keys: Arc<ApiKeys>,
    tokens: Arc<CustomerTokens>,
    authenticator: Arc<Authenticator>,
    metrics: Metrics,
    readiness: Arc<Readiness>,
    document: ApiDocument,
    routes: Vec<(actix_web::http::Method, String)>,
    cors_origins: Vec<String>,
    admin_key: AdminKey,
}

impl Application {
    /// Waits for the database, brings its schema up to date, puts the catalogue in force and wires everything up. Nothing
    /// listens and no job runs yet.
    pub async fn build(
        config: &Config,
        database_url: &SecretString,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let metering = meter::Options {
            check_max_age: config.check_max_age,
            ..meter::Options::default()
        };
        Self::build_with(config, database_url, clock, metering).await
    }

    /// The same with a meter that works otherwise: tests break it off, or give every customer a transaction.
    pub async fn build_with(
        config: &Config,
        database_url: &SecretString,
        clock: Arc<dyn Clock>,
        metering: meter::Options,
    ) -> Result<Self, StartError> {
        let url = with_time_bounds(database_url);
        let storefronts = storefronts(&config.accounts)?;
        let plans = {
            let (config, url, clock) = (config.clone(), url.clone(), Arc::clone(&clock));
            tokio::task::spawn_blocking(move || -> Result<_, StartError> {
                let mut conn = connect(&url)?;
                database::prepare(&mut conn, config.environment)?;
                register(&mut conn, &config, clock.as_ref())
            })
            .await??
        };
        let (admin_key, admin_secret) = admin_key(config)?;
        let pool = pool::build(&url, config.database.pool_size);
        let rules = Rules {
            book: Arc::new(PlanBook::new(plans)),
            clock: Arc::clone(&clock),
            enforcement: config.enforcement,
            unknown_customers: config.unknown_customers,
        };
        let keys = Arc::new(ApiKeys::new(pool.clone(), key_mode(config.environment)));
        let tokens = Arc::new(CustomerTokens::new(&token_secret(config)?));
        let authenticator = Arc::new(Authenticator::new(
            Arc::clone(&keys),
            Arc::clone(&tokens),
            admin_secret.as_ref(),
            Arc::new(move || clock.now()),
        ));
        let document = openapi::document();
        Ok(Self {
            context: Context {
                meter: Meter::start(pool.clone(), rules, &metering)?,
                pool,
                storefronts,
                return_urls: Arc::new(ReturnUrls {
                    origins: config.return_urls.origins.clone(),
                    success_url: config.return_urls.success_url.clone(),
                    cancel_url: config.return_urls.cancel_url.clone(),
                }),
                verified_prices: VerifiedPrices::default(),
                known_prices: KnownPrices::default(),
                billing_policy: config.billing_policy,
                bells: Arc::default(),
            },
            keys,
            tokens,
            authenticator,
            metrics: Metrics::new(),
            readiness: Arc::new(Readiness::default()),
            document: ApiDocument(openapi::rendered(&document)?.into()),
            routes: openapi::routes(&document),
            cors_origins: config.cors_origins.clone(),
            admin_key,
        })
    }

    /// What the jobs work with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The stored API keys.
    pub fn keys(&self) -> &Arc<ApiKeys> {
        &self.keys
    }

    /// Where the operator's key comes from.
    pub fn admin_key(&self) -> &AdminKey {
        &self.admin_key
    }

    /// Whether load balancers should send traffic here.
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }
}

/// Whether keys of this environment look like live ones.
pub fn key_mode(environment: Environment) -> KeyMode {
    match environment {
        Environment::Production => KeyMode::Live,
        Environment::Development => KeyMode::Test,
    }
}

fn storefronts(accounts: &[Account]) -> Result<Vec<Storefront>, StartError> {
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default())?;
    let opened = accounts.iter().map(|account| {
        Ok(Storefront {
            provider: account.open(transport.clone())?,
            prices: account.prices.clone(),
        })
    });
    opened.collect()
}

fn register(
    conn: &mut PgConnection,
    config: &Config,
    clock: &dyn Clock,
) -> Result<Plans, StartError> {
    let prices: Vec<_> = config
        .accounts
        .iter()
        .flat_map(|account| {
            let prices = account.prices.iter();
            prices.map(|(tier, sold)| (account.provider, tier.clone(), sold.clone()))
        })
        .collect();
    let newcomers = config.plan_tier.clone();
    Ok(plans::register(
        conn,
        &config.catalogue,
        newcomers,
        &prices,
        clock.now(),
    )?)
}

/// The operator's key, and where it comes from. In production nothing is made up: a key that nobody chose is one that nobody
/// looks after.
fn admin_key(config: &Config) -> Result<(AdminKey, Option<SecretString>), StartError> {
    if let Some(key) = &config.admin_key {
        return Ok((AdminKey::Configured, Some(key.clone())));
    }
    if config.environment == Environment::Production {
        return Ok((AdminKey::Absent, None));
    }
    let path = config.data_dir.join(ADMIN_KEY_FILE);
    let kept = secrets::keep(&path, "pg_admin_")?;
    let origin = if kept.is_new {
        AdminKey::Made(path, kept.secret.clone())
    } else {
        AdminKey::Kept(path)
    };
    Ok((origin, Some(kept.secret)))
}

/// Tokens outlive a restart only under a secret that does, so a generated one is kept.
fn token_secret(config: &Config) -> Result<SecretString, StartError> {
    match &config.token_secret {
        Some(secret) => Ok(secret.clone()),
        None => Ok(secrets::keep(&config.data_dir.join(TOKEN_SECRET_FILE), "")?.secret),
    }
}
