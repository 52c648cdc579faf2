//! `plangate serve`: start everything in order, end everything in reverse.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, embedded, log, say};
use plangate::config::Config;
use plangate::jobs::Jobs;
use plangate::server::{AdminKey, Application, ServeOptions, StartError};
use plangate::store::clock::SystemClock;
use plangate::store::embedded::{Cluster, DATABASE};

/// How long requests under way may take once the service stops. Longer than the database may take for any statement.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// Threads for the jobs' database work; requests are served on threads of their workers.
const BLOCKING_THREADS: usize = 16;
/// What a shell shows for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(config: Config) -> Result<ExitCode, Failure> {
    log(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let outcome = runtime.block_on(serve(config));
    // Only a wait for a database that never came can be left.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let (url, cluster) = if let Some(url) = &config.database.url {
        (url.clone(), None)
    } else {
        let options = embedded(&config);
        let cluster = blocking(move || Cluster::start(&options)).await??;
        (cluster.url(DATABASE), Some(Arc::new(cluster)))
    };
    let outcome = serve_on(&config, &url, cluster.clone(), &stop).await;
    if let Some(cluster) = cluster {
        blocking(move || cluster.stop()).await??;
    }
    if outcome.is_ok() {
        tracing::info!("Plangate has stopped");
    }
    outcome
}

async fn serve_on(
    config: &Config,
    url: &SecretString,
    cluster: Option<Arc<Cluster>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let application = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        built = Application::build(config, url, Arc::new(SystemClock)) => built?,
    };
    let listening = application.listen(ServeOptions {
        address: config.bind,
        workers: std::thread::available_parallelism().map_or(2, usize::from),
        shutdown_timeout: SHUTDOWN_TIMEOUT,
    })?;
    let jobs = Jobs::start(application.context(), cluster);
    show_admin_key(application.admin_key())?;
    for address in &listening.addresses {
        tracing::info!("Plangate listens on http://{address}");
    }
    let mut server = tokio::spawn(listening.server);
    let ended = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut server => Some(ended),
    };
    application.readiness().drain();
    if ended.is_none() {
        if !config.drain.is_zero() {
            tracing::info!(
                seconds = config.drain.as_secs(),
                "not ready any more; serving until load balancers have noticed"
            );
            tokio::time::sleep(config.drain).await;
        }
        tracing::info!("finishing the requests under way");
        listening.handle.stop(true).await;
    }
    jobs.stop().await;
    application.context().meter.drain().await;
    match ended {
        None => Ok(()),
        Some(Ok(Ok(()))) => Err(Failure::Refused(
            "the HTTP server ended by itself".to_owned(),
        )),
        Some(Ok(Err(error))) => Err(Failure::Io(error)),
        Some(Err(error)) => Err(Failure::Start(StartError::Interrupted(error))),
    }
}

/// Cancelled by the first SIGINT or SIGTERM. The second one ends the process on the spot.
fn stop_signal() -> Result<CancellationToken, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        tracing::info!("stopping; a second signal ends the process at once");
        first.cancel();
        either(&mut interrupt, &mut terminate).await;
        tracing::warn!("ended at once; an embedded PostgreSQL is ended by the next start");
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// The key itself goes to standard output: logs are collected, and it must be in none.
fn show_admin_key(key: &AdminKey) -> Result<(), Failure> {
    match key {
        AdminKey::Configured => {}
        AdminKey::Kept(path) => tracing::info!("the admin key is in {}", path.display()),
        AdminKey::Made(path, key) => {
            let rule = "-".repeat(78);
            say(format_args!(
                "{rule}\n  The admin key of this installation, shown this once (kept in {}):\n\n      {}\n{rule}",
                path.display(),
                key.expose_secret()
            ))?;
        }
        AdminKey::Absent => {
            tracing::info!(
                "PLANGATE_ADMIN_KEY is not set: only API keys of scope admin administer"
            );
        }
    }
    Ok(())
}
