//! Two programs on one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::Value;

use super::deeds::Deed;
use super::judgement::used_by;
use super::load::{Desk, Fate};
use super::{serve, verify};
use crate::support::cluster::fresh_database;
use crate::support::scratch::Scratch;

const CUSTOMER: &str = "acme";
/// What the free plan admits: its limit of 100 and the soft zone above it.
const CAP: usize = 110;
/// Callers of each program.
const CALLERS: usize = 32;
/// Ends a test that would otherwise go on for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// Uses one unit after another, each under a key of its own, until there are none left. Returns how many it was given.
async fn use_up(desk: &Desk, name: String, deadline: Instant) -> usize {
    let mut admitted = 0;
    loop {
        assert!(Instant::now() < deadline, "{admitted} admitted, and no end");
        let deed = Deed::consume(CUSTOMER, 1, &format!("{name}-{admitted}"));
        match desk.insist(&deed).await {
            Fate::Acknowledged { body, .. } => {
                assert_eq!(body["allowed"], true, "{body}");
                admitted += 1;
            }
            _ => return admitted,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_admit_exactly_up_to_the_cap() {
    let (database, scratches) = (fresh_database(), [Scratch::new(), Scratch::new()]);
    let programs = [0, 1].map(|n| serve(&database, &scratches[n]));
    let desks = [0, 1].map(|n| Desk::new(&programs[n].base()));
    let deadline = Instant::now() + PATIENCE;
    // All of them meet a customer whom nobody has seen before.
    let callers = (0..2 * CALLERS).map(|n| use_up(&desks[n % 2], format!("caller-{n}"), deadline));
    let admitted = join_all(callers).await;
    assert_eq!(admitted.iter().sum::<usize>(), CAP, "{admitted:?}");
    assert_eq!(used_by(&mut database.connect(), CUSTOMER), (110, 110));
    for desk in desks {
        desk.assert_no_offence();
    }
    verify(&database.url);
}

/// Takes key after key and sends each to both programs at the same time. Both must say the same of it. Returns how many were admitted.
async fn use_up_twice(desks: &[Desk; 2], keys: &AtomicUsize, deadline: Instant) -> usize {
    let mut admitted = 0;
    loop {
        assert!(Instant::now() < deadline, "{admitted} admitted, and no end");
        let key = format!("key-{}", keys.fetch_add(1, Ordering::Relaxed));
        let deed = Deed::consume(CUSTOMER, 1, &key);
        match join(desks[0].insist(&deed), desks[1].insist(&deed)).await {
            (
                Fate::Acknowledged { body, replayed },
                Fate::Acknowledged {
                    body: other,
                    replayed: other_replayed,
                },
            ) => {
                assert_eq!(body, other);
                assert_ne!(body["event_id"], Value::Null);
                assert!(
                    replayed != other_replayed,
                    "one of two is the first: {body}"
                );
                admitted += 1;
            }
            (Fate::Refused, Fate::Refused) => return admitted,
            fates => panic!("{key} has two fates: {fates:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_at_two_programs_at_once_is_recorded_once_and_answered_alike() {
    let (database, scratches) = (fresh_database(), [Scratch::new(), Scratch::new()]);
    let programs = [0, 1].map(|n| serve(&database, &scratches[n]));
    let desks = Arc::new([0, 1].map(|n| Desk::new(&programs[n].base())));
    let (keys, deadline) = (AtomicUsize::new(0), Instant::now() + PATIENCE);
    let callers = (0..CALLERS).map(|_| use_up_twice(&desks, &keys, deadline));
    let admitted = join_all(callers).await;
    assert_eq!(admitted.iter().sum::<usize>(), CAP, "{admitted:?}");
    assert_eq!(used_by(&mut database.connect(), CUSTOMER), (110, 110));
    for desk in desks.iter() {
        desk.assert_no_offence();
    }
    verify(&database.url);
}
