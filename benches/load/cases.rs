//! What is measured, and how one run of each is made. A run has a database and a process of its own, so that no run lives off
//! another; only the large database is made once.

use clap::ValueEnum;
use secrecy::SecretString;

use crate::Outcome;
use crate::http::Caller;
use crate::large;
use crate::open_loop::{self, Asked, warm};
use crate::peers;
use crate::postgres::TEMPLATE;
use crate::process::Server;
use crate::results::{Results, Row, Sample, row};
use crate::stage::Stage;
use crate::targets::{FEW, MANY, TOO_MANY};
use crate::wrk::{Crowd, Script};

/// A database of one run.
const RUN: &str = "bench_run";
/// Requests before the first one that counts, where a single customer is asked for.
const WARMING: usize = 2_000;
/// Of saturation, in percent, for the open loop.
const COMFORT: u64 = 70;

/// A case: runs that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// The web server with a handler that does nothing
    Bare,
    /// A check of one customer
    Check,
    /// A consume of one customer
    ConsumeHot,
    /// A consume of many customers
    ConsumeSpread,
    /// The same in a transaction for each request, one customer
    ConsumeTxHot,
    /// The same in a transaction for each request, many customers
    ConsumeTxSpread,
    /// A reservation and its commit, one customer
    ReserveCommit,
    /// redis-benchmark's INCR, without persistence
    Redis,
    /// pgbench with the statements of a minimal consume, one customer
    PgbenchHot,
    /// pgbench with the statements of a minimal consume, many customers
    PgbenchSpread,
    /// Consumes with four times the connections that saturate
    Overload,
    /// Consumes at 70 % of saturation, whether answered or not
    OpenLoop,
    /// Consumes on a database of a million customers and ten million ledger rows
    Large,
}

/// Which server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Plangate,
    Baseline,
}

impl Case {
    /// Makes one run. What it cannot measure here is noted as skipped.
    pub(crate) fn run(self, stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
        let spread = stage.spread();
        match self {
            Self::Bare => bare(stage, round, results),
            Self::Check => check(stage, round, results),
            Self::ConsumeHot => {
                let name = "consume hot";
                consume(stage, Subject::Plangate, Crowd::HOT, name, round, results)
            }
            Self::ConsumeSpread => {
                let name = "consume spread";
                consume(stage, Subject::Plangate, spread, name, round, results)
            }
            Self::ConsumeTxHot => {
                let name = "consume_tx hot";
                consume(stage, Subject::Baseline, Crowd::HOT, name, round, results)
            }
            Self::ConsumeTxSpread => {
                let name = "consume_tx spread";
                consume(stage, Subject::Baseline, spread, name, round, results)
            }
            Self::ReserveCommit => reserve_commit(stage, round, results),
            Self::Redis => peers::redis(stage, round, results),
            Self::PgbenchHot => peers::pgbench(stage, "pgbench hot", 1, round, results),
            Self::PgbenchSpread => {
                peers::pgbench(stage, "pgbench spread", spread.count, round, results)
            }
            Self::Overload => overload(stage, round, results),
            Self::OpenLoop => open(stage, round, results),
            Self::Large => large::run(stage, round, results),
        }
    }
}

impl Stage {
    /// The customers of the spread cases.
    pub(crate) fn spread(&self) -> Crowd {
        Crowd {
            first: 1,
            count: self.options.customers,
            stride: 1,
        }
    }

    /// The server of a subject on this database.
    pub(crate) fn serve(&self, subject: Subject, url: &SecretString) -> Outcome<Server> {
        match subject {
            Subject::Plangate => self.plangate(url),
            Subject::Baseline => self.baseline(url),
        }
    }

    /// Warms a consuming server up: every customer once, a single one often. Returns how many requests that took.
    pub(crate) fn warm(&self, server: &Server, crowd: Crowd, token: &str) -> Outcome<u64> {
        let caller = Caller::new(&self.keys, token)?;
        let least = WARMING.max(usize::try_from(crowd.count)?);
        let customers = crowd.members().cycle().take(least);
        warm(Asked::Consume, server.port, caller, customers)
    }

    /// One run of wrk behind a checkpoint. A server that ended is an error of its own.
    pub(crate) fn load(
        &self,
        script: Script,
        server: &mut Server,
        connections: u32,
        crowd: Crowd,
    ) -> Outcome<Sample> {
        self.postgres.checkpoint()?;
        let seconds = self.options.seconds;
        let sample = self
            .wrk
            .run(script, server.port, connections, crowd, seconds)?;
        server.still_runs()?;
        Ok(sample)
    }

    /// Whether a database kept what was acknowledged: `acknowledged` more ledger rows than `before` at least, and counters that
    /// equal their ledger. A run that did not is void, however fast it was.
    pub(crate) fn audit(
        &self,
        name: &str,
        url: &SecretString,
        before: i64,
        acknowledged: u64,
    ) -> Outcome<()> {
        let rows = self.ledger_rows(name)?.saturating_sub(before);
        if u64::try_from(rows).unwrap_or(0) < acknowledged {
            let lost = format!("{acknowledged} were acknowledged, the ledger has {rows}");
            return Err(lost.into());
        }
        self.verify(url)
    }

    /// Size of the ledger.
    pub(crate) fn ledger_rows(&self, name: &str) -> Outcome<i64> {
        self.postgres
            .number(name, "SELECT count(*) AS number FROM usage_events")
    }
}

