//! One transaction for a batch of commands: lock the customers, read what they need, judge one command after another, write what
//! they did, commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::connection::TransactionManager;
use diesel::prelude::*;

use super::Rules;
use super::account::{Account, Changes, EventIds};
use super::command::{MeterError, Needs};
use super::denied::{Denial, NotedDenials};
use super::job::Job;
use super::snapshot::Snapshot;
use crate::domain::policy::UnknownCustomers;
use crate::domain::standing::Standing;
use crate::store::customers::Occupied;
use crate::store::pool::StoreError;
use crate::store::transaction::Witness;
use crate::store::{accounts, audit, counters, customers, denials, reservations, usage_reports};

type Transactions = <PgConnection as Connection>::TransactionManager;

/// The steps of a batch, each named by what is done by then. Tests break off between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The customers are locked.
    Locked,
    /// All that the commands need was read.
    Read,
    /// Every command was judged.
    Judged,
    /// Everything was written, nothing is committed.
    Written,
    /// It is committed, nobody was answered.
    Committed,
}

/// Told of each step.
pub type AtStep = Arc<dyn Fn(Step) + Send + Sync>;

/// What a batch is carried out with.
pub(super) struct Desk {
    pub(super) rules: Rules,
    pub(super) ids: EventIds,
    /// `None`: every denial is noted.
    pub(super) denials: Option<Arc<NotedDenials>>,
    pub(super) at_step: Option<AtStep>,
}

/// Why a batch was not carried out.
pub(super) enum Broken {
    /// Nothing happened.
    NotDone(MeterError),
    /// The answer to the commit of this transaction was lost.
    InDoubt {
        transaction: Option<String>,
        /// Something that it wrote; `None`: nothing that anybody was told of.
        witness: Option<Witness>,
        error: StoreError,
    },
}

impl<E: Into<MeterError>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::NotDone(error.into())
    }
}

impl Desk {
    /// Carries out all of the jobs or none, and returns the customers that were changed as they are now. The jobs hold their
    /// answers then; those that were left out because of who is `occupied` hold none.
    pub(super) fn carry_out(
        &self,
        conn: &mut PgConnection,
        jobs: &mut [Box<dyn Job>],
        occupied: Occupied,
    ) -> Result<Vec<Snapshot>, Broken> {
        Transactions::begin_transaction(conn)?;
        let mut work = match self.work(conn, jobs, occupied) {
            Ok(work) => work,
            Err(error) => {
                // Where this fails, the connection is broken, and the server rolls back by itself.
                let _ = Transactions::rollback_transaction(conn);
                return Err(error.into());
            }
        };
        self.pass(Step::Written);
        if work.changed {
            if let Err(error) = Transactions::commit_transaction(conn) {
                let error = StoreError::from(error);
                return Err(match error {
                    StoreError::Busy(_) | StoreError::Query(_) => error.into(),
                    StoreError::Unavailable(_) => Broken::InDoubt {
                        transaction: work.transaction,
                        witness: work.witness,
                        error,
                    },
                });
            }
        } else {
            Transactions::rollback_transaction(conn)?;
        }
        self.pass(Step::Committed);
        if let Some(denials) = &self.denials {
            denials.remember(work.denied.drain(..));
        }
        Ok(work.snapshots)
    }

    fn pass(&self, step: Step) {
        if let Some(at_step) = &self.at_step {
            at_step(step);
        }
    }

    /// Everything between the beginning and the end of the transaction.
    fn work(
        &self,
        conn: &mut PgConnection,
        jobs: &mut [Box<dyn Job>],
        occupied: Occupied,
    ) -> Result<Work, MeterError> {
        let entered = self.enter(conn, jobs, occupied)?;
        self.pass(Step::Locked);
        let mut accounts = self.read(conn, &entered, jobs)?;
        self.pass(Step::Read);
        for job in jobs {
            if entered.left_out.contains(job.customer().as_str()) {
                job.leave();
            } else {
                let account = accounts.get_mut(job.customer().as_str());
                job.judge(account);
            }
        }
        self.pass(Step::Judged);
        self.write(conn, entered, accounts)
    }

