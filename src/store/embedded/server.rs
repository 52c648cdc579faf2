//! One run of the server process: its command line, its start and its end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use super::access::Access;
use super::account::Account;
use super::binaries::Installation;
use super::error::EmbeddedError;
use super::place::Place;
use super::process::{PidFile, marker, signal};

const POLL: Duration = Duration::from_millis(20);
/// Recovery after a crash may have much to replay, so a live server is given long.
const START_PATIENCE: Duration = Duration::from_mins(5);
/// Once the server says that it is ready, connecting must work about at once.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// A fast shutdown writes a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
const REPORT_EVERY: Duration = Duration::from_secs(10);
const LOG_LIMIT: u64 = 16 * 1024 * 1024;
const LOG_TAIL: u64 = 4096;
/// Below the range that systems give to outgoing connections, so that nothing takes the port
/// while the server is being started again.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// What is the same for every run of a cluster's server.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) place: Place,
    pub(super) installation: Installation,
    pub(super) durable: bool,
}

/// How a start ended badly.
#[derive(Debug)]
pub(super) enum StartFailure {
    /// Another program was quicker to take the port: try the next.
    PortTaken(EmbeddedError),
    /// Trying again would not help.
    Final(EmbeddedError),
}

impl From<EmbeddedError> for StartFailure {
    fn from(error: EmbeddedError) -> Self {
        Self::Final(error)
    }
}

/// A command of PostgreSQL's that runs as the given user. Its environment is made anew: Plangate's
/// holds secrets, and PG* variables would change what the programs do.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs([("LC_ALL", "C"), ("TZ", "UTC")]);
    for inherited in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(inherited) {
            command.env(inherited, value);
        }
    }
    // Plangate's own working directory may be closed to that user.
    command.current_dir("/").stdin(Stdio::null());
    if let Some(account) = account {
        account.run(&mut command);
    }
    command
}

impl Blueprint {
    /// Starts the server and waits until it answers. Gives up as soon as `stopping` is set.
    pub(super) fn start(
        &self,
        access: &Access,
        stopping: &AtomicBool,
    ) -> Result<Child, StartFailure> {
        let (log, log_start) = self.open_log()?;
        let program = self.installation.postgres();
        let mut server = command(&program, self.place.account());
        server
            .arg("-D")
            .arg(self.place.cluster())
            .args(self.settings(access))
            .stdout(duplicate(&log, &self.place.log())?)
            .stderr(log)
            // Ctrl-C is for Plangate, which drains first and stops the server last.
            .process_group(0);
        let mut child = server.spawn().map_err(EmbeddedError::io("run", &program))?;
        match self.wait_until_ready(&mut child, access, log_start, stopping) {
            Ok(()) => Ok(child),
            Err(failure) => {
                end(&mut child);
                Err(failure)
            }
        }
    }

    /// The settings that Plangate relies on. On the command line nothing in the cluster's
    /// configuration files can override them.
    fn settings(&self, access: &Access) -> Vec<OsString> {
        let safe = if self.durable { "on" } else { "off" };
        // Quoted, since the setting is a list.
        let mut sockets = OsString::from("unix_socket_directories=\"");
        sockets.push(&access.socket_directory);
        sockets.push("\"");
        [
            format!("cluster_name={}", marker(&self.place.cluster())).into(),
            "listen_addresses=127.0.0.1".into(),
            format!("port={}", access.port).into(),
            sockets,
            "unix_socket_permissions=0700".into(),
            format!("fsync={safe}").into(),
            "synchronous_commit=on".into(),
            format!("full_page_writes={safe}").into(),
            "logging_collector=off".into(),
            "log_destination=stderr".into(),
            "timezone=UTC".into(),
            "log_timezone=UTC".into(),
        ]
        .into_iter()
        .flat_map(|setting: OsString| ["-c".into(), setting])
        .collect()
    }

    /// The log and where this run's part of it begins. One old log is kept.
    fn open_log(&self) -> Result<(File, u64), EmbeddedError> {
        let path = self.place.log();
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
            let old = path.with_extension("log.old");
            std::fs::rename(&path, &old).map_err(EmbeddedError::io("rename", &path))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(EmbeddedError::io("open", &path))?;
        let length = file
            .metadata()
            .map_err(EmbeddedError::io("inspect", &path))?
            .len();
        Ok((file, length))
    }

