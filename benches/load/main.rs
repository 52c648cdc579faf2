//! The load benchmark: one command that starts PostgreSQL, Plangate, its ceiling and its peers on loopback, runs every case in turn,
//! and prints how they compare. `docs/benchmark.md` says how to read it.

mod arguments;
mod bare;
mod baseline;
mod cases;
mod http;
mod large;
mod machine;
mod open_loop;
mod peers;
mod plots;
mod postgres;
mod process;
mod report;
mod results;
mod stage;
mod sweep;
mod targets;
mod wrk;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use arguments::{Arguments, Command, Options};
use cases::Case;
use machine::Machine;
use report::Report;
use results::Results;
use stage::Stage;
use wrk::Wrk;

/// A benchmark has nobody who could handle an error: all it can do is to show it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The product's: the ceiling must not be lower than it has to be.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format_args!("load: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Progress, on standard error; the report alone is on standard output.
pub(crate) fn tell(line: impl Display) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn run(arguments: Arguments) -> Outcome<()> {
    match arguments.command {
        Some(Command::ServeBare { port, bytes }) => bare::serve(port, bytes),
        Some(Command::ServeBaseline {
            port,
            pool,
            catalogue,
        }) => baseline::serve(port, pool, &catalogue),
        None if arguments.bench => measure(arguments.options.settled()),
        None => {
            tell("nothing is measured here; run `cargo bench --bench load`");
            Ok(())
        }
    }
}

fn measure(options: Options) -> Outcome<()> {
    Wrk::required()?;
    process::watch_for_interrupts()?;
    allow_many_connections()?;
    tell("starting PostgreSQL and making the API keys");
    let stage = Stage::set(options)?;
    let options = &stage.options;
    let machine = Machine::describe(&stage)?;
    tell(machine.lines());
    let fdatasync_us = if options.wants(Case::OpenLoop) {
        peers::fdatasync_us(stage.scratch.path())?
    } else {
        None
    };
    let mut results = Results::default();
    if options.wants(Case::Large) {
        large::make(&stage)?;
    }
    for round in 0..options.rounds {
        for case in Case::value_variants() {
            if options.wants(*case) {
                run_case(*case, &stage, round, &mut results)?;
            }
        }
    }
    let sweep = match &options.plots {
        None => Vec::new(),
        Some(directory) => {
            let points = sweep::run(&stage)?;
            plots::write(&points, directory)?;
            points
        }
    };
    let report = Report {
        smoke: options.quick,
        machine,
        seconds: options.seconds,
        rounds: options.rounds,
        check_bytes: stage.probe.check_bytes,
        consume_bytes: stage.probe.consume_bytes,
        fdatasync_us,
        results,
        sweep,
    };
    publish(&report, options)
}

/// One run of a case. What fails is told and shows in the report; the others go on.
fn run_case(case: Case, stage: &Stage, round: u32, results: &mut Results) -> Outcome<()> {
    let name = case
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned());
    tell(format_args!(
        "round {} of {}: {name}",
        round + 1,
        stage.options.rounds
    ));
    if let Err(error) = case.run(stage, round, results) {
        process::go_on()?;
        tell(format_args!("{name} failed: {error}"));
        results.fail(&name, round, &error.to_string());
    }
    Ok(())
}

fn publish(report: &Report, options: &Options) -> Outcome<()> {
    let markdown = report.markdown()?;
    io::stdout().lock().write_all(markdown.as_bytes())?;
    if let Some(path) = &options.markdown {
        put(path, &markdown)?;
    }
    let json = options
        .json
        .clone()
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("load.json"));
    put(&json, &report.json()?)?;
    tell(format_args!("the figures are in {}", json.display()));
    Ok(())
}

fn put(path: &Path, text: &str) -> Outcome<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, text)?)
}

/// A thousand connections need more than the thousand file descriptors that most shells allow; children inherit this.
fn allow_many_connections() -> Outcome<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}