    /// Locks the customers, and makes those that are new where somebody may.
    fn enter(
        &self,
        conn: &mut PgConnection,
        jobs: &[Box<dyn Job>],
        occupied: Occupied,
    ) -> Result<Entered, MeterError> {
        let asked: HashSet<&str> = jobs.iter().map(|job| job.customer().as_str()).collect();
        let asked: Vec<&str> = asked.into_iter().collect();
        let mut entered = Entered {
            locked: customers::lock_all(conn, &asked, occupied)?,
            left_out: HashSet::new(),
            created: false,
        };
        if entered.locked.customers.len() == asked.len() {
            return Ok(entered);
        }
        let known: HashSet<&str> = entered
            .locked
            .customers
            .iter()
            .map(|(customer, _)| customer.as_str())
            .collect();
        let missing: Vec<&str> = asked.into_iter().filter(|id| !known.contains(id)).collect();
        if occupied == Occupied::Skip {
            entered.left_out = customers::existing(conn, &missing)?.into_iter().collect();
        }
        let new: HashSet<&str> = jobs
            .iter()
            .filter(|job| job.creates())
            .map(|job| job.customer().as_str())
            .filter(|id| !known.contains(id) && !entered.left_out.contains(*id))
            .collect();
        if new.is_empty() || self.rules.unknown_customers == UnknownCustomers::Reject {
            return Ok(entered);
        }
        let now = crate::store::clock::deciding_time(conn, self.rules.clock.as_ref())?;
        let new: Vec<&str> = new.into_iter().collect();
        customers::create_all(conn, &new, now)?;
        let entering: Vec<&str> = known.into_iter().chain(new).collect();
        entered.locked = customers::lock_all(conn, &entering, Occupied::Wait)?;
        entered.created = true;
        Ok(entered)
    }

