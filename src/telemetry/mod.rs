//! What the service tells its operators: logs here, figures in [`metrics`].

pub mod metrics;

use std::{env, io};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,actix_server=warn";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Coloured where the terminal can, for people.
    Pretty,
}

/// Starts logging to standard error; standard output belongs to the subcommands that print something. `RUST_LOG` picks
/// what is logged (default: everything from `info` on, less the web server's own start and stop; parts of it that cannot be read are left out). Fails when logging was started before.
pub fn start_logging(format: LogFormat) -> Result<(), TryInitError> {
    let filter = if env::var_os("RUST_LOG").is_some() {
        EnvFilter::from_default_env()
    } else {
        EnvFilter::new(DEFAULT_FILTER)
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Json => builder
            .json()
            .with_ansi(false)
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init(),
        LogFormat::Pretty => {
            let terminal = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(terminal).finish().try_init()
        }
    }
}
