//! The ratios that Plangate has to reach, and whether it does. Ratios are hundredths: 85 is 0.85.

use serde::Serialize;

use crate::results::{Results, Row, Spread, row};

/// The number of connections that most targets speak of.
pub(crate) const FEW: u32 = 64;
/// The number that saturates.
pub(crate) const MANY: u32 = 256;
/// Four times that.
pub(crate) const TOO_MANY: u32 = 1024;
/// pgbench's clients.
pub(crate) const CLIENTS: u32 = 16;

/// A target: one row in proportion to the best of others.
#[derive(Debug)]
struct Target {
    name: &'static str,
    of: Row,
    to: &'static [Row],
    /// Hundredths; `None`: printed for comparison only.
    wanted: Option<Wanted>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Wanted {
    /// Short of it, the work is not done.
    pub(crate) at_least: u64,
    /// What it should be.
    pub(crate) aim: u64,
}

const fn wanted(at_least: u64, aim: u64) -> Wanted {
    Wanted { at_least, aim }
}

const TARGETS: [Target; 12] = [
    Target {
        name: "check / bare handler, c=64",
        of: row("check", FEW),
        to: &[row("bare", FEW)],
        wanted: Some(wanted(60, 85)),
    },
    Target {
        name: "consume, hot, c=64 / transaction per request",
        of: row("consume hot", FEW),
        to: &[row("consume_tx hot", FEW)],
        wanted: Some(wanted(1200, 1700)),
    },
    Target {
        name: "consume, spread, c=64 / transaction per request",
        of: row("consume spread", FEW),
        to: &[row("consume_tx spread", FEW)],
        wanted: Some(wanted(400, 600)),
    },
    Target {
        name: "consume, hot, c=64 / pgbench, hot, c=16",
        of: row("consume hot", FEW),
        to: &[row("pgbench hot", CLIENTS)],
        wanted: Some(wanted(800, 1200)),
    },
    Target {
        name: "consume, spread, c=256 / pgbench, spread, c=16",
        of: row("consume spread", MANY),
        to: &[row("pgbench spread", CLIENTS)],
        wanted: Some(wanted(200, 300)),
    },
    Target {
        name: "consume, hot, c=64 / redis-benchmark incr, c=64",
        of: row("consume hot", FEW),
        to: &[row("redis incr", FEW)],
        wanted: Some(wanted(15, 25)),
    },
    Target {
        name: "reserve + commit pairs / consume, hot, c=64",
        of: row("reserve_commit", FEW),
        to: &[row("consume hot", FEW)],
        wanted: Some(wanted(25, 40)),
    },
    Target {
        name: "large database / empty: consume, hot, c=64",
        of: row("large hot", FEW),
        to: &[row("consume hot", FEW)],
        wanted: Some(wanted(85, 100)),
    },
    Target {
        name: "large database / empty: consume, spread, c=64",
        of: row("large spread", FEW),
        to: &[row("consume spread", FEW)],
        wanted: Some(wanted(60, 80)),
    },
    Target {
        name: "large database / empty: consume, spread, c=256",
        of: row("large spread", MANY),
        to: &[row("consume spread", MANY)],
        wanted: None,
    },
    Target {
        name: "consume among all customers of the large database / spread, c=64",
        of: row("large everyone", FEW),
        to: &[row("consume spread", FEW)],
        wanted: None,
    },
    Target {
        name: "consume, spread, c=1024 (2xx only) / its best",
        of: row("overload", TOO_MANY),
        to: &[row("consume spread", FEW), row("consume spread", MANY)],
        wanted: Some(wanted(80, 100)),
    },
];

/// p99 at 70 % of saturation that a quiet machine should stay under.
pub(crate) const P99_AIM_US: u64 = 10_000;
/// Resident memory after the large run, KiB.
pub(crate) const MEMORY_MOST_KIB: u64 = 256 * 1024;
/// The same, aimed at.
pub(crate) const MEMORY_AIM_KIB: u64 = 128 * 1024;

/// How a ratio turned out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    /// Of the medians, in hundredths; `None`: one side was not measured.
    pub(crate) hundredths: Option<u64>,
    /// Of the rounds, each by itself.
    pub(crate) rounds: Option<Spread>,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) verdict: &'static str,
}

/// The ratios of these results.
pub(crate) fn ratios(results: &Results, rounds: u32) -> Vec<Ratio> {
    TARGETS
        .iter()
        .map(|target| {
            let best = |rate: &dyn Fn(Row) -> Option<u64>| {
                target.to.iter().filter_map(|row| rate(*row)).max()
            };
            let median = |row: Row| results.rate(row).map(|spread| spread.median);
            let hundredths = in_hundredths(median(target.of), best(&median));
            let each = (0..rounds).filter_map(|round| {
                let rate = |row: Row| results.rate_in(row, round);
                in_hundredths(rate(target.of), best(&rate))
            });
            Ratio {
                name: target.name,
                hundredths,
                rounds: Spread::of(each),
                wanted: target.wanted,
                verdict: verdict(hundredths, target.wanted),
            }
        })
        .collect()
}

fn in_hundredths(of: Option<u64>, to: Option<u64>) -> Option<u64> {
    of?.checked_mul(100)?.checked_div(to?)
}

fn verdict(hundredths: Option<u64>, wanted: Option<Wanted>) -> &'static str {
    match (hundredths, wanted) {
        (None, _) => "not measured",
        (Some(_), None) => "",
        (Some(ratio), Some(wanted)) if ratio >= wanted.aim => "aim reached",
        (Some(ratio), Some(wanted)) if ratio >= wanted.at_least => "reached",
        _ => "NOT reached",
    }
}

/// As [`verdict`], of a figure that should be small.
pub(crate) fn verdict_below(figure: Option<u64>, most: Option<u64>, aim: u64) -> &'static str {
    match figure {
        None => "not measured",
        Some(figure) if figure <= aim => "aim reached",
        Some(figure) if most.is_some_and(|most| figure <= most) => "reached",
        Some(_) if most.is_none() => "aim not reached",
        Some(_) => "NOT reached",
    }
}
