//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use crate::Outcome;
use crate::process::finish;
use crate::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's line. Whatever cannot be found out is left empty.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    date: String,
    commit: String,
    cores: usize,
    processor: String,
    memory_mib: u64,
    kernel: String,
    file_system: String,
    load_average: String,
    rust: String,
    wrk: String,
    postgres: Vec<String>,
    log_level: &'static str,
}

impl Machine {
    /// Looks around.
    pub(crate) fn describe(stage: &Stage) -> Outcome<Self> {
        Ok(Self {
            date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
            commit: said(
                "git",
                &[
                    "-C",
                    env!("CARGO_MANIFEST_DIR"),
                    "describe",
                    "--always",
                    "--dirty",
                ],
            ),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: line_of("/proc/cpuinfo", "model name"),
            memory_mib: line_of("/proc/meminfo", "MemTotal")
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .map_or(0, |kib| kib / 1024),
            kernel: file("/proc/sys/kernel/osrelease"),
            file_system: file_system(stage.scratch.path()),
            load_average: file("/proc/loadavg"),
            rust: said("rustc", &["--version"]),
            wrk: said("wrk", &["--version"]),
            postgres: stage.postgres.settings()?,
            log_level: "warn",
        })
    }

    /// Everything in a few lines of Markdown.
    pub(crate) fn lines(&self) -> String {
        let Self {
            date,
            commit,
            cores,
            processor,
            memory_mib,
            kernel,
            file_system,
            load_average,
            rust,
            wrk,
            log_level,
            ..
        } = self;
        let postgres = self.postgres.join(", ");
        format!(
            "{date}, commit {commit}. {cores} cores ({processor}), {memory_mib} MiB, Linux {kernel}, data on {file_system}, load average at \
             the start {load_average}.\n{rust}; {wrk}.\nPostgreSQL: {postgres}. Plangate's log level: {log_level}.\n"
        )
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What follows the colon in the first line that begins so.
fn line_of(path: &str, name: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// The first line that a program says, whatever its exit code: wrk's version comes with a failure.
fn said(program: &str, arguments: &[&str]) -> String {
    finish(Command::new(program).args(arguments), PATIENCE)
        .ok()
        .and_then(|finished| {
            let said = format!("{}{}", finished.stdout, finished.stderr);
            said.lines().next().map(|line| line.trim().to_owned())
        })
        .unwrap_or_default()
}

fn file_system(directory: &Path) -> String {
    let directory = directory.to_string_lossy();
    said("stat", &["-f", "-c", "%T", &directory])
}
