//! A cluster's life: made where it is missing, started, started again, stopped.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use secrecy::{ExposeSecret, SecretString};

use super::access::Access;
use super::binaries;
use super::error::EmbeddedError;
use super::initdb;
use super::lock::DirectoryLock;
use super::place::{Place, cluster_in, home_of, prepare_data_dir, short_hash};
use super::process::{self, PidFile};
use super::server::{Blueprint, StartFailure, end, free_ports, has_ended};
use super::socket::SocketDirectory;

/// The database that Plangate uses within the cluster; it is made with the cluster.
pub const DATABASE: &str = "plangate";

const PORT_ATTEMPTS: usize = 5;

/// How to run a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Plangate's data directory; it is made where it is missing.
    pub data_dir: PathBuf,
    /// Committed data survives a power cut. Only a test whose data is thrown away has a reason to
    /// turn this off; what is committed survives the death of every process even then.
    pub durable: bool,
}

/// A running PostgreSQL of Plangate's own. Every operation blocks. Dropping it stops the server.
#[derive(Debug)]
pub struct Cluster {
    blueprint: Blueprint,
    access: Access,
    socket: SocketDirectory,
    /// `None` when stopped.
    server: Mutex<Option<Child>>,
    stopping: AtomicBool,
    /// Held until after the server is stopped.
    _locks: Vec<DirectoryLock>,
}

impl Cluster {
    /// Starts the cluster of a data directory and waits until it answers. Makes it where there is
    /// none, and ends what an earlier run that was killed left behind.
    ///
    /// # Errors
    /// Another Plangate holds the directory, no fitting PostgreSQL is installed, or the server
    /// does not come up; each says what to do.
    pub fn start(options: &Options) -> Result<Self, EmbeddedError> {
        let data_dir = prepare_data_dir(&options.data_dir)?;
        let mut locks = vec![DirectoryLock::acquire(&data_dir)?];
        let place = Place::settle(&data_dir)?;
        if place.is_elsewhere() {
            // A copied data directory points at the same place.
            locks.push(DirectoryLock::acquire(place.home())?);
        }
        let cluster = place.cluster();
        let major = place.major()?;
        let installation =
            binaries::find(major.map(|major| (cluster.as_path(), major)), |directory| {
                place
                    .account()
                    .is_none_or(|account| account.reaches(directory))
            })?;
        tracing::info!(
            cluster = %cluster.display(),
            binaries = %installation.directory().display(),
            version = installation.major(),
            "starting the embedded PostgreSQL"
        );
        if major.is_none() {
            initdb::make(&place, &installation, options.durable)?;
        }
        process::end_leftovers(&cluster)?;
        let socket = SocketDirectory::make(&place)?;
        let blueprint = Blueprint {
            place,
            installation,
            durable: options.durable,
        };
        let stopping = AtomicBool::new(false);
        let (access, child) = start_on_a_free_port(&blueprint, &socket, &stopping)?;
        let cluster = Self {
            blueprint,
            access,
            socket,
            server: Mutex::new(Some(child)),
            stopping,
            _locks: locks,
        };
        cluster.create_database(DATABASE)?;
        Ok(cluster)
    }

    /// A libpq URL of one of the cluster's databases, over the unix socket. It holds the password
    /// and stays the same when the server is started again.
    pub fn url(&self, database: &str) -> SecretString {
        self.access.socket_url(database)
    }

    /// The same over the loopback port, for clients other than libpq's.
    pub fn loopback_url(&self, database: &str) -> SecretString {
        self.access.loopback_url(database)
    }

    /// The cluster's directory, which is outside the data directory where the server's user could
    /// not reach that.
    pub fn directory(&self) -> PathBuf {
        self.blueprint.place.cluster()
    }

    /// Whether the server process lives. `false` means [`Cluster::restart`], unless it was stopped.
    pub fn is_alive(&self) -> bool {
        self.server()
            .as_mut()
            .is_some_and(|child| !has_ended(child))
    }

