//! What survives: several programs on one database, the death of the program and of its database in the middle of load, an orderly stop,
//! and a clock that does what clocks do.

mod bookings;
mod clock;
mod deeds;
mod dice;
mod judgement;
mod killed_database;
mod killed_program;
mod load;
mod replicas;
mod service;
mod stopped;

use crate::support::app::ADMIN_KEY;
use crate::support::cluster::TestDatabase;
use crate::support::program::{Serving, on, plangate, succeed};
use crate::support::scratch::Scratch;

/// A program on the test's database, with a data directory that it needs for nothing.
fn serve(database: &TestDatabase, scratch: &Scratch) -> Serving {
    let mut command = on(scratch.path(), &["serve"]);
    command
        .env("DATABASE_URL", &database.url)
        .env("PLANGATE_ADMIN_KEY", ADMIN_KEY)
        // The tests share one cluster and its connections.
        .env("PLANGATE_DATABASE_POOL_SIZE", "4");
    Serving::start(command)
}

/// `plangate verify` must find every counter equal to its ledger.
#[track_caller]
fn verify(database_url: &str) {
    let mut command = plangate(&["verify"]);
    command.env("DATABASE_URL", database_url);
    let said = succeed(command);
    assert!(said.ends_with(" equal their ledger\n"), "{said}");
}
