//! The writer among its callers, its stop and a database that fails, in the orders that a deterministic scheduler chooses. What a
//! schedule did wrong can be replayed: the failing test prints it.

use std::sync::Arc;
use std::time::Instant;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Mutex;
use shuttle::{Config, Runner, future, thread};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::*;
use crate::domain::ids::CustomerId;
use crate::meter::account::Account;
use crate::meter::command::{Command, Needs};
use crate::meter::job::Pending;

const SCHEDULES: usize = 2000;

/// Runs it under random schedules, and under those that are the worst for few ordering mistakes.
fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    // The tasks are small; the report of a failure is not.
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    let random = RandomScheduler::new_from_seed(0x706c_616e, SCHEDULES);
    Runner::new(random, config.clone()).run(scenario.clone());
    let adverse = PctScheduler::new_from_seed(0x6761_7465, 4, SCHEDULES);
    Runner::new(adverse, config).run(scenario);
}

/// A command that leaves nothing but its customer's name in the ledger.
struct Visit(CustomerId);

impl Command for Visit {
    type Answer = String;

    fn customer(&self) -> &CustomerId {
        &self.0
    }

    fn needs<'a>(&'a self, _: &mut Needs<'a>) {}

    fn of_nobody(&self) -> Result<String, MeterError> {
        Ok(self.0.as_str().to_owned())
    }

    fn judge(&self, _: &mut Account<'_>) -> Result<String, MeterError> {
        self.of_nobody()
    }
}

/// Which faults happen to attempts that nothing is wrong with.
#[derive(Clone, Copy)]
enum Weather {
    Fair,
    /// So many faults, of any kind.
    Foul(usize),
}

/// A database that carries out all of a batch or none, and fails when it likes.
struct Database {
    ledger: Mutex<Vec<String>>,
    faults: Mutex<usize>,
}

impl Database {
    fn new(weather: Weather) -> Arc<Self> {
        let faults = match weather {
            Weather::Fair => 0,
            Weather::Foul(faults) => faults,
        };
        Arc::new(Self {
            ledger: Mutex::new(Vec::new()),
            faults: Mutex::new(faults),
        })
    }

    /// How often the name stands in the ledger.
    fn count(&self, name: &str) -> usize {
        let ledger = self.ledger.lock().unwrap();
        ledger.iter().filter(|entry| *entry == name).count()
    }

    fn fault(&self) -> Option<Failure> {
        let mut left = self.faults.lock().unwrap();
        if *left == 0 || thread_rng().gen_bool(0.5) {
            return None;
        }
        *left -= 1;
        let reason = "the weather".to_owned();
        Some(match thread_rng().gen_range(0..4) {
            0 => Failure::Lost(reason),
            1 => Failure::Busy(reason),
            2 => Failure::Refused(MeterError::Value("the weather")),
            _ => Failure::Unknown(reason),
        })
    }

    fn attempt(&self, jobs: &mut [Box<dyn Job>], occupied: Occupied) -> Result<(), Failure> {
        thread::yield_now();
        let mut names = Vec::new();
        for job in jobs {
            let name = job.customer().as_str();
            if occupied == Occupied::Skip && name.starts_with("stuck") {
                job.leave();
                continue;
            }
            names.push(name.to_owned());
            job.judge(None);
        }
        thread::yield_now();
        if names.iter().any(|name| name.starts_with("poison")) {
            return Err(Failure::Refused(MeterError::Value("poison")));
        }
        if names.iter().any(|name| name.starts_with("stuck")) {
            return Err(Failure::Busy("stuck".to_owned()));
        }
        let fault = self.fault();
        let happens = match &fault {
            None => true,
            Some(Failure::Unknown(_)) => thread_rng().gen_bool(0.5),
            Some(_) => false,
        };
        if happens {
            self.ledger.lock().unwrap().extend(names);
        }
        thread::yield_now();
        fault.map_or(Ok(()), Err)
    }
}

/// What a caller was told.
#[derive(Debug)]
enum Told {
    Done,
    Refused(MeterError),
    Full,
    Closed,
}

/// Puts a visit into the queue as the meter does, and waits for what comes of it.
fn visit(queue: &mpsc::Sender<Box<dyn Job>>, name: &str) -> Told {
    let (caller, answer) = oneshot::channel();
    let room = Arc::new(Semaphore::new(0)).try_acquire_many_owned(0);
    let pending = Pending {
        command: Visit(CustomerId::parse(name).unwrap()),
        caller,
        since: Instant::now(),
        _room: room.unwrap(),
        answer: None,
    };
    match queue.try_send(Box::new(pending)) {
        Err(TrySendError::Full(_)) => return Told::Full,
        Err(TrySendError::Closed(_)) => return Told::Closed,
        Ok(()) => {}
    }
    let answer = future::block_on(answer);
    match answer.expect("what is in the queue is answered") {
        Ok(told) => {
            assert_eq!(told, name, "everyone is given the answer to their own");
            Told::Done
        }
        Err(error) => Told::Refused(error),
    }
}

fn write(
    database: &Arc<Database>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    stop: CancellationToken,
    group: fn(&str) -> u64,
) -> thread::JoinHandle<()> {
    let database = Arc::clone(database);
    thread::spawn(move || {
        let writer = Writer {
            attempt: |jobs: &mut [Box<dyn Job>], occupied| database.attempt(jobs, occupied),
            pause: |_| thread::yield_now(),
        };
        future::block_on(writer.run(queue, stop, group));
    })
}

fn one_group(_: &str) -> u64 {
    0
}

fn groups_of_their_own(name: &str) -> u64 {
    u64::from(crc32fast::hash(name.as_bytes()))
}