    fn wait_until_ready(
        &self,
        child: &mut Child,
        access: &Access,
        log_start: u64,
        stopping: &AtomicBool,
    ) -> Result<(), StartFailure> {
        let began = Instant::now();
        let mut ready_since = None;
        let mut next_report = REPORT_EVERY;
        let mut reason = "it is still recovering".to_owned();
        loop {
            let program = self.installation.postgres();
            if let Some(status) = child
                .try_wait()
                .map_err(EmbeddedError::io("wait for", &program))?
            {
                return Err(self.died(&status.to_string(), log_start));
            }
            if stopping.load(Ordering::SeqCst) {
                return Err(EmbeddedError::Stopped.into());
            }
            let says_ready = PidFile::read(&self.place.cluster())?
                .is_some_and(|file| file.ready && u32::try_from(file.pid) == Ok(child.id()));
            if says_ready {
                ready_since.get_or_insert_with(Instant::now);
                match PgConnection::establish(access.socket_url("postgres").expose_secret()) {
                    Ok(_) => return Ok(()),
                    Err(error) => reason = error.to_string(),
                }
            }
            let waited = began.elapsed();
            let unreachable = ready_since.is_some_and(|since| since.elapsed() > CONNECT_PATIENCE);
            if unreachable || waited > START_PATIENCE {
                return Err(StartFailure::Final(EmbeddedError::NotReady {
                    seconds: waited.as_secs(),
                    reason,
                    log: self.place.log(),
                    tail: tail(&self.place.log(), log_start),
                }));
            }
            if waited > next_report {
                next_report += REPORT_EVERY;
                tracing::info!(
                    seconds = waited.as_secs(),
                    "PostgreSQL is still starting; after a crash it recovers first"
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn died(&self, status: &str, log_start: u64) -> StartFailure {
        let log = self.place.log();
        let tail = tail(&log, log_start);
        let port_taken = tail.contains("could not bind IPv4 address");
        let error = EmbeddedError::Died {
            status: status.to_owned(),
            log,
            tail,
        };
        if port_taken {
            StartFailure::PortTaken(error)
        } else {
            StartFailure::Final(error)
        }
    }
}

/// Stops a server as `pg_ctl stop -m fast` does: sessions are ended, a checkpoint is written. One
/// that does not follow is told to quit and then killed; it recovers at the next start.
pub(super) fn end(child: &mut Child) {
    for (ask, patience) in [
        (Signal::SIGINT, STOP_PATIENCE),
        (Signal::SIGQUIT, QUIT_PATIENCE),
        (Signal::SIGKILL, QUIT_PATIENCE),
    ] {
        // A child that was waited for has its pid no more; `try_wait` knows.
        if has_ended(child) {
            return;
        }
        if let Ok(pid) = i32::try_from(child.id()) {
            signal(pid, ask);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if has_ended(child) {
                return;
            }
            std::thread::sleep(POLL);
        }
        tracing::warn!(signal = %ask, "PostgreSQL did not stop in time");
    }
}

/// Whether the server process has ended.
pub(super) fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Loopback ports that are free now. They begin at one that follows from the path, so that a data
/// directory usually has the same port from run to run.
pub(super) fn free_ports(hash: &str) -> impl Iterator<Item = u16> {
    let seed = u64::from_str_radix(hash, 16).unwrap_or_default();
    let first = u16::try_from(seed % u64::from(PORTS)).unwrap_or_default();
    (0..PORTS)
        .map(move |step| FIRST_PORT + (first + step) % PORTS)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

fn duplicate(file: &File, path: &Path) -> Result<File, EmbeddedError> {
    file.try_clone().map_err(EmbeddedError::io("open", path))
}

/// The end of a log, no further back than `from`.
fn tail(path: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(
        |error| format!("(unreadable: {error})"),
        |bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_this_runs_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("postgres.log");
        std::fs::write(&log, "yesterday\ntoday\n").unwrap();
        assert_eq!(tail(&log, 10), "today");
        std::fs::write(&log, "x".repeat(10_000)).unwrap();
        assert_eq!(tail(&log, 0).len(), 4096);
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let hash = "00000000000000ff";
        let port = free_ports(hash).next().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(free_ports(hash).next(), Some(port));
    }

    #[test]
    fn programs_get_none_of_our_environment_but_the_search_paths() {
        let command = command(Path::new("/bin/true"), None);
        let names: Vec<_> = command.get_envs().map(|(name, _)| name).collect();
        assert!(!names.iter().any(|name| *name == "HOME"));
        assert!(names.iter().any(|name| *name == "LC_ALL"));
    }
}