    /// Reads all that the jobs need of the locked customers.
    fn read(
        &self,
        conn: &mut PgConnection,
        entered: &Entered,
        jobs: &[Box<dyn Job>],
    ) -> Result<HashMap<String, Account<'_>>, MeterError> {
        let Some(at) = entered.locked.at else {
            return Ok(HashMap::new());
        };
        let now = self.rules.clock.decide(at);
        let mut needs = Needs::default();
        for job in jobs {
            job.needs(&mut needs);
        }
        let held = if needs.reservations.is_empty() && needs.reservation_keys.is_empty() {
            Vec::new()
        } else {
            reservations::recall_all(conn, &needs.reservations, &needs.reservation_keys)?
        };
        let known = entered.locked.customers.clone();
        let book = &self.rules.book;
        let past = |customer: &str, standing: &Standing| {
            needs.past.contains(customer)
                || held.iter().any(|stored| {
                    stored.reservation.customer_id == customer
                        && stored.period_end.is_some()
                        && stored.period_start != standing.period.start
                })
        };
        let (snapshots, remembered) =
            Snapshot::read_all(conn, book, known, &needs.keys, now, past)?;
        let mut accounts: HashMap<String, Account<'_>> = snapshots
            .into_iter()
            .map(|snapshot| {
                let customer = snapshot.customer_id.clone();
                let account = Account::new(snapshot, self.rules.enforcement, &self.ids);
                (customer, account)
            })
            .collect();
        for first in remembered {
            if let Some(account) = accounts.get_mut(&first.customer_id) {
                account.remember(first);
            }
        }
        for stored in held {
            if let Some(account) = accounts.get_mut(&stored.reservation.customer_id) {
                account.recollect(stored);
            }
        }
        Ok(accounts)
    }

    /// Writes what the jobs did.
    fn write(
        &self,
        conn: &mut PgConnection,
        entered: Entered,
        accounts: HashMap<String, Account<'_>>,
    ) -> Result<Work, MeterError> {
        let mut touched: Vec<Account<'_>> = accounts
            .into_values()
            .filter(|account| !account.changes.is_empty() || !account.changes.denials.is_empty())
            .collect();
        // The order of the locks, and the order of the rows in their indices.
        touched.sort_by(|a, b| a.snapshot.customer_id.cmp(&b.snapshot.customer_id));
        let mut changed = entered.created;
        let denied = self.note_denials(conn, &touched)?;
        changed |= !denied.is_empty();
        touched.retain(|account| !account.changes.is_empty());
        for account in &mut touched {
            let summed_up = account.snapshot.summed_up.drain(..);
            account.changes.counters.extend(summed_up);
        }
        changed |= !touched.is_empty();
        for account in &touched {
            if let Some(instant) = account.changes.closed_at {
                counters::close_running(conn, &account.snapshot.customer_id, instant)?;
            }
            for row in &account.changes.audits {
                audit::append(conn, row)?;
            }
        }
        let counters = touched.iter().flat_map(|account| {
            let counters = &account.snapshot.counters;
            account
                .changes
                .counters
                .iter()
                .filter_map(|index| counters.get(*index))
        });
        let entries = touched.iter().flat_map(|account| &account.changes.entries);
        if counters.clone().next().is_some() {
            accounts::write_all(conn, counters, entries)?;
        }
        let accruals: Vec<_> = touched.iter().flat_map(Account::accruals).collect();
        if !accruals.is_empty() {
            usage_reports::accrue_all(conn, &accruals)?;
        }
        let rows = |which: fn(&Changes) -> &[usize]| {
            touched.iter().flat_map(move |account| {
                which(&account.changes)
                    .iter()
                    .filter_map(|index| account.reservations.get(*index))
            })
        };
        let reserved = rows(|changes| &changes.reserved);
        if reserved.clone().next().is_some() {
            reservations::insert_all(conn, reserved)?;
        }
        let settled = rows(|changes| &changes.settled);
        if settled.clone().next().is_some() {
            reservations::settle_all(conn, settled)?;
        }
        Ok(Work {
            changed,
            transaction: entered.locked.transaction,
            witness: touched.iter().find_map(witness),
            denied,
            snapshots: touched
                .into_iter()
                .map(|account| account.snapshot)
                .collect(),
        })
    }

    /// Notes the denials that were not noted before in their hour, and returns them.
    fn note_denials(
        &self,
        conn: &mut PgConnection,
        touched: &[Account<'_>],
    ) -> Result<Vec<Denial>, MeterError> {
        let mut noted = Vec::new();
        let Some(now) = touched.first().map(|account| account.snapshot.now) else {
            return Ok(noted);
        };
        let mut rows = Vec::new();
        for account in touched {
            let customer = account.snapshot.customer_id.as_str();
            for (feature, reason) in &account.changes.denials {
                let denial = Denial::new(customer, feature, now);
                let known = self
                    .denials
                    .as_ref()
                    .is_some_and(|known| known.knows(&denial));
                if !known && !noted.contains(&denial) {
                    noted.push(denial);
                    rows.push((customer, feature.as_str(), *reason));
                }
            }
        }
        if !rows.is_empty() {
            denials::note_all(conn, &rows, now)?;
        }
        Ok(noted)
    }
}

/// Something that is in the database if, and only if, what was done to the account is.
fn witness(account: &Account<'_>) -> Option<Witness> {
    let customer = || account.snapshot.customer_id.clone();
    let Changes {
        entries,
        reserved,
        settled,
        ..
    } = &account.changes;
    let entry = entries.first().map(|entry| Witness::Entry {
        customer: customer(),
        id: entry.event_id,
    });
    entry.or_else(|| {
        let index = reserved.first().or(settled.first())?;
        let reservation = &account.reservations.get(*index)?.reservation;
        Some(Witness::Reservation {
            customer: customer(),
            id: reservation.id,
            state: reservation.state,
        })
    })
}

struct Entered {
    locked: customers::Locked,
    /// Customers that somebody else has locked.
    left_out: HashSet<String>,
    created: bool,
}

struct Work {
    /// Whether there is anything to commit.
    changed: bool,
    transaction: Option<String>,
    witness: Option<Witness>,
    denied: Vec<Denial>,
    snapshots: Vec<Snapshot>,
}
