//! What can go wrong with the embedded cluster, worded for the person at the terminal.

use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded cluster could not be found, made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "create", "read".
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// No PostgreSQL server is installed where Plangate looks.
    #[error(
        "no PostgreSQL server (version {minimum} or later) was found in PATH, by pg_config, in \
         /usr/lib/postgresql, /usr/pgsql-* or Homebrew{}. Install one (Debian, Ubuntu: apt-get \
         install postgresql; Fedora: dnf install postgresql-server; macOS: brew install \
         postgresql@17), or set DATABASE_URL to a database that you run yourself",
        found_clause(found)
    )]
    BinariesMissing {
        /// The oldest major version that will do.
        minimum: u32,
        /// Versions that were found and are too old or cannot be run.
        found: Vec<String>,
    },
    /// The cluster on disk needs a major version that is not installed.
    #[error(
        "the cluster in {} was made by PostgreSQL {major}, which is not installed{}; install \
         PostgreSQL {major}, or move the directory away to start with an empty database",
        directory.display(),
        found_clause(found)
    )]
    MajorMissing {
        /// The cluster.
        directory: PathBuf,
        /// The major version that its `PG_VERSION` names.
        major: u32,
        /// Versions that are installed.
        found: Vec<String>,
    },
    /// Another live process holds the data directory.
    #[error("another Plangate ({}) uses the data directory {}", holder(*pid), directory.display())]
    InUse {
        /// The directory that is held.
        directory: PathBuf,
        /// The process that holds it, where it has said so.
        pid: Option<u32>,
    },
    /// Plangate runs as root, which PostgreSQL refuses, and there is no one to run it as.
    #[error(
        "PostgreSQL does not run as root and this machine has neither a user `postgres` nor a \
         user `nobody`; start Plangate as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount,
    /// The cluster belongs to a user that this process cannot act as.
    #[error(
        "the cluster in {} belongs to {owner}; start Plangate as that user or as root",
        directory.display()
    )]
    ForeignOwner {
        /// The cluster.
        directory: PathBuf,
        /// The user's name, or number where it has no name.
        owner: String,
    },
    /// The cluster belongs to root, which PostgreSQL does not run as.
    #[error(
        "the cluster in {dir} belongs to root, which PostgreSQL does not run as; give it to the \
         server's user with: chown -R {account} {dir}",
        dir = directory.display()
    )]
    OwnedByRoot {
        /// The cluster.
        directory: PathBuf,
        /// The user that ought to own it.
        account: String,
    },
    /// The cluster exists, but a folder above it is closed to its owner.
    #[error(
        "the cluster in {} belongs to {account}, who cannot reach it: a folder above it is \
         private; open that folder (chmod o+x) or move the data directory",
        directory.display()
    )]
    Unreachable {
        /// The cluster.
        directory: PathBuf,
        /// The user that owns it.
        account: String,
    },
    /// The place outside the data directory, where the cluster was kept, has gone.
    #[error(
        "the cluster was kept in {}, which is gone or no longer ours; bring it back, or remove \
         {} to start with an empty database",
        place.display(),
        note.display()
    )]
    PlaceGone {
        /// Where the cluster was kept.
        place: PathBuf,
        /// The file that says so.
        note: PathBuf,
    },
    /// No place was found that both Plangate and the server's user can reach.
    #[error(
        "{account}, who has to run PostgreSQL, cannot reach {}, and no other place could be made; \
         set PLANGATE_DATA_DIR to a folder that {account} can reach",
        directory.display()
    )]
    NoPlace {
        /// The data directory.
        directory: PathBuf,
        /// The user that runs the server.
        account: String,
    },
    /// Something that is not a cluster is where the cluster should be.
    #[error("{} is not empty and not a PostgreSQL cluster; move it away", directory.display())]
    NotACluster {
        /// The directory.
        directory: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb failed in {} ({status}): {output}", directory.display())]
    Initdb {
        /// Where the cluster was being made.
        directory: PathBuf,
        /// How it ended.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// The server ended before it accepted connections.
    #[error("PostgreSQL ended at start ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// How it ended.
        status: String,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The server runs, but did not accept connections in time.
    #[error(
        "PostgreSQL did not accept connections within {seconds} s ({reason}); the end of {}:\n{tail}",
        log.display()
    )]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// What the last attempt met.
        reason: String,
        /// The server's log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// No directory was found for the server's socket.
    #[error("{} is too long a path for a socket, and the temporary directory cannot be used", directory.display())]
    NoSocket {
        /// Where the socket would be.
        directory: PathBuf,
    },
    /// No loopback port was free.
    #[error("no free loopback port was found for PostgreSQL")]
    NoPort,
    /// Processes of an earlier run could not be ended.
    #[error("processes of an earlier run on {} did not end: {pids:?}", directory.display())]
    Leftovers {
        /// The cluster.
        directory: PathBuf,
        /// The processes.
        pids: Vec<i32>,
    },
    /// The database to be used could not be made.
    #[error("cannot make the database {name}: {reason}")]
    CreateDatabase {
        /// The database.
        name: String,
        /// The server's answer.
        reason: String,
    },
    /// No server runs on the data directory.
    #[error("no embedded PostgreSQL runs for the data directory {}; is Plangate started?", directory.display())]
    NotRunning {
        /// The data directory.
        directory: PathBuf,
    },
    /// The cluster was stopped, so it is not started again.
    #[error("the embedded PostgreSQL is stopping")]
    Stopped,
}

impl EmbeddedError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

fn found_clause(found: &[String]) -> String {
    if found.is_empty() {
        String::new()
    } else {
        format!(" (found: {})", found.join(", "))
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}
