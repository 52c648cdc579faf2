//! The hot path: admissions and recorded usage. The database transaction decides, and is committed before anyone is answered.
//!
//! A command is put into the queue of the writer that owns its customer. The writer carries out what has piled up in one
//! transaction ([`batch`]) and answers everyone after the commit ([`writer`]). Questions are answered from what was lately read
//! ([`recent`]); they never decide an admission.

mod account;
mod admission;
mod batch;
mod command;
mod denied;
mod job;
mod outcome;
mod overage;
mod question;
mod recent;
mod recording;
mod restatement;
mod session;
mod settlement;
mod snapshot;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::decision::Decision;
use crate::domain::ids::CustomerId;
use crate::domain::policy::{Enforcement, UnknownCustomers};
use crate::domain::reservation::{Reservation, ReservationId, ReservationState};
use crate::store::clock::{Clock, deciding_time};
use crate::store::customers::Occupied;
use crate::store::plan_book::PlanBook;
use crate::store::pool::{self, Pool, StoreError};
use crate::store::{denials, reservations};

use account::EventIds;
use batch::{Broken, Desk};
use command::{Command, RecordAll};
use denied::{Denial, NotedDenials};
use job::{Job, Pending};
use question::answer;
use recent::{Recent, Slot};
use session::Session;
use writer::Writer;

pub use batch::{AtStep, Step};
pub use command::{
    Adjust, CommitReservation, Committed, Consume, Freed, MeterError, Record, Recorded, Release,
    ReleaseReservation, Reserve, Reserved, SetAllocated, Settled,
};
pub use question::{Consistency, Question, decide, survey};
pub use recent::Answer;
pub use snapshot::Snapshot;

/// Most commands that wait for one writer; one more is refused at once. At full speed this is a good tenth of a second of work.
const QUEUE: usize = 4096;
/// How long the answer to a check waits for its denial to be noted.
const NOTING: Duration = Duration::from_millis(100);
/// Most bytes of callers' own (properties) that may wait.
const ROOM: usize = 32 << 20;

/// What the meter decides by, besides the plans.
#[derive(Clone)]
pub struct Rules {
    /// The plans.
    pub book: Arc<PlanBook>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether denials deny.
    pub enforcement: Enforcement,
    /// What happens to customers that were never seen.
    pub unknown_customers: UnknownCustomers,
}

/// The group of a customer: customers of one group may share a transaction.
pub type GroupKey = fn(&str) -> u64;

/// On plain PostgreSQL all customers are of one group. Where tables are distributed, it is the shard: a transaction over several of
/// them costs more than several transactions.
fn group_key(_customer: &str) -> u64 {
    0
}

/// How the meter works.
#[derive(Clone)]
pub struct Options {
    /// Threads that write, each with a connection of its own. Two overlap one's commit with the other's work; more than four only
    /// make batches smaller.
    pub writers: usize,
    /// Which customers may share a transaction.
    pub group_key: GroupKey,
    /// How old the numbers of a check may be.
    pub check_max_age: Duration,
    /// Told of each step of each batch.
    pub at_step: Option<AtStep>,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            writers: cores.clamp(2, 4),
            group_key,
            check_max_age: Duration::from_secs(1),
            at_step: None,
        }
    }
}

/// Carries out commands, and answers questions. Clones share everything.
#[derive(Clone)]
pub struct Meter {
    pool: Pool,
    rules: Rules,
    denials: Arc<NotedDenials>,
    recent: Arc<Recent>,
    room: Arc<Semaphore>,
    writers: Arc<Writers>,
}

