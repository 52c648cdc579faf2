//! From one connection to a thousand: where throughput saturates, and what latency does then.

use serde::Serialize;

use crate::Outcome;
use crate::cases::Subject;
use crate::postgres::TEMPLATE;
use crate::process::Server;
use crate::results::Sample;
use crate::stage::Stage;
use crate::wrk::{Crowd, Script};

const CONNECTIONS: [u32; 6] = [1, 4, 16, 64, 256, 1024];

/// One measurement of the sweep.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    pub(crate) series: &'static str,
    pub(crate) connections: u32,
    pub(crate) sample: Sample,
}

/// Measures every series once at each number of connections.
pub(crate) fn run(stage: &Stage) -> Outcome<Vec<Point>> {
    let spread = stage.spread();
    let mut points = Vec::new();
    let mut bare = stage.bare()?;
    along(
        stage,
        "bare handler",
        Script::Check,
        &mut bare,
        Crowd::HOT,
        &mut points,
    )?;
    drop(bare);
    for (series, script, subject, crowd) in [
        ("check", Script::Check, Subject::Plangate, Crowd::HOT),
        (
            "consume, one customer",
            Script::Consume,
            Subject::Plangate,
            Crowd::HOT,
        ),
        (
            "consume, many customers",
            Script::Consume,
            Subject::Plangate,
            spread,
        ),
        (
            "transaction per request, one customer",
            Script::Consume,
            Subject::Baseline,
            Crowd::HOT,
        ),
    ] {
        let database = stage.postgres.copy(TEMPLATE, "bench_sweep")?;
        let mut server = stage.serve(subject, &database.url)?;
        stage.warm(&server, crowd, "warm")?;
        along(stage, series, script, &mut server, crowd, &mut points)?;
    }
    Ok(points)
}

fn along(
    stage: &Stage,
    series: &'static str,
    script: Script,
    server: &mut Server,
    crowd: Crowd,
    points: &mut Vec<Point>,
) -> Outcome<()> {
    for connections in CONNECTIONS {
        let sample = stage
            .load(script, server, connections, crowd)?
            .without_failures();
        crate::tell(format_args!(
            "sweep: {series}, {connections} connections: {} /s{}",
            sample.per_second,
            sample
                .fault
                .as_deref()
                .map_or(String::new(), |fault| format!(" ({fault})"))
        ));
        points.push(Point {
            series,
            connections,
            sample,
        });
    }
    Ok(())
}
