//! Consumes on a large database: what stays fast when nothing fits a cache any more.

use std::fs;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::Outcome;
use crate::cases::add_audited;
use crate::http::Caller;
use crate::open_loop::{Asked, warm};
use crate::postgres::TEMPLATE;
use crate::process::Server;
use crate::results::{Results, Row, Sample, row};
use crate::stage::Stage;
use crate::targets::{FEW, MANY};
use crate::wrk::{Crowd, Script};

const DATABASE: &str = "bench_large";
/// Bounds the generation, which takes a few minutes.
const GENERATION_LIMIT: &str = "SET statement_timeout = '30min'";
/// For this session alone: three indexes are built over ten million rows.
const GENERATION_MEMORY: &str = "SET maintenance_work_mem = '1GB'; SET work_mem = '256MB'";
/// Customers asked for once before a run among everyone.
const STRANGERS: usize = 2_000;

/// Makes the database that all rounds share, and proves its counters.
pub(crate) fn make(stage: &Stage) -> Outcome<()> {
    let began = Instant::now();
    // Kept until the cluster goes.
    std::mem::forget(stage.postgres.copy(TEMPLATE, DATABASE)?);
    let mut conn = stage.postgres.connect(DATABASE)?;
    conn.batch_execute(GENERATION_LIMIT)?;
    conn.batch_execute(GENERATION_MEMORY)?;
    diesel::sql_query("SELECT set_config('bench.customers', $1, false)")
        .bind::<diesel::sql_types::Text, _>(stage.options.large_customers.to_string())
        .execute(&mut conn)?;
    conn.batch_execute(include_str!("large.sql"))?;
    let generated = began.elapsed();
    for table in ["customers", "usage_metrics", "usage_events"] {
        diesel::sql_query(format!("VACUUM (ANALYZE) {table}")).execute(&mut conn)?;
    }
    stage.postgres.checkpoint()?;
    stage.verify(&stage.postgres.url(DATABASE)?)?;
    let size = stage.postgres.number(
        DATABASE,
        "SELECT pg_database_size(current_database()) / 1048576 AS number",
    )?;
    crate::tell(format_args!(
        "large database: {} customers, {} ledger rows, {size} MiB; generated in {} s, vacuumed and verified by {} s",
        stage.options.large_customers,
        stage.ledger_rows(DATABASE)?,
        generated.as_secs(),
        began.elapsed().as_secs(),
    ));
    Ok(())
}

/// One process: the hot customer, as many customers as in the spread case but strewn over all, then all of them, and at last
/// its memory.
pub(crate) fn run(stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let url = stage.postgres.url(DATABASE)?;
    let before = stage.ledger_rows(DATABASE)?;
    let mut server = stage.plangate(&url)?;
    let all = stage.options.large_customers;
    let strewn = Crowd {
        first: 1,
        count: stage.options.customers,
        stride: all / stage.options.customers,
    };
    let everyone = Crowd {
        first: 1,
        count: all,
        stride: 1,
    };
    let mut acknowledged = 0;
    let mut measured: Vec<(Row, Sample)> = Vec::new();
    for (name, crowd) in [("large hot", Crowd::HOT), ("large spread", strewn)] {
        let token = format!("{name}-{round}");
        acknowledged += stage.warm(&server, crowd, &token)?;
        for connections in [FEW, MANY] {
            let sample = stage.load(Script::Consume, &mut server, connections, crowd)?;
            acknowledged += sample.answered;
            measured.push((row(name, connections), sample.without_failures()));
        }
    }
    let sample = stage.load(Script::Consume, &mut server, FEW, everyone)?;
    acknowledged += sample.answered;
    measured.push((row("large everyone", FEW), sample.without_failures()));
    fill_snapshots(stage, &mut server, everyone, round, &mut measured)?;
    results.resident_kib.push(resident_kib(&server)?);
    drop(server);
    let audited = stage.audit(DATABASE, &url, before, acknowledged);
    add_audited(measured, audited, round, results);
    Ok(())
}

/// Checks of everyone: whatever is kept in memory for a customer is kept for as many as it ever will be.
fn fill_snapshots(
    stage: &Stage,
    server: &mut Server,
    everyone: Crowd,
    round: u32,
    measured: &mut Vec<(Row, Sample)>,
) -> Outcome<()> {
    let caller = Caller::new(&stage.keys, &format!("fill-{round}"))?;
    let strangers = everyone.members().take(STRANGERS);
    warm(Asked::Check, server.port, caller, strangers)?;
    let sample = stage.load(Script::Check, server, FEW, everyone)?;
    measured.push((row("large check everyone", FEW), sample.without_failures()));
    Ok(())
}

/// `VmRSS` of a process.
fn resident_kib(server: &Server) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .ok_or("no VmRSS in /proc")?;
    Ok(resident)
}
