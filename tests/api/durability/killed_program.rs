//! The program is killed in the middle of load, and started again.

use nix::sys::signal::Signal;

use super::dice::Dice;
use super::judgement::judge;
use super::load::Load;
use super::{serve, verify};
use crate::support::cluster::fresh_database;
use crate::support::scratch::Scratch;

const ROUNDS: usize = 4;
const SEED: u64 = 0x0bad_5eed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_was_killed_under_load_has_kept_what_it_acknowledged() {
    let (database, scratch) = (fresh_database(), Scratch::new());
    let mut program = serve(&database, &scratch);
    let mut dice = Dice::new(SEED, 0);
    let load = Load::start(&program.base(), SEED).await;
    for _ in 0..ROUNDS {
        load.until_acknowledged(dice.count(200, 400)).await;
        // Not just after an answer, when a batch has just ended, but anywhere in the next.
        tokio::time::sleep(dice.moment()).await;
        program.end(Signal::SIGKILL);
        program = serve(&database, &scratch);
        load.move_to(&program.base());
        load.next_round();
    }
    load.until_acknowledged(200).await;
    let tried = load.stop().await;
    assert!(tried.denied() > 0, "nobody came to a cap");
    assert!(tried.lost >= ROUNDS, "the kills met no request under way");
    judge(tried, &program.base(), &mut database.connect()).await;
    verify(&database.url);
}
