//! The `plangate` program: the service, and the commands of its operators.

mod arguments;
mod commands;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, CatalogueCommand, Command, KeysCommand};
use commands::Failure;
use plangate::config::Config;

/// Each request makes many small texts, on several threads at once: what glibc's allocator costs of that shows in the benchmark.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Arguments::parse().command.unwrap_or(Command::Serve)) {
        Ok(code) => code,
        Err(failure) => {
            // Where even standard error is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr().lock(), "plangate: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Openapi => return commands::openapi(),
        Command::Catalogue {
            command: CatalogueCommand::Check { file },
        } => return commands::catalogue::check(&Config::from_environment()?, &file),
        _ => {}
    }
    let config = Config::from_environment()?;
    match command {
        Command::Migrate => commands::migrate(&config),
        Command::DatabaseUrl => commands::database_url(&config),
        Command::Verify => commands::verify(&config),
        Command::Keys {
            command: KeysCommand::Create(new_key),
        } => commands::keys::create(&config, new_key),
        Command::Serve | Command::Openapi | Command::Catalogue { .. } => {
            commands::serve::run(config)
        }
    }
}
