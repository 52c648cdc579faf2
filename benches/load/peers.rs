//! What others do on the same machine: Redis without persistence, PostgreSQL without anything in front of it, and the disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::Outcome;
use crate::postgres::TEMPLATE;
use crate::process::{Server, finish, free_port, is_installed};
use crate::results::{Results, Sample, row};
use crate::stage::{Stage, sources};
use crate::targets::{CLIENTS, FEW};

const SLACK: Duration = Duration::from_mins(1);
/// Requests by which redis-benchmark finds out how many fill a run.
const REDIS_TRIAL: u64 = 100_000;

/// `redis-benchmark -t incr` against a server that keeps nothing.
pub(crate) fn redis(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    const NAME: &str = "redis incr";
    for program in ["redis-server", "redis-benchmark"] {
        if !is_installed(program) {
            results.skip(NAME, &format!("{program} is not installed"));
            return Ok(());
        }
    }
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &port.to_string()])
        .arg("--dir")
        .arg(stage.scratch.path());
    let server = Server::start(&mut command, port, &stage.scratch.log("redis"))?;
    let trial = incr(&server, REDIS_TRIAL)?;
    let requests = trial
        .per_second
        .saturating_mul(u64::from(stage.options.seconds));
    results.add(
        row(NAME, FEW),
        round,
        incr(&server, requests.max(REDIS_TRIAL))?,
    );
    Ok(())
}

fn incr(server: &Server, requests: u64) -> Outcome<Sample> {
    let mut command = Command::new("redis-benchmark");
    command
        .args(["-h", "127.0.0.1", "-p", &server.port.to_string()])
        .args(["-t", "incr", "-c", &FEW.to_string()])
        .args(["-n", &requests.to_string(), "--csv"]);
    let output = finish(&mut command, SLACK * 4)?.success("redis-benchmark")?;
    let mut lines = output.lines().map(fields);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(format!("redis-benchmark reported nothing:\n{output}").into());
    };
    let figures: HashMap<&str, &str> = names.into_iter().zip(values).collect();
    let figure = |name: &str, digits: u32| -> Outcome<u64> {
        figures
            .get(name)
            .and_then(|text| scaled(text, digits))
            .ok_or_else(|| format!("redis-benchmark reported no {name}:\n{output}").into())
    };
    Ok(Sample {
        answered: requests,
        per_second: figure("rps", 0)?,
        p50_us: Some(figure("p50_latency_ms", 3)?),
        p99_us: Some(figure("p99_latency_ms", 3)?),
        ..Sample::default()
    })
}

fn fields(line: &str) -> Vec<&str> {
    line.split(',')
        .map(|field| field.trim().trim_matches('"'))
        .collect()
}

/// The two statements of a minimal consume, among `customers`, straight into PostgreSQL.
pub(crate) fn pgbench(
    stage: &Stage,
    name: &'static str,
    customers: u32,
    round: u32,
    results: &mut Results,
) -> Outcome<()> {
    let Some(pgbench) = program("pgbench") else {
        results.skip(name, "pgbench is not installed");
        return Ok(());
    };
    // Beside the product's tables, which it leaves alone.
    let database = stage.postgres.copy(TEMPLATE, "bench_pgbench")?;
    let schema = fs::read_to_string(sources().join("pgbench_schema.sql"))?;
    stage.postgres.run(
        &database.name,
        &schema.replace(":customers", &customers.to_string()),
    )?;
    stage
        .postgres
        .run(&database.name, "VACUUM (ANALYZE) peer_counters")?;
    stage.postgres.checkpoint()?;
    let mut command = Command::new(pgbench);
    connect_by_environment(&mut command, &database.url)?;
    command
        .args(["-n", "-M", "prepared", "-c", &CLIENTS.to_string()])
        .args(["-j", "2", "-T", &stage.options.seconds.to_string()])
        .args(["-D", &format!("customers={customers}"), "-f"])
        .arg(sources().join("pgbench.sql"));
    let patience = Duration::from_secs(u64::from(stage.options.seconds)) + SLACK;
    let output = finish(&mut command, patience)?.success("pgbench")?;
    let figure = |prefix: &str, digits: u32| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(prefix))
            .and_then(|rest| scaled(rest, digits))
            .ok_or_else(|| format!("pgbench reported no \"{prefix}\":\n{output}"))
    };
    let sample = Sample {
        answered: figure("number of transactions actually processed: ", 0)?,
        per_second: figure("tps = ", 0)?,
        ..Sample::default()
    };
    results.add(row(name, CLIENTS), round, sample.without_failures());
    Ok(())
}

/// On the command line a password would show in the list of processes.
fn connect_by_environment(command: &mut Command, url: &SecretString) -> Outcome<()> {
    let url = Url::parse(url.expose_secret())?;
    let host = percent_decoded(url.host_str().unwrap_or_default())?;
    command
        .env("PGHOST", host)
        .env("PGPORT", url.port().unwrap_or(5432).to_string())
        .env("PGUSER", url.username())
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .env("PGDATABASE", url.path().trim_start_matches('/'));
    Ok(())
}

fn percent_decoded(text: &str) -> Outcome<String> {
    // The one place of the crate at hand that undoes percent signs is its form decoding, which takes no bare plus sign.
    let form = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| "a URL without a host".into())
}

/// What `pg_test_fsync` says of `fdatasync` on the directory's disk, microseconds for each; `None` where it is missing.
pub(crate) fn fdatasync_us(directory: &Path) -> Outcome<Option<u64>> {
    let Some(program) = program("pg_test_fsync") else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command
        .args(["-s", "1", "-f"])
        .arg(directory.join("pg_test_fsync.probe"));
    let output = finish(&mut command, SLACK * 2)?.success("pg_test_fsync")?;
    // As in `fdatasync    2341.123 ops/sec     427 usecs/op`; the first is of a single 8 kB write, as a small commit is.
    Ok(output
        .lines()
        .filter(|line| line.trim_start().starts_with("fdatasync"))
        .find_map(|line| {
            line.split_whitespace()
                .rev()
                .nth(1)
                .and_then(|word| word.parse().ok())
        }))
}

/// A program of PostgreSQL's, on the search path or where Debian keeps them, the newest first.
fn program(name: &str) -> Option<PathBuf> {
    if is_installed(name) {
        return Some(PathBuf::from(name));
    }
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop()
}

/// The decimal number at the beginning of a text, times ten to the power of `digits`, rounded down.
fn scaled(text: &str, digits: u32) -> Option<u64> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (whole, fraction) = text
        .get(..end)?
        .split_once('.')
        .unwrap_or((text.get(..end)?, ""));
    let fraction: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(usize::try_from(digits).ok()?)
        .collect();
    format!("{whole}{fraction}").parse().ok()
}