    /// Starts a server that died again, on the same port and socket, so that connection pools find
    /// it. One that lives is stopped first.
    ///
    /// # Errors
    /// [`EmbeddedError::Stopped`] after [`Cluster::stop`]; otherwise the server did not come up and
    /// this may be tried again.
    pub fn restart(&self) -> Result<(), EmbeddedError> {
        let mut server = self.server();
        if self.stopping.load(Ordering::SeqCst) {
            return Err(EmbeddedError::Stopped);
        }
        if let Some(mut child) = server.take() {
            end(&mut child);
        }
        process::end_leftovers(&self.directory())?;
        self.socket.restore(&self.blueprint.place)?;
        let child = self
            .blueprint
            .start(&self.access, &self.stopping)
            .map_err(|failure| match failure {
                StartFailure::PortTaken(error) | StartFailure::Final(error) => error,
            })?;
        *server = Some(child);
        Ok(())
    }

    /// Stops the server: sessions end, committed data is on disk. A start that is under way gives
    /// up. Stopping twice is the same as once.
    ///
    /// # Errors
    /// Processes of the cluster that cannot be ended.
    pub fn stop(&self) -> Result<(), EmbeddedError> {
        self.stopping.store(true, Ordering::SeqCst);
        let Some(mut child) = self.server().take() else {
            return Ok(());
        };
        end(&mut child);
        let ended = process::end_leftovers(&self.directory());
        self.socket.clear_away();
        tracing::info!("the embedded PostgreSQL has stopped");
        ended
    }

    fn create_database(&self, name: &str) -> Result<(), EmbeddedError> {
        let failed = |reason: String| EmbeddedError::CreateDatabase {
            name: name.to_owned(),
            reason,
        };
        let mut connection = PgConnection::establish(self.url("postgres").expose_secret())
            .map_err(|error| failed(error.to_string()))?;
        let exists: bool = diesel::select(
            sql::<Bool>("EXISTS (SELECT FROM pg_database WHERE datname = ")
                .bind::<Text, _>(name)
                .sql(")"),
        )
        .get_result(&mut connection)
        .map_err(|error| failed(error.to_string()))?;
        if !exists {
            diesel::sql_query(format!("CREATE DATABASE {}", quoted(name)))
                .execute(&mut connection)
                .map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "the embedded PostgreSQL could not be stopped");
        }
    }
}

/// The URL, over the loopback port, of a database in the cluster that runs for a data directory.
/// Unlike [`Cluster::start`] this takes no lock and starts nothing.
///
/// # Errors
/// [`EmbeddedError::NotRunning`], or files that this user may not read.
pub fn running_url(data_dir: &Path, database: &str) -> Result<SecretString, EmbeddedError> {
    let not_running = || EmbeddedError::NotRunning {
        directory: data_dir.to_path_buf(),
    };
    let data_dir = data_dir.canonicalize().map_err(|_| not_running())?;
    let cluster = cluster_in(&home_of(&data_dir)?);
    let running = PidFile::read(&cluster)?
        .filter(|file| file.ready && process::of_cluster(&cluster).contains(&file.pid))
        .ok_or_else(not_running)?;
    let access = Access::new(&cluster, running.socket_directory, running.port)?;
    Ok(access.loopback_url(database))
}

fn start_on_a_free_port(
    blueprint: &Blueprint,
    socket: &SocketDirectory,
    stopping: &AtomicBool,
) -> Result<(Access, Child), EmbeddedError> {
    let cluster = blueprint.place.cluster();
    let mut failure = EmbeddedError::NoPort;
    for port in free_ports(&short_hash(&cluster)).take(PORT_ATTEMPTS) {
        let access = Access::new(&cluster, socket.path().to_path_buf(), port)?;
        match blueprint.start(&access, stopping) {
            Ok(child) => return Ok((access, child)),
            Err(StartFailure::PortTaken(error)) => failure = error,
            Err(StartFailure::Final(error)) => return Err(error),
        }
    }
    Err(failure)
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_in_a_directory_that_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        for data_dir in [root.path().to_path_buf(), root.path().join("missing")] {
            let error = running_url(&data_dir, DATABASE).unwrap_err();
            assert!(matches!(error, EmbeddedError::NotRunning { .. }), "{error}");
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
