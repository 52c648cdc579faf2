//! The program is told to stop in the middle of load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use nix::sys::signal::Signal;

use super::deeds::Deed;
use super::judgement::{assert_nothing_was_done_in_silence, judge};
use super::load::{Attempt, Desk, Fate, Load};
use super::{serve, verify};
use crate::support::cluster::{TestDatabase, fresh_database};
use crate::support::scratch::Scratch;

const SEED: u64 = 0x0dd_ba11;
/// Less than the service's sessions wait for a lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);

/// A customer whom nobody but the test itself asks anything for.
const HELD_BACK: &str = "held-back";

fn number(conn: &mut PgConnection, expression: &str) -> i64 {
    diesel::select(sql::<BigInt>(&format!("({expression})::bigint")))
        .get_result(conn)
        .unwrap()
}

/// Keeps everybody from writing for the customer while the connection lives. Returns the session's id, too.
fn lock(database: &TestDatabase, customer: &str) -> (PgConnection, i64) {
    let mut conn = database.connect();
    let statement = format!("SELECT 1 FROM customers WHERE customer_id = '{customer}' FOR UPDATE");
    diesel::sql_query("BEGIN").execute(&mut conn).unwrap();
    diesel::sql_query(statement).execute(&mut conn).unwrap();
    let session = number(&mut conn, "pg_backend_pid()");
    (conn, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_told_to_stop_under_load_answers_what_is_under_way() {
    let (database, scratch) = (fresh_database(), Scratch::new());
    let mut conn = database.connect();
    let mut program = serve(&database, &scratch);
    let load = Load::start(&program.base(), SEED).await;
    load.until_acknowledged(200).await;

    // Held back in the database, so that it is under way for certain when the signal comes.
    let deed = Deed::consume(HELD_BACK, 1, "under-way");
    let desk = Arc::new(Desk::new(&program.base()));
    desk.service.grant(HELD_BACK, "scale").await;
    let (lock, session) = lock(&database, HELD_BACK);
    let held_back = deed.clone();
    let caller = tokio::spawn(async move { desk.attempt(&held_back).await });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE {session} = ANY (pg_blocking_pids(pid))"
    );
    let deadline = Instant::now() + LOCK_PATIENCE;
    while number(&mut conn, &waiting) == 0 {
        assert!(Instant::now() < deadline, "nobody waits for the customer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    program.signal(Signal::SIGTERM);
    program.wait_for(|program| program.log().contains("finishing the requests under way"));
    drop(lock);
    let fate = caller.await.unwrap().expect("it was sent");
    assert!(matches!(fate, Fate::Acknowledged { .. }), "{fate:?}");
    let status = program.wait();
    assert_eq!(status.code(), Some(0), "{}", program.log());

    let mut tried = load.stop().await;
    assert_nothing_was_done_in_silence(&tried, &mut conn);
    tried.attempts.push(Attempt { deed, fate });
    let program = serve(&database, &scratch);
    judge(tried, &program.base(), &mut conn).await;
    verify(&database.url);
}