/// The callers' names; each calls twice, under names of its own.
fn callers(
    database: &Arc<Database>,
    queue: &mpsc::Sender<Box<dyn Job>>,
    names: &'static [&'static str],
    judge: fn(&Database, &str, Told),
) -> Vec<thread::JoinHandle<()>> {
    let calls = names.iter().map(|name| {
        let (database, queue) = (Arc::clone(database), queue.clone());
        thread::spawn(move || {
            for call in 0..2 {
                let name = format!("{name}-{call}");
                let told = visit(&queue, &name);
                judge(&database, &name, told);
                thread::yield_now();
            }
        })
    });
    calls.collect()
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What may be said where anything can go wrong.
fn is_true(database: &Database, name: &str, told: Told) {
    let recorded = database.count(name);
    match told {
        Told::Done => assert_eq!(recorded, 1, "{name} was told that it is done"),
        Told::Refused(MeterError::Store(StoreError::Unavailable(_))) => {
            assert!(
                recorded <= 1,
                "{name} may be there, but not {recorded} times"
            );
        }
        Told::Refused(_) | Told::Full | Told::Closed => {
            assert_eq!(recorded, 0, "{name} was told that nothing came of it");
        }
    }
}

fn answers_are_true(group: fn(&str) -> u64) {
    explore(move || {
        let database = Database::new(Weather::Foul(3));
        let (queue, taken) = mpsc::channel(3);
        let stop = CancellationToken::new();
        let writer = write(&database, taken, stop.clone(), group);
        let names = &["anna", "poison", "bert", "stuck"];
        let callers = callers(&database, &queue, names, is_true);
        thread::yield_now();
        stop.cancel();
        join(callers);
        join([writer]);
        assert!(matches!(visit(&queue, "late"), Told::Closed));
        let ledger = database.ledger.lock().unwrap();
        let once = |name: &String| ledger.iter().filter(|entry| *entry == name).count() == 1;
        assert!(ledger.iter().all(once), "{ledger:?}");
    });
}

#[test]
fn every_answer_is_true_and_nothing_happens_twice_whatever_fails_when() {
    answers_are_true(one_group);
}

#[test]
fn answers_are_as_true_where_every_customer_is_a_group() {
    answers_are_true(groups_of_their_own);
}

#[test]
fn a_command_that_cannot_be_carried_out_fails_alone() {
    explore(|| {
        let database = Database::new(Weather::Fair);
        let (queue, taken) = mpsc::channel(8);
        let writer = write(&database, taken, CancellationToken::new(), one_group);
        let names = &["anna", "poison", "stuck"];
        let callers = callers(&database, &queue, names, |database, name, told| {
            let neighbour = name.starts_with("anna");
            assert_eq!(matches!(told, Told::Done), neighbour, "{name}: {told:?}");
            is_true(database, name, told);
        });
        drop(queue);
        join(callers);
        // Nobody is left who could put anything into the queue: the writer ends by itself.
        join([writer]);
    });
}

#[test]
fn what_is_in_the_queue_at_the_stop_is_carried_out() {
    explore(|| {
        let database = Database::new(Weather::Fair);
        let (queue, taken) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let names = &["anna", "bert"];
        let callers = callers(&database, &queue, names, |database, name, told| {
            assert!(
                matches!(told, Told::Done | Told::Closed),
                "{name}: {told:?}"
            );
            is_true(database, name, told);
        });
        let stopper = {
            let stop = stop.clone();
            thread::spawn(move || stop.cancel())
        };
        let writer = write(&database, taken, stop, one_group);
        join(callers);
        join([stopper, writer]);
        assert!(matches!(visit(&queue, "late"), Told::Closed));
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_what_it_refused_never_happens() {
    explore(|| {
        let database = Database::new(Weather::Fair);
        let (queue, taken) = mpsc::channel(1);
        let filler = {
            let queue = queue.clone();
            thread::spawn(move || drop(visit(&queue, "filler")))
        };
        while queue.capacity() > 0 {
            thread::yield_now();
        }
        // Nobody takes anything out of the queue yet: to wait would be to wait for ever.
        assert!(matches!(visit(&queue, "one-too-many"), Told::Full));
        let writer = write(&database, taken, CancellationToken::new(), one_group);
        join([filler]);
        assert!(matches!(visit(&queue, "next"), Told::Done));
        drop(queue);
        join([writer]);
        let ledger = database.ledger.lock().unwrap();
        assert_eq!(*ledger, ["filler", "next"]);
    });
}

#[test]
fn who_has_left_is_not_worked_for_and_who_has_waited_too_long_is_refused() {
    let (left, nobody) = oneshot::channel();
    drop(nobody);
    let (waits, mut answer) = oneshot::channel();
    let long_ago = Instant::now().checked_sub(PATIENCE * 2).unwrap();
    let jobs = [(left, Instant::now()), (waits, long_ago)].map(|(caller, since)| {
        let room = Arc::new(Semaphore::new(0)).try_acquire_many_owned(0);
        let job: Box<dyn Job> = Box::new(Pending {
            command: Visit(CustomerId::parse("anna").unwrap()),
            caller,
            since,
            _room: room.unwrap(),
            answer: None,
        });
        job
    });
    let mut writer = Writer {
        attempt: |_: &mut [Box<dyn Job>], _| panic!("nothing is left to be carried out"),
        pause: |_| {},
    };
    writer.settle(jobs.into());
    let told = answer.try_recv().unwrap();
    assert!(
        matches!(told, Err(MeterError::Store(StoreError::Busy(_)))),
        "{told:?}"
    );
}
