//! The processes of a cluster: which ones run on it, and ending those that an earlier run left.
//! Only processes that verifiably belong to the cluster are ever signalled; a pid in a file is
//! not proof, since pids are used again.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::EmbeddedError;
use super::place::short_hash;

const POLL: Duration = Duration::from_millis(20);

/// What a server's `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    pub(super) port: u16,
    pub(super) socket_directory: PathBuf,
    /// It accepts connections.
    pub(super) ready: bool,
}

impl PidFile {
    /// Reads a cluster's pid file; `None` where there is none, or it is not complete yet.
    pub(super) fn read(cluster: &Path) -> Result<Option<Self>, EmbeddedError> {
        let path = cluster.join("postmaster.pid");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io("read", &path)(error)),
        }
    }

    /// The lines are: pid, data directory, start time, port, socket directory, listen address,
    /// shared memory, status.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let pid = number(lines.next()?)?;
        let port = number(lines.nth(2)?)?;
        let socket_directory = PathBuf::from(OsStr::from_bytes(lines.next()?));
        let ready = lines.nth(2) == Some(b"ready");
        Some(Self {
            pid,
            port,
            socket_directory,
            ready,
        })
    }
}

fn number<T: std::str::FromStr>(line: &[u8]) -> Option<T> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// The name that a cluster's processes carry in their titles (`cluster_name`).
pub(super) fn marker(cluster: &Path) -> String {
    format!("plangate-{}", short_hash(cluster))
}

/// Every process that runs on the cluster.
pub(super) fn of_cluster(cluster: &Path) -> Vec<i32> {
    let marker = marker(cluster);
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return listed_by_ps(&marker);
    };
    // The operator may have made it a link to another disk.
    let directory = cluster
        .canonicalize()
        .unwrap_or_else(|_| cluster.to_path_buf());
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| belongs(*pid, &directory, &marker))
        .collect()
}

/// Whether a process is a PostgreSQL that runs on the cluster. Its working directory proves it.
/// Where the kernel hides that (another user's process, in a container), its title has to do.
fn belongs(pid: i32, cluster: &Path, marker: &str) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let is_server = std::fs::read_to_string(process.join("comm"))
        .is_ok_and(|name| name.contains("postgres") || name.contains("postmaster"));
    if !is_server {
        return false;
    }
    match std::fs::read_link(process.join("cwd")) {
        Ok(directory) => directory == cluster,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            std::fs::read(process.join("cmdline"))
                .is_ok_and(|title| String::from_utf8_lossy(&title).contains(marker))
        }
        Err(_) => false,
    }
}

/// For systems without `/proc`.
fn listed_by_ps(marker: &str) -> Vec<i32> {
    let Ok(output) = Command::new("ps").args(["-axo", "pid=,command="]).output() else {
        return Vec::new();
    };
    parse_ps(&String::from_utf8_lossy(&output.stdout), marker)
}

fn parse_ps(listing: &str, marker: &str) -> Vec<i32> {
    listing
        .lines()
        .filter_map(|line| line.trim_start().split_once(' '))
        .filter(|(_, title)| title.contains("postgres") && title.contains(marker))
        .filter_map(|(pid, _)| pid.parse().ok())
        .collect()
}

/// Ends whatever an earlier run left on the cluster, as gently as it lets us: a server is asked to
/// shut down; backends without a server are told to quit; what stays is killed. The cluster
/// recovers from each of these. Afterwards nothing keeps a new server from starting.
pub(super) fn end_leftovers(cluster: &Path) -> Result<(), EmbeddedError> {
    let mut left = of_cluster(cluster);
    if !left.is_empty() {
        tracing::warn!(
            pids = ?left,
            "an earlier PostgreSQL still runs on the data directory; it is stopped"
        );
        let server = PidFile::read(cluster)?
            .map(|file| file.pid)
            .filter(|pid| left.contains(pid));
        if let Some(server) = server {
            signal(server, Signal::SIGINT);
            left = wait_for_end(cluster, Duration::from_secs(20));
        }
        for (harder, patience) in [
            (Signal::SIGQUIT, Duration::from_secs(5)),
            (Signal::SIGKILL, Duration::from_secs(10)),
        ] {
            for pid in left {
                signal(pid, harder);
            }
            left = wait_for_end(cluster, patience);
        }
    }
    if left.is_empty() {
        remove_stale_pid_file(cluster)
    } else {
        Err(EmbeddedError::Leftovers {
            directory: cluster.to_path_buf(),
            pids: left,
        })
    }
}

/// Sends a signal; a process that has gone meanwhile is what was wanted.
pub(super) fn signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal)
        && error != Errno::ESRCH
    {
        tracing::warn!(pid, %signal, %error, "a signal could not be sent");
    }
}

fn wait_for_end(cluster: &Path, patience: Duration) -> Vec<i32> {
    let deadline = Instant::now() + patience;
    loop {
        let left = of_cluster(cluster);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(POLL);
    }
}

/// PostgreSQL clears a dead server's pid file itself, but refuses to where another process has
/// that pid now. Nothing runs on the cluster, so then the file goes.
fn remove_stale_pid_file(cluster: &Path) -> Result<(), EmbeddedError> {
    let path = cluster.join("postmaster.pid");
    let pid = std::fs::read(&path).ok().and_then(|bytes| {
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        number::<i32>(line.trim_ascii())
    });
    let taken = pid.is_none_or(|pid| kill(Pid::from_raw(pid.abs()), None) != Err(Errno::ESRCH));
    if !taken {
        return Ok(());
    }
    match std::fs::remove_file(&path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "a stale pid file was removed");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EmbeddedError::io("remove", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &[u8] = b"4711\n/data/postgres\n1700000000\n20123\n/data/socket\n127.0.0.1\n  \
                           5432001   3\nready   \n";

    #[test]
    fn a_pid_file_is_read_line_by_line() {
        let file = PidFile::parse(READY).unwrap();
        assert_eq!(file.pid, 4711);
        assert_eq!(file.port, 20123);
        assert_eq!(file.socket_directory, Path::new("/data/socket"));
        assert!(file.ready);
    }

    #[test]
    fn a_server_that_recovers_or_has_just_begun_is_not_ready() {
        let starting = b"4711\n/d\n17\n20123\n/s\n127.0.0.1\n1 2\nstarting\n";
        assert!(!PidFile::parse(starting).unwrap().ready);
        assert!(!PidFile::parse(b"4711\n/d\n17\n20123\n/s\n").unwrap().ready);
        assert_eq!(PidFile::parse(b"4711\n/d\n"), None);
        assert_eq!(PidFile::parse(b""), None);
    }

    #[test]
    fn only_processes_with_the_marker_are_picked_from_a_listing() {
        let listing = "  1 /sbin/launchd\n\
                       20 /opt/bin/postgres -D /d -c cluster_name=plangate-aa\n\
                       21 postgres: plangate-aa: checkpointer\n\
                       22 postgres: plangate-bb: checkpointer\n\
                       23 tail -f plangate-aa.log\n";
        assert_eq!(parse_ps(listing, "plangate-aa"), [20, 21]);
    }

    #[test]
    fn a_stranger_with_the_pid_of_a_dead_server_is_left_alone() {
        let cluster = tempfile::tempdir().unwrap();
        let path = cluster.path().join("postmaster.pid");
        let stranger = std::process::id();
        std::fs::write(
            &path,
            format!("{stranger}\n/d\n17\n5432\n/s\n\n1 2\nready\n"),
        )
        .unwrap();
        end_leftovers(cluster.path()).unwrap();
        assert!(!path.exists());
    }
}
