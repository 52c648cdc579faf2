//! The report: tables for people, JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::Outcome;
use crate::machine::Machine;
use crate::results::{Failures, Results, Row, Spread};
use crate::sweep::Point;
use crate::targets::{MEMORY_AIM_KIB, MEMORY_MOST_KIB, P99_AIM_US, Ratio, ratios, verdict_below};

/// Everything that a run of the benchmark found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Set for a smoke test, whose figures say nothing.
    pub(crate) smoke: bool,
    pub(crate) machine: Machine,
    pub(crate) seconds: u32,
    pub(crate) rounds: u32,
    pub(crate) check_bytes: usize,
    pub(crate) consume_bytes: usize,
    /// What `pg_test_fsync` says, microseconds.
    pub(crate) fdatasync_us: Option<u64>,
    pub(crate) results: Results,
    /// The sweep over connections, where one was made.
    pub(crate) sweep: Vec<Point>,
}

/// The JSON document: the report with what follows from it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    medians: Vec<Median>,
    ratios: Vec<Ratio>,
}

#[derive(Serialize)]
struct Median {
    #[serde(flatten)]
    row: Row,
    per_second: Option<Spread>,
    p50_us: Option<Spread>,
    p99_us: Option<Spread>,
}

impl Report {
    /// As JSON.
    pub(crate) fn json(&self) -> Outcome<String> {
        let medians = self.results.rows().into_iter().map(|row| Median {
            row,
            per_second: self.results.rate(row),
            p50_us: self.results.spread(row, |sample| sample.p50_us),
            p99_us: self.results.spread(row, |sample| sample.p99_us),
        });
        let document = Document {
            report: self,
            medians: medians.collect(),
            ratios: ratios(&self.results, self.rounds),
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> Outcome<String> {
        let mut text = String::from("# Load benchmark: results\n\n");
        text.push_str("Written by `cargo bench --bench load`; what it means is in [benchmark.md](../benchmark.md).\n\n");
        if self.smoke {
            text.push_str("**A smoke test: these figures say nothing.**\n\n");
        }
        text.push_str(&self.machine.lines());
        writeln!(
            text,
            "{} runs of {} s each, in turn. Body of a check's answer: {} bytes, of a consume's: {} bytes.\n",
            self.rounds, self.seconds, self.check_bytes, self.consume_bytes
        )?;
        self.write_targets(&mut text)?;
        self.write_cases(&mut text)?;
        Ok(text)
    }

    fn write_targets(&self, text: &mut String) -> Outcome<()> {
        text.push_str("## Targets\n\n");
        text.push_str("| ratio of medians | measured | rounds | at least | aim | |\n|---|---|---|---|---|---|\n");
        for ratio in ratios(&self.results, self.rounds) {
            let Ratio {
                name,
                hundredths,
                rounds,
                wanted,
                verdict,
            } = ratio;
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {verdict} |",
                or_dash(hundredths.map(times)),
                or_dash(rounds.map(|spread| format!(
                    "{}–{}",
                    times(spread.min),
                    times(spread.max)
                ))),
                or_dash(wanted.map(|wanted| times(wanted.at_least))),
                or_dash(wanted.map(|wanted| times(wanted.aim))),
            )?;
        }
        let resident = self.results.resident_kib.iter().copied().max();
        writeln!(
            text,
            "| resident memory of Plangate after the large run, MiB | {} | {} | {} | {} | {} |",
            or_dash(resident.map(|kib| kib.div_ceil(1024))),
            or_dash(
                Spread::of(self.results.resident_kib.iter().copied()).map(|spread| format!(
                    "{}–{}",
                    spread.min.div_ceil(1024),
                    spread.max.div_ceil(1024)
                ))
            ),
            MEMORY_MOST_KIB / 1024,
            MEMORY_AIM_KIB / 1024,
            verdict_below(resident, Some(MEMORY_MOST_KIB), MEMORY_AIM_KIB),
        )?;
        let p99 = |name: &str| {
            let row = self
                .results
                .rows()
                .into_iter()
                .find(|row| row.name == name)?;
            self.results.spread(row, |sample| sample.p99_us)
        };
        let consume = p99("open loop consume");
        writeln!(
            text,
            "| p99 of consume at 70 % of saturation, open loop, ms | {} | {} | – | {} | {} |",
            or_dash(consume.map(|spread| millis(spread.median))),
            or_dash(consume.map(|spread| format!("{}–{}", millis(spread.min), millis(spread.max)))),
            millis(P99_AIM_US),
            verdict_below(consume.map(|spread| spread.median), None, P99_AIM_US),
        )?;
        writeln!(
            text,
            "| … beside it, the bare handler's p99 at the same rate, ms | {} | | | | |",
            or_dash(p99("open loop bare").map(|spread| millis(spread.median))),
        )?;
        writeln!(
            text,
            "| … beside it, one fdatasync (pg_test_fsync), ms | {} | | | | |\n",
            or_dash(self.fdatasync_us.map(millis)),
        )?;
        Ok(())
    }

    fn write_cases(&self, text: &mut String) -> Outcome<()> {
        text.push_str("## Cases\n\n");
        text.push_str("Latencies are medians over the runs, in ms.\n\n");
        text.push_str("| case | connections | /s, median | min–max | p50 | p99 | |\n|---|---|---|---|---|---|---|\n");
        for row in self.results.rows() {
            let rate = self.results.rate(row);
            let latency = |spread: Option<Spread>| or_dash(spread.map(|s| millis(s.median)));
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                row.connections,
                or_dash(rate.map(|spread| thousands(spread.median))),
                or_dash(rate.map(|spread| format!(
                    "{}–{}",
                    thousands(spread.min),
                    thousands(spread.max)
                ))),
                latency(self.results.spread(row, |sample| sample.p50_us)),
                latency(self.results.spread(row, |sample| sample.p99_us)),
                self.remark(row),
            )?;
        }
        for (case, why) in &self.results.skipped {
            writeln!(text, "| {case} | – | – | – | – | – | not measured: {why} |")?;
        }
        text.push('\n');
        for broken in &self.results.broken {
            writeln!(text, "- broken off: {}", one_line(broken))?;
        }
        Ok(())
    }

    /// Which runs do not count and why, and what failed in those that do.
    fn remark(&self, row: Row) -> String {
        let mut remarks: Vec<String> = Vec::new();
        let mut failed = Failures::default();
        for sample in self.results.samples(row) {
            if let Some(fault) = &sample.fault {
                remarks.push(format!("does not count: {}", one_line(fault)));
            } else {
                failed.status += sample.failures.status;
                failed.socket += sample.failures.socket;
                failed.timeout += sample.failures.timeout;
            }
        }
        if !failed.is_none() {
            let Failures {
                status,
                socket,
                timeout,
            } = failed;
            remarks.push(format!(
                "besides, {status} refused, {socket} broken, {timeout} late"
            ));
        }
        remarks.join("; ")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "/")
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// `1234` as `12.34×`.
fn times(hundredths: u64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