/// The writers' queues and threads. Whoever lets go of it last ends them.
struct Writers {
    queues: Vec<mpsc::Sender<Box<dyn Job>>>,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Meter {
    /// A meter on this database; its writers start at once and connect with their first batch.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(pool: Pool, rules: Rules, options: &Options) -> std::io::Result<Self> {
        let recent = Arc::new(Recent::new(options.check_max_age, Arc::clone(&rules.clock)));
        let denials = Arc::new(NotedDenials::new());
        let stop = CancellationToken::new();
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for number in 0..options.writers.max(1) {
            let (queue, taken) = mpsc::channel(QUEUE);
            let desk = Desk {
                rules: rules.clone(),
                ids: EventIds::default(),
                denials: Some(Arc::clone(&denials)),
                at_step: options.at_step.clone(),
            };
            let session = Session {
                pool: pool.clone(),
                desk,
                recent: Arc::clone(&recent),
                conn: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let (group, stop) = (options.group_key, stop.clone());
            let thread = std::thread::Builder::new()
                .name(format!("meter-writer-{number}"))
                .spawn(move || {
                    let mut session = session;
                    let writer = Writer {
                        attempt: |jobs: &mut [Box<dyn Job>], occupied| {
                            session.attempt(jobs, occupied)
                        },
                        pause: std::thread::sleep,
                    };
                    runtime.block_on(writer.run(taken, stop, group));
                })?;
            queues.push(queue);
            threads.push(thread);
        }
        Ok(Self {
            pool,
            rules,
            denials,
            recent,
            room: Arc::new(Semaphore::new(ROOM)),
            writers: Arc::new(Writers {
                queues,
                stop,
                threads: Mutex::new(threads),
            }),
        })
    }

    /// What it decides by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes no more commands, carries out those that wait, and returns when all are answered.
    pub async fn drain(&self) {
        self.writers.stop.cancel();
        let threads = std::mem::take(
            &mut *self
                .writers
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a writer of the meter ended by a panic");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "the meter's writers were not waited for");
        }
    }

    /// Has the customer's writer carry a command out.
    async fn submit<C: Command>(&self, command: C) -> Result<C::Answer, MeterError> {
        command.precheck(&self.rules.book.plans())?;
        let bytes = u32::try_from(command.bytes()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(bytes)
            .map_err(|_| MeterError::Overloaded)?;
        let owner = crc32fast::hash(command.customer().as_str().as_bytes());
        let queues = &self.writers.queues;
        let stopping = || StoreError::Unavailable("the service is stopping".to_owned());
        let queue = usize::try_from(owner)
            .unwrap_or(0)
            .checked_rem(queues.len())
            .and_then(|index| queues.get(index))
            .ok_or_else(stopping)?;
        let (caller, answer) = oneshot::channel();
        let pending = Pending {
            command,
            caller,
            since: Instant::now(),
            _room: room,
            answer: None,
        };
        queue
            .try_send(Box::new(pending))
            .map_err(|refused| match refused {
                TrySendError::Full(_) => MeterError::Overloaded,
                TrySendError::Closed(_) => stopping().into(),
            })?;
        answer.await.map_err(|_| stopping())?
    }

    /// Admits and counts, or denies and counts nothing.
    pub async fn consume(&self, command: Consume) -> Result<Settled, MeterError> {
        self.submit(command).await
    }

    /// Gives units of an allocated feature back.
    pub async fn release(&self, command: Release) -> Result<Settled, MeterError> {
        self.submit(command).await
    }

    /// States how many units of an allocated feature exist.
    pub async fn set_allocated(&self, command: SetAllocated) -> Result<Settled, MeterError> {
        self.submit(command).await
    }

    /// Corrects what is counted, for an operator; the audit log tells of it.
    pub async fn adjust(&self, command: Adjust) -> Result<Settled, MeterError> {
        self.submit(command).await
    }

    /// Admits and holds, or denies and holds nothing.
    pub async fn reserve(&self, command: Reserve) -> Result<Reserved, MeterError> {
        self.submit(command).await
    }

    /// Records what was reserved as used, and frees the rest.
    pub async fn commit(&self, command: CommitReservation) -> Result<Committed, MeterError> {
        self.submit(command).await
    }

    /// Frees what was reserved.
    pub async fn free(&self, command: ReleaseReservation) -> Result<Freed, MeterError> {
        self.submit(command).await
    }

    /// Records what already happened; results are in the order of the events. What is recorded of one customer is recorded as a
    /// whole. After an error some customers' events may be recorded: the same call may be repeated, the rest is recorded then.
    pub async fn record(&self, events: Vec<Record>) -> Result<Vec<Recorded>, MeterError> {
        let mut numbered: Vec<(usize, Record)> = events.into_iter().enumerate().collect();
        numbered.sort_by(|(_, a), (_, b)| a.customer.cmp(&b.customer));
        let mut places = Vec::with_capacity(numbered.len());
        let mut commands: Vec<RecordAll> = Vec::new();
        for (place, event) in numbered {
            places.push(place);
            match commands.last_mut() {
                Some(of_customer) if of_customer.customer == event.customer => {
                    of_customer.events.push(event);
                }
                _ => commands.push(RecordAll {
                    customer: event.customer.clone(),
                    events: vec![event],
                }),
            }
        }
        let submitted = commands.into_iter().map(|command| self.submit(command));
        let answers = futures_util::future::join_all(submitted).await;
        let recorded = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut results: Vec<(usize, Recorded)> = places
            .into_iter()
            .zip(recorded.into_iter().flatten())
            .collect();
        results.sort_by_key(|(index, _)| *index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// A reservation as it is now; `None`: the customer has no such one.
    pub async fn reservation(
        &self,
        customer: &CustomerId,
        id: ReservationId,
    ) -> Result<Option<Reservation>, MeterError> {
        let (rules, customer) = (self.rules.clone(), customer.clone());
        pool::run(&self.pool, move |conn| {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            let found = reservations::find(conn, customer.as_str(), id)?;
            Ok(found.map(|stored| {
                let mut reservation = stored.reservation;
                if reservation.state == ReservationState::Held && reservation.expires_at <= now {
                    reservation.state = ReservationState::Expired;
                }
                reservation
            }))
        })
        .await
    }

    /// Reads a customer as of the database's time.
    pub async fn snapshot(&self, customer: &str) -> Result<Snapshot, MeterError> {
        let (rules, customer) = (self.rules.clone(), customer.to_owned());
        pool::run(&self.pool, move |conn| {
            consistent_snapshot(conn, &rules, &customer)
        })
        .await
    }

    /// A customer as lately read, or as this process has left it since, with the slot it is kept in.
    async fn recent(&self, customer: &str) -> Result<(Arc<Slot>, Arc<Snapshot>), MeterError> {
        let slot = self.recent.slot(customer);
        if self.recent.is_ageing(&slot) {
            let (meter, customer, older) = (self.clone(), customer.to_owned(), Arc::clone(&slot));
            tokio::spawn(async move {
                let fresher = Arc::new(meter.recent.empty());
                let read = || meter.snapshot(&customer);
                let reading = meter.recent.reading(&customer, &fresher, read).await;
                if reading.is_ok() {
                    meter.recent.replace(&customer, &older, fresher);
                }
            });
        }
        let read = || self.snapshot(customer);
        let snapshot = self.recent.reading(customer, &slot, read).await?;
        Ok((slot, snapshot))
    }

    /// Drops what is kept of a customer whose plan, overrides or counters were changed elsewhere than in a command.
    pub fn forget(&self, customer: &str) {
        self.recent.forget(customer);
    }

    /// Decides without an effect. A denial is noted, as far as that succeeds.
    pub async fn check(
        &self,
        customer: &str,
        questions: &[Question],
        consistency: Consistency,
    ) -> Result<Vec<Result<Arc<Answer>, MeterError>>, MeterError> {
        let (slot, snapshot) = match consistency {
            Consistency::Default => {
                let (slot, snapshot) = self.recent(customer).await?;
                (Some(slot), snapshot)
            }
            Consistency::Strong => (None, Arc::new(self.snapshot(customer).await?)),
        };
        if !snapshot.known && self.rules.unknown_customers == UnknownCustomers::Reject {
            return Err(MeterError::UnknownCustomer);
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            let make = || Answer::new(answer(&snapshot, &self.rules, question)?);
            let answer = match &slot {
                Some(slot) => slot.answer(question, make),
                None => make().map(Arc::new),
            };
            if let Ok(answer) = &answer
                && !answer.decision.reason.allows()
            {
                // It goes on when nobody waits for it any more.
                let noting = self.note_denial(&answer.decision);
                let _ = tokio::time::timeout(NOTING, noting).await;
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn note_denial(&self, denied: &Decision) {
        let denial = Denial::new(&denied.customer_id, &denied.feature, denied.as_of);
        if self.denials.knows(&denial) {
            return;
        }
        let (customer, feature) = (denied.customer_id.clone(), denied.feature.clone());
        let (reason, now) = (denied.reason, denied.as_of);
        let noted: Result<(), StoreError> = pool::run(&self.pool, move |conn| {
            let row = (customer.as_str(), feature.as_str(), reason);
            Ok(denials::note_all(conn, &[row], now)?)
        })
        .await;
        match noted {
            Ok(()) => self.denials.remember([denial]),
            Err(error) => tracing::warn!(%error, "a denial could not be noted"),
        }
    }
}

/// Consumes in a transaction of its own, on the caller's connection: what each command would cost without the others. The benchmark's
/// baseline, kept beside what it is compared with.
///
/// # Errors
/// As [`Meter::consume`]; where the answer to the commit was lost, its fate is not looked for.
pub fn consume_alone(
    conn: &mut diesel::PgConnection,
    rules: &Rules,
    command: Consume,
) -> Result<Settled, MeterError> {
    let desk = Desk {
        rules: rules.clone(),
        ids: EventIds::default(),
        denials: None,
        at_step: None,
    };
    let (caller, mut answer) = oneshot::channel();
    let room = Arc::new(Semaphore::new(0))
        .try_acquire_many_owned(0)
        .map_err(|_| MeterError::Overloaded)?;
    let mut jobs: Vec<Box<dyn Job>> = vec![Box::new(Pending {
        command,
        caller,
        since: Instant::now(),
        _room: room,
        answer: None,
    })];
    match desk.carry_out(conn, &mut jobs, Occupied::Wait) {
        Ok(_) => jobs.into_iter().for_each(Job::answer),
        Err(Broken::NotDone(error)) => return Err(error),
        Err(Broken::InDoubt { error, .. }) => return Err(error.into()),
    }
    answer.try_recv().map_err(|_| MeterError::Overloaded)?
}

/// Reads everything as of one instant: a report that is stored in between shows in all of it or in none.
fn consistent_snapshot(
    conn: &mut diesel::PgConnection,
    rules: &Rules,
    customer: &str,
) -> Result<Snapshot, MeterError> {
    conn.build_transaction()
        .repeatable_read()
        .read_only()
        .run(|conn| {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            Snapshot::peek(conn, &rules.book, customer, now)
        })
}
