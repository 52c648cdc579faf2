//! Every process of PostgreSQL is killed at every step of a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plangate::domain::ids::CustomerId;
use plangate::domain::reservation::ReservationState;
use plangate::meter::{Meter, Options, ReleaseReservation, Reserve, Step};
use plangate::store::embedded::{self, Cluster, DATABASE};
use plangate::store::migrations;
use secrecy::ExposeSecret;

use super::pile::Puppeteer;
use super::{Calls, RUNS, STEPS, connect, meter, recorded};
use crate::support::scratch::Scratch;

/// A server of the test's own, which it may kill.
struct Victim {
    cluster: Cluster,
    url: String,
    _scratch: Scratch,
}

impl Victim {
    fn start() -> Arc<Self> {
        let scratch = Scratch::new();
        let options = embedded::Options {
            data_dir: scratch.path().to_path_buf(),
            // What is committed survives the death of every process without it.
            durable: false,
        };
        let cluster = Cluster::start(&options).unwrap();
        let url = cluster.url(DATABASE).expose_secret().to_owned();
        migrations::run(&mut connect(&url)).unwrap();
        Arc::new(Self {
            cluster,
            url,
            _scratch: scratch,
        })
    }

    /// Kills the server with every child of its.
    fn kill(&self) {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Integer)]
            pid: i32,
        }
        let file = self.cluster.directory().join("postmaster.pid");
        let file = std::fs::read_to_string(file).unwrap();
        let postmaster: i32 = file.lines().next().unwrap().parse().unwrap();
        let children: Vec<Row> = diesel::sql_query("SELECT pid FROM pg_stat_activity")
            .load(&mut connect(&self.url))
            .unwrap();
        // The parent first, so that it neither mourns nor replaces anybody.
        for pid in std::iter::once(postmaster).chain(children.iter().map(|row| row.pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.cluster.is_alive() {
            assert!(Instant::now() < deadline, "the server outlives its death");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn restart(&self) {
        self.cluster.restart().unwrap();
    }

    /// The latest transaction that is under way elsewhere and has a number.
    fn transaction_under_way(&self) -> u64 {
        self.number("SELECT max(backend_xid::text::bigint)::text AS number FROM pg_stat_activity")
            .expect("a batch is under way")
    }

    /// Commits a transaction that has a number, and does nothing else with it.
    fn use_a_number(&self) -> u64 {
        self.number("SELECT pg_current_xact_id()::text AS number")
            .expect("a number was asked for")
    }

    fn number(&self, statement: &str) -> Option<u64> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Nullable<Text>)]
            number: Option<String>,
        }
        let row: Row = diesel::sql_query(statement)
            .get_result(&mut connect(&self.url))
            .unwrap();
        row.number.map(|number| number.parse().unwrap())
    }
}

fn puppet_meter(victim: &Victim) -> (Meter, Arc<Puppeteer>) {
    let puppeteer = Puppeteer::new();
    let options = Options {
        at_step: Some(puppeteer.at_step()),
        ..Options::default()
    };
    let meter = meter(&mut connect(&victim.url), &victim.url, options);
    (meter, puppeteer)
}

#[actix_web::test]
async fn a_server_killed_at_any_step_and_soon_back_costs_no_truth() {
    let victim = Victim::start();
    let (meter, puppeteer) = puppet_meter(&victim);
    for step in STEPS {
        let batch = format!("{step:?}");
        let killer = Arc::clone(&victim);
        let kill = move || {
            killer.kill();
            killer.restart();
        };
        let at = Some((step, Box::new(kill) as Box<_>));
        let commands = Calls::commands(&batch);
        let calls = puppeteer.in_one_batch(&meter, commands, at).await;
        let mut conn = connect(&victim.url);
        calls.assert_true(&mut conn);
        if step == Step::Committed {
            assert!(calls.all_done(), "{:?}", calls.told);
        }
        calls.assert_settled_by_repetition(&meter, &mut conn).await;
    }
}

#[actix_web::test]
async fn a_server_killed_at_any_step_and_away_for_long_costs_no_truth() {
    let victim = Victim::start();
    let (meter, puppeteer) = puppet_meter(&victim);
    for step in STEPS {
        let batch = format!("{step:?}");
        let killer = Arc::clone(&victim);
        let at = Some((step, Box::new(move || killer.kill()) as Box<_>));
        let commands = Calls::commands(&batch);
        let calls = puppeteer.in_one_batch(&meter, commands, at).await;
        assert_eq!(
            calls.all_done(),
            step == Step::Committed,
            "{:?}",
            calls.told
        );
        victim.restart();
        let mut conn = connect(&victim.url);
        calls.assert_true(&mut conn);
        calls.assert_settled_by_repetition(&meter, &mut conn).await;
    }
}

impl Victim {
    /// Kills the server while a batch is under way, and has its number given to another transaction, which is committed.
    fn give_its_number_away(&self) {
        let lost = self.transaction_under_way();
        self.kill();
        self.restart();
        while self.use_a_number() < lost {}
    }
}

/// A server that was killed gives the number of a transaction, of which it had written nothing to its log, to another one.
#[actix_web::test]
async fn a_transaction_is_not_taken_for_another_one_that_was_given_its_number() {
    let victim = Victim::start();
    let (meter, puppeteer) = puppet_meter(&victim);
    let fate = || {
        let killer = Arc::clone(&victim);
        let kill = move || killer.give_its_number_away();
        Some((Step::Written, Box::new(kill) as Box<dyn FnOnce() + Send>))
    };
    let commands = Calls::commands("lost");
    let calls = puppeteer.in_one_batch(&meter, commands, fate()).await;
    let mut conn = connect(&victim.url);
    calls.assert_true(&mut conn);
    calls.assert_settled_by_repetition(&meter, &mut conn).await;
    assert!(recorded(&mut conn, "keyless-lost", None) <= 1);

    let customer = CustomerId::parse("anna").unwrap();
    let state = async |id| {
        let found = meter.reservation(&customer, id).await.unwrap();
        found.map(|reservation| reservation.state)
    };
    let hold = Reserve {
        customer: customer.clone(),
        feature: RUNS.to_owned(),
        quantity: 1,
        ttl: TimeDelta::hours(1),
        key: None,
    };
    let reserving = meter.reserve(hold.clone());
    if let Ok(reserved) = puppeteer.together(&meter, reserving, fate()).await {
        let id = reserved.reservation.unwrap().id;
        assert_eq!(state(id).await, Some(ReservationState::Held));
    }
    let reserved = meter.reserve(hold).await.unwrap();
    let id = reserved.reservation.unwrap().id;
    let freeing = meter.free(ReleaseReservation {
        customer: customer.clone(),
        id,
    });
    if puppeteer.together(&meter, freeing, fate()).await.is_ok() {
        assert_eq!(state(id).await, Some(ReservationState::Released));
    }
}