fn bare(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let mut server = stage.bare()?;
    let caller = Caller::new(&stage.keys, "warm")?;
    let customers = Crowd::HOT.members().cycle().take(WARMING);
    warm(Asked::Check, server.port, caller, customers)?;
    for connections in [FEW, MANY] {
        let sample = stage.load(Script::Check, &mut server, connections, Crowd::HOT)?;
        results.add(row("bare", connections), round, sample.without_failures());
    }
    Ok(())
}

fn check(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let database = stage.postgres.copy(TEMPLATE, RUN)?;
    let mut server = stage.plangate(&database.url)?;
    // A customer with usage: one that was never seen would be quicker to answer for.
    stage.warm(&server, Crowd::HOT, "warm")?;
    let caller = Caller::new(&stage.keys, "check")?;
    let customers = Crowd::HOT.members().cycle().take(WARMING);
    warm(Asked::Check, server.port, caller, customers)?;
    for connections in [FEW, MANY] {
        let sample = stage.load(Script::Check, &mut server, connections, Crowd::HOT)?;
        results.add(row("check", connections), round, sample.without_failures());
    }
    Ok(())
}

fn consume(
    stage: &Stage,
    subject: Subject,
    crowd: Crowd,
    name: &'static str,
    round: u32,
    results: &mut Results,
) -> Outcome<()> {
    let database = stage.postgres.copy(TEMPLATE, RUN)?;
    let mut server = stage.serve(subject, &database.url)?;
    let mut acknowledged = stage.warm(&server, crowd, "warm")?;
    let mut measured: Vec<(Row, Sample)> = Vec::new();
    for connections in [FEW, MANY] {
        let sample = stage.load(Script::Consume, &mut server, connections, crowd)?;
        acknowledged += sample.answered;
        measured.push((row(name, connections), sample.without_failures()));
    }
    drop(server);
    let audited = stage.audit(&database.name, &database.url, 0, acknowledged);
    add_audited(measured, audited, round, results);
    Ok(())
}

/// Adds the samples of one database, as void where it was found wanting.
pub(crate) fn add_audited(
    measured: Vec<(Row, Sample)>,
    audited: Outcome<()>,
    round: u32,
    results: &mut Results,
) {
    let fault = audited.err().map(|error| error.to_string());
    for (row, mut sample) in measured {
        if fault.is_some() {
            sample.fault.clone_from(&fault);
        }
        results.add(row, round, sample);
    }
}

fn reserve_commit(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    if !stage.probe.reservations {
        results.skip("reserve_commit", "POST /reservations answers 404");
        return Ok(());
    }
    let database = stage.postgres.copy(TEMPLATE, RUN)?;
    let mut server = stage.plangate(&database.url)?;
    let mut acknowledged = stage.warm(&server, Crowd::HOT, "warm")?;
    let mut measured = Vec::new();
    for connections in [FEW, MANY] {
        let sample = stage.load(Script::ReserveCommit, &mut server, connections, Crowd::HOT)?;
        acknowledged += sample.answered;
        measured.push((
            row("reserve_commit", connections),
            sample.without_failures(),
        ));
    }
    drop(server);
    let audited = stage.audit(&database.name, &database.url, 0, acknowledged);
    add_audited(measured, audited, round, results);
    Ok(())
}

fn overload(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let crowd = stage.spread();
    let database = stage.postgres.copy(TEMPLATE, RUN)?;
    let mut server = stage.plangate(&database.url)?;
    let warmed = stage.warm(&server, crowd, "warm")?;
    // Refusals are what overload is about: they stand in the table and are not counted as answered.
    let sample = stage.load(Script::Consume, &mut server, TOO_MANY, crowd)?;
    drop(server);
    let acknowledged = warmed + sample.answered;
    let audited = stage.audit(&database.name, &database.url, 0, acknowledged);
    let measured = vec![(row("overload", TOO_MANY), sample)];
    add_audited(measured, audited, round, results);
    Ok(())
}

fn open(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let (crowd, seconds) = (stage.spread(), stage.options.seconds);
    let database = stage.postgres.copy(TEMPLATE, RUN)?;
    let mut server = stage.plangate(&database.url)?;
    let warmed = stage.warm(&server, crowd, "warm")?;
    let saturated = stage.load(Script::Consume, &mut server, MANY, crowd)?;
    let per_second = saturated.per_second.saturating_mul(COMFORT) / 100;
    stage.postgres.checkpoint()?;
    let caller = Caller::new(&stage.keys, "open")?;
    let port = server.port;
    let sample = open_loop::run(Asked::Consume, port, caller, crowd, per_second, seconds)?;
    server.still_runs()?;
    drop(server);
    let acknowledged = warmed + saturated.answered + sample.answered;
    let audited = stage.audit(&database.name, &database.url, 0, acknowledged);
    let row_of_consume = row("open loop consume", open_loop::CONNECTIONS);
    let measured = vec![(row_of_consume, sample.without_failures())];
    add_audited(measured, audited, round, results);

    let server = stage.bare()?;
    let caller = Caller::new(&stage.keys, "bare")?;
    let port = server.port;
    let sample = open_loop::run(Asked::Check, port, caller, crowd, per_second, seconds)?;
    results.add(
        row("open loop bare", open_loop::CONNECTIONS),
        round,
        sample.without_failures(),
    );
    Ok(())
}
