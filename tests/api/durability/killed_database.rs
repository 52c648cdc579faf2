//! Every process of the database is killed in the middle of load; the program starts it again and goes on.

use std::path::Path;

use diesel::Connection;
use diesel::pg::PgConnection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::dice::Dice;
use super::judgement::judge;
use super::load::Load;
use super::verify;
use crate::support::app::ADMIN_KEY;
use crate::support::program::{Serving, lives, on, postmaster, succeed};
use crate::support::scratch::Scratch;

const ROUNDS: usize = 3;
const SEED: u64 = 0xdead_da7a;

/// Process ids of the children of a process.
fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

fn parent_of(id: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Kills the server and all that it has started, so that none of them can clean up behind another. Returns how many there were.
fn kill_all(postmaster: i32) -> usize {
    let send = |id: i32, signal| kill(Pid::from_raw(id), signal);
    // Stopped, it starts no more children, and lets no id of theirs go.
    send(postmaster, Signal::SIGSTOP).unwrap();
    let mut all = children(postmaster);
    all.push(postmaster);
    for id in &all {
        send(*id, Signal::SIGKILL).unwrap();
    }
    all.len()
}

fn database_url(data_dir: &Path) -> String {
    let said = succeed(on(data_dir, &["database-url"]));
    said.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_killed_under_load_has_kept_what_was_acknowledged() {
    let scratch = Scratch::new();
    let mut command = on(scratch.path(), &["serve"]);
    command.env("PLANGATE_ADMIN_KEY", ADMIN_KEY);
    let mut program = Serving::start(command);
    let mut dice = Dice::new(SEED, 0);
    let load = Load::start(&program.base(), SEED).await;
    for _ in 0..ROUNDS {
        load.until_acknowledged(dice.count(200, 400)).await;
        tokio::time::sleep(dice.moment()).await;
        let server = postmaster(scratch.path());
        let killed = kill_all(server);
        assert!(killed > 4, "a server at work has sessions: {killed}");
        program.wait_for(|_| !lives(server));
        load.next_round();
    }
    // Only the program can have started the database again.
    load.until_acknowledged(200).await;
    let tried = load.stop().await;
    assert!(tried.denied() > 0, "nobody came to a cap");
    assert_eq!(
        tried.lost, 0,
        "an outage of the database is told, it breaks no connection"
    );
    // Where the database is back soon enough, nobody is told: what it broke off is carried out again.
    assert!(
        tried.unavailable >= ROUNDS || program.log().contains("a batch is tried again"),
        "the kills met no request under way"
    );
    let url = database_url(scratch.path());
    let mut conn = PgConnection::establish(&url).unwrap();
    judge(tried, &program.base(), &mut conn).await;
    verify(&url);
    assert_eq!(
        program.end(Signal::SIGTERM).code(),
        Some(0),
        "{}",
        program.log()
    );
}
