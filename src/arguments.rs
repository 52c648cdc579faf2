//! The command line. Settings come from the environment; see the README's table.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};

use plangate::domain::api_key::Scope;

#[derive(Debug, Parser)]
#[command(
    name = "plangate",
    version,
    about = "Headless plan gating and billing over PostgreSQL",
    after_help = "Settings are environment variables; without any, Plangate runs on a PostgreSQL of its own."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service (also without a subcommand)
    Serve,
    /// Bring the database schema up to date
    Migrate,
    /// Print the `OpenAPI` document
    Openapi,
    /// Print the URL of the embedded database while it runs
    DatabaseUrl,
    /// API keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Compare every counter with its ledger; exit code 1 where they differ
    Verify,
    /// Catalogue files
    Catalogue {
        #[command(subcommand)]
        command: CatalogueCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key and print it, this once, on standard output
    Create(NewKey),
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// What it is for, as lists will show it
    #[arg(long)]
    pub(crate) name: String,
    /// entitlements, read, billing, admin; several with commas
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) scopes: Vec<Scope>,
    /// When it stops being valid, such as 2027-01-01T00:00:00Z; default: never
    #[arg(long)]
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogueCommand {
    /// Validate a catalogue and show what it would change; exit code 1 where it is refused
    Check {
        /// The catalogue file
        file: PathBuf,
    },
}
