//! What was lately read of customers, for checks: bounded in number and in age, and updated by what this process writes. It never
//! decides an admission.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::OnceCell;

use super::snapshot::Snapshot;
use super::{MeterError, Question};
use crate::domain::decision::Decision;
use crate::store::clock::Clock;
use crate::store::pool::StoreError;

/// Most customers that are kept. Each takes up to ten kilobytes, its answers included; more customers than this only cost readings.
const CUSTOMERS: u64 = 10_000;

/// Most answers that a reading keeps: callers of one customer mostly ask the same.
const ANSWERS: usize = 4;

/// A decision with its JSON, which is made once for all who ask the same of the same reading.
#[derive(Debug)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// What the API shows of it.
    pub json: String,
}

impl Answer {
    pub(super) fn new(decision: Decision) -> Result<Self, MeterError> {
        let json = serde_json::to_string(&decision)
            .map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
        Ok(Self { decision, json })
    }
}

/// A reading, or the place where one under way will be.
pub(super) struct Slot {
    /// From before it was begun.
    epoch: Epoch,
    reading: OnceCell<Result<Arc<Snapshot>, StoreError>>,
    /// A fresher one is on its way.
    refreshing: AtomicBool,
    /// What was answered from the reading.
    answers: Mutex<Vec<(Question, Arc<Answer>)>>,
}

impl Slot {
    fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            reading: OnceCell::new(),
            refreshing: AtomicBool::new(false),
            answers: Mutex::new(Vec::new()),
        }
    }

    /// The answer to a question, which `make` decides from this slot's reading if nobody has asked it yet.
    pub(super) fn answer(
        &self,
        question: &Question,
        make: impl FnOnce() -> Result<Answer, MeterError>,
    ) -> Result<Arc<Answer>, MeterError> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = answers.iter().find(|(asked, _)| asked == question) {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(make()?);
        if answers.len() < ANSWERS {
            answers.push((question.clone(), Arc::clone(&answer)));
        }
        Ok(answer)
    }
}

/// A moment, and how much was forgotten by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch {
    number: u64,
    asked: Instant,
    /// The same moment by the service's clock, which may jump.
    asked_at: DateTime<Utc>,
}

/// What was lately read.
pub(super) struct Recent {
    slots: Cache<String, Arc<Slot>>,
    /// How old a reading may be that is answered from.
    max_age: Duration,
    clock: Arc<dyn Clock>,
    /// Counts what was forgotten: what was read or written before must not come back after.
    epoch: AtomicU64,
}

impl Recent {
    pub(super) fn new(max_age: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            slots: Cache::builder()
                .max_capacity(CUSTOMERS)
                .time_to_live(max_age.max(Duration::from_millis(1)))
                .build(),
            max_age,
            clock,
            epoch: AtomicU64::new(0),
        }
    }

    /// To be given to [`Recent::publish`] with what is written from here on.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch {
            number: self.epoch.load(Ordering::SeqCst),
            asked: Instant::now(),
            asked_at: self.clock.now(),
        }
    }

    /// Whether nothing was forgotten since.
    fn is_current(&self, epoch: Epoch) -> bool {
        self.epoch.load(Ordering::SeqCst) == epoch.number
    }

    /// The customer's slot: a filled one no older than allowed, or an empty one to be filled.
    pub(super) fn slot(&self, customer: &str) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(customer).filter(|slot| self.is_fresh(slot)) {
            return slot;
        }
        let fresh = Arc::new(self.empty());
        let result = self
            .slots
            .entry_by_ref(customer)
            .and_compute_with(|present| match present {
                // Another caller was faster.
                Some(entry) if self.is_fresh(entry.value()) => Op::Nop,
                _ => Op::Put(Arc::clone(&fresh)),
            });
        match result {
            moka::ops::compute::CompResult::Unchanged(entry) => entry.into_value(),
            _ => fresh,
        }
    }

    /// Puts in what a committed batch left, unless something was forgotten since `epoch`. A customer whom nobody checks takes no room.
    pub(super) fn publish(&self, snapshot: Snapshot, epoch: Epoch) {
        if !self.slots.contains_key(snapshot.customer_id.as_str()) {
            return;
        }
        let customer = snapshot.customer_id.clone();
        let slot = Slot {
            reading: OnceCell::new_with(Some(Ok(Arc::new(snapshot)))),
            ..Slot::empty(epoch)
        };
        self.slots.insert(customer.clone(), Arc::new(slot));
        self.withdraw_if_forgotten(&customer, epoch);
    }

    /// Takes back what was put in if something was forgotten since `epoch`. Asked after it was put in: whoever forgets something from here
    /// on finds it there.
    fn withdraw_if_forgotten(&self, customer: &str, epoch: Epoch) {
        if !self.is_current(epoch) {
            self.slots.invalidate(customer);
        }
    }

    /// Drops what is kept of a customer: whoever asks after this is told what is true after this.
    pub(super) fn forget(&self, customer: &str) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.slots.invalidate(customer);
    }

    /// Whether the caller should have a fresher reading made: the slot is filled, no longer young, and nobody else does it.
    pub(super) fn is_ageing(&self, slot: &Slot) -> bool {
        slot.epoch.asked.elapsed() * 2 > self.max_age
            && slot.reading.initialized()
            && !slot.refreshing.swap(true, Ordering::Relaxed)
    }

    /// Puts a fresher slot in the place of an older one, unless that is gone.
    pub(super) fn replace(&self, customer: &str, older: &Arc<Slot>, fresher: Arc<Slot>) {
        let epoch = fresher.epoch;
        self.slots
            .entry_by_ref(customer)
            .and_compute_with(|present| match present {
                Some(entry) if Arc::ptr_eq(entry.value(), older) => Op::Put(fresher),
                _ => Op::Nop,
            });
        self.withdraw_if_forgotten(customer, epoch);
    }

    /// A slot for a reading that is begun after this.
    pub(super) fn empty(&self) -> Slot {
        Slot::empty(self.epoch())
    }

    /// Drops a slot whose reading failed, so that the next caller tries again.
    fn drop_failed(&self, customer: &str, failed: &Arc<Slot>) {
        self.slots
            .entry_by_ref(customer)
            .and_compute_with(|present| match present {
                Some(entry) if Arc::ptr_eq(entry.value(), failed) => Op::Remove,
                _ => Op::Nop,
            });
    }

    fn is_fresh(&self, slot: &Slot) -> bool {
        let by_clock = self.clock.now() - slot.epoch.asked_at;
        slot.epoch.asked.elapsed() < self.max_age
            && by_clock >= TimeDelta::zero()
            && by_clock.to_std().is_ok_and(|age| age < self.max_age)
    }

    /// The slot's reading, which all who wait for it share; `read` is called by one of them.
    pub(super) async fn reading<F>(
        &self,
        customer: &str,
        slot: &Arc<Slot>,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<Snapshot>, MeterError>
    where
        F: Future<Output = Result<Snapshot, MeterError>>,
    {
        let reading = slot
            .reading
            .get_or_init(|| async {
                match read().await {
                    Ok(snapshot) => Ok(Arc::new(snapshot)),
                    Err(MeterError::Store(error)) => Err(error),
                    Err(other) => Err(StoreError::Busy(other.to_string())),
                }
            })
            .await;
        match reading {
            Ok(snapshot) => Ok(Arc::clone(snapshot)),
            Err(error) => {
                self.drop_failed(customer, slot);
                Err(error.shared().into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
