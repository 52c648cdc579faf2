//! The command line of the benchmark.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cases::Case;

/// Measures Plangate on this machine, beside its ceiling and its peers.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// What cargo adds; without it nothing is measured, so that `cargo test --benches` stays quick
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What an operator may choose.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Length of each run
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
    /// How often each case is run, in turn with the others
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    /// Only these cases, with commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Case>,
    /// Without the database of a million customers
    #[arg(long)]
    pub(crate) skip_large: bool,
    /// A smoke test: one round of one second, a small large database; its figures say nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the figures go as JSON; default: `load.json` in cargo's directory for such files
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Where the tables go as Markdown, besides standard output
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
    /// Sweep over the numbers of connections as well, and put the plots into this directory
    #[arg(long)]
    pub(crate) plots: Option<PathBuf>,
    /// Parent of the scratch directory; its disk is the one that is measured
    #[arg(long)]
    pub(crate) scratch: Option<PathBuf>,
    /// A setting of PostgreSQL, as in `shared_buffers=1GB`; may be repeated, and is printed
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Connections of the baseline's pool
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=80))]
    pub(crate) baseline_pool: u32,
    /// Customers among whom the spread cases choose
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) customers: u32,
    /// Customers of the large database, each with ten ledger rows
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10..=9_000_000))]
    pub(crate) large_customers: u32,
}

impl Options {
    /// With the meaning of `--quick` put in, and no more spread customers than the large database has.
    pub(crate) fn settled(mut self) -> Self {
        if self.quick {
            self.seconds = 1;
            self.rounds = 1;
            self.customers = self.customers.min(1_000);
            self.large_customers = self.large_customers.min(10_000);
        }
        self.customers = self.customers.min(self.large_customers);
        self
    }

    /// Whether a case is to be run.
    pub(crate) fn wants(&self, case: Case) -> bool {
        (self.only.is_empty() || self.only.contains(&case))
            && !(self.skip_large && case == Case::Large)
    }
}

/// What the benchmark runs itself as.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The ceiling: a handler that does nothing
    #[command(hide = true)]
    ServeBare {
        /// Loopback port
        #[arg(long)]
        port: u16,
        /// Size of each answer's body
        #[arg(long)]
        bytes: usize,
    },
    /// The baseline: a transaction for each request
    #[command(hide = true)]
    ServeBaseline {
        /// Loopback port
        #[arg(long)]
        port: u16,
        /// Connections
        #[arg(long)]
        pool: u32,
        /// The catalogue file
        #[arg(long)]
        catalogue: PathBuf,
    },
}
