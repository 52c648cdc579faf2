//! Driving wrk, and understanding what its scripts report.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;

use crate::Outcome;
use crate::process::{finish, is_installed};
use crate::results::{Failures, Sample};
use crate::stage::sources;

/// Longer than any answer should take; what is slower counts as an error.
const TIMEOUT: &str = "10s";
/// How much longer than its run wrk may take: connecting, and answers under way.
const SLACK: Duration = Duration::from_secs(40);
const MOST_THREADS: u32 = 2;

/// Among whom a run chooses: `count` customers from `first` on, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) stride: u32,
}

impl Crowd {
    /// A single customer.
    pub(crate) const HOT: Self = Self {
        first: 1,
        count: 1,
        stride: 1,
    };

    /// Every one of them.
    pub(crate) fn members(self) -> impl Iterator<Item = u32> + Clone {
        (0..self.count).map(move |index| self.member(index))
    }

    /// One of them.
    pub(crate) fn member(self, index: u32) -> u32 {
        self.first
            .saturating_add(self.stride.saturating_mul(index % self.count.max(1)))
    }
}

/// The scripts that make the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// `POST /entitlements/check`.
    Check,
    /// `POST /entitlements/consume`.
    Consume,
    /// `POST /reservations`, then its commit.
    ReserveCommit,
}

impl Script {
    const fn file(self) -> &'static str {
        match self {
            Self::Check => "check.lua",
            Self::Consume => "consume.lua",
            Self::ReserveCommit => "reserve_commit.lua",
        }
    }
}

/// The load generator.
#[derive(Debug)]
pub(crate) struct Wrk {
    keys_file: PathBuf,
    runs: AtomicU32,
}

/// What `done` in `shared.lua` prints.
#[derive(Debug, Deserialize)]
struct Report {
    duration_us: u64,
    requests: u64,
    status: u64,
    connect: u64,
    read: u64,
    write: u64,
    timeout: u64,
    p50_us: u64,
    p99_us: u64,
    commits: u64,
}

impl Wrk {
    /// Fails early and says what to do where wrk is missing.
    pub(crate) fn required() -> Outcome<()> {
        if is_installed("wrk") {
            return Ok(());
        }
        Err("wrk is not installed; it makes the load: apt-get install wrk".into())
    }

    /// wrk, whose scripts read the API keys from this file.
    pub(crate) fn new(keys_file: PathBuf) -> Self {
        Self {
            keys_file,
            runs: AtomicU32::new(0),
        }
    }

    /// Loads a server and returns what was answered well, and what was not. Reserve and commit count as pairs.
    pub(crate) fn run(
        &self,
        script: Script,
        port: u16,
        connections: u32,
        crowd: Crowd,
        seconds: u32,
    ) -> Outcome<Sample> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new("wrk");
        command
            .args(["-t", &MOST_THREADS.min(connections).to_string()])
            .args(["-c", &connections.to_string()])
            .args(["-d", &format!("{seconds}s"), "--timeout", TIMEOUT])
            .arg("-s")
            .arg(sources().join(script.file()))
            .arg(format!("http://127.0.0.1:{port}"))
            .arg("--")
            .arg(&self.keys_file)
            .args([crowd.first, crowd.count, crowd.stride].map(|number| number.to_string()))
            .arg(format!("run{run:05}"));
        let patience = Duration::from_secs(u64::from(seconds)) + SLACK;
        let output = finish(&mut command, patience)?.success("wrk")?;
        let report: Report = output
            .lines()
            .find_map(|line| line.strip_prefix("RESULT "))
            .ok_or_else(|| format!("wrk reported nothing:\n{output}"))
            .and_then(|json| serde_json::from_str(json).map_err(|error| error.to_string()))?;
        let answered = match script {
            Script::ReserveCommit => report.commits,
            Script::Check | Script::Consume => report.requests.saturating_sub(report.status),
        };
        Ok(Sample {
            answered,
            per_second: answered.saturating_mul(1_000_000) / report.duration_us.max(1),
            p50_us: Some(report.p50_us),
            p99_us: Some(report.p99_us),
            failures: Failures {
                status: report.status,
                socket: report.connect + report.read + report.write,
                timeout: report.timeout,
            },
            fault: None,
        })
    }
}
