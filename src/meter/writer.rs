//! A writer: takes what has piled up in its queue, has it carried out in one go, and answers everyone. It never waits for a batch to
//! fill: while one is carried out, the next piles up.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::command::MeterError;
use super::job::Job;
use crate::store::customers::Occupied;
use crate::store::pool::StoreError;

/// Most jobs that are taken at once. More would make everyone wait for the slowest part of a long transaction; fewer cost commits.
const TAKEN_MAX: usize = 512;
/// Most ledger entries in a transaction, unless a single job has more: a report of usage may hold a thousand.
const ENTRIES_MAX: usize = 2000;
/// How long a command may wait, from its arrival to the beginning of the attempt that carries it out: longer than a database takes
/// to restart; after that its caller has long asked again.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How long a writer rests before it tries again what a lost connection broke off.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// What became of an attempt that was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing happened: the database was not there, or went away.
    Lost(String),
    /// Nothing happened: a deadlock or a time-out stood in the way.
    Busy(String),
    /// Nothing happened: at least one of the jobs cannot be carried out.
    Refused(MeterError),
    /// The database went away, and whether it happened could not be found out.
    Unknown(String),
}

/// How often a batch is tried again that a deadlock or a time-out broke off.
const TRIES: usize = 3;

/// Carries out batches by `attempt`, which either carries out all jobs of a slice or none; where it is told to skip those whose customers are
/// occupied, it leaves these without an answer.
pub(super) struct Writer<A, P> {
    pub(super) attempt: A,
    /// Rests.
    pub(super) pause: P,
}

impl<A, P> Writer<A, P>
where
    A: FnMut(&mut [Box<dyn Job>], Occupied) -> Result<(), Failure>,
    P: FnMut(Duration),
{
    /// Works until `stop` is cancelled, or no one is left who could put anything into the queue; what is in the queue then is
    /// carried out first. Nothing gets into it any more.
    pub(super) async fn run(
        mut self,
        mut queue: Receiver<Box<dyn Job>>,
        stop: CancellationToken,
        group: fn(&str) -> u64,
    ) {
        let mut jobs = Vec::new();
        loop {
            let open = !queue.is_closed();
            tokio::select! {
                biased;
                () = stop.cancelled(), if open => queue.close(),
                count = queue.recv_many(&mut jobs, TAKEN_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.carry_out(std::mem::take(&mut jobs), group);
                }
            }
        }
    }

    /// One transaction for each group.
    fn carry_out(&mut self, mut jobs: Vec<Box<dyn Job>>, group: fn(&str) -> u64) {
        let of = |job: &dyn Job| group(job.customer().as_str());
        jobs.sort_by_key(|job| of(job.as_ref()));
        while let Some(last) = jobs.last().map(|job| of(job.as_ref())) {
            let begins = jobs.partition_point(|job| of(job.as_ref()) < last);
            let mut batch = jobs.split_off(begins);
            while !batch.is_empty() {
                let rest = batch.split_off(fitting(&batch));
                self.settle(std::mem::replace(&mut batch, rest));
            }
        }
    }

    /// Sees to it that every job is answered, and truly.
    ///
    /// Where somebody else stands in the way, everyone whose customer is free is carried out first; the others are tried once more and
    /// then refused. Nobody waits for a stranger's lock for longer than one attempt takes.
    fn settle(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let (mut occupied, mut last, mut tries) = (Occupied::Wait, false, 0);
        loop {
            jobs = still_wanted(jobs);
            if jobs.is_empty() {
                return;
            }
            match (self.attempt)(&mut jobs, occupied) {
                Ok(()) => {
                    let (judged, left) = jobs.into_iter().partition(|job| job.is_judged());
                    jobs = left;
                    let judged: Vec<Box<dyn Job>> = judged;
                    judged.into_iter().for_each(Job::answer);
                    (occupied, last) = (Occupied::Wait, true);
                }
                Err(Failure::Lost(reason)) => {
                    tracing::warn!(%reason, jobs = jobs.len(), "a batch is tried again");
                    (self.pause)(BETWEEN_ATTEMPTS);
                }
                Err(Failure::Busy(reason)) if last || tries == TRIES => {
                    return refuse_all(jobs, || StoreError::Busy(reason.clone()));
                }
                Err(Failure::Busy(reason)) => {
                    tracing::warn!(%reason, jobs = jobs.len(), "a batch is tried again");
                    tries += 1;
                    occupied = Occupied::Skip;
                }
                Err(Failure::Refused(error)) => return self.split(jobs, error),
                Err(Failure::Unknown(reason)) => {
                    return refuse_all(jobs, || StoreError::Unavailable(reason.clone()));
                }
            }
        }
    }

    /// Tries each half of the jobs, so that in the end none fails for another's sake. One that is alone already is refused.
    fn split(&mut self, mut jobs: Vec<Box<dyn Job>>, error: MeterError) {
        if jobs.len() == 1 {
            if let Some(job) = jobs.pop() {
                job.refuse(error);
            }
            return;
        }
        tracing::warn!(%error, jobs = jobs.len(), "a batch failed; each half of it is tried alone");
        let rest = jobs.split_off(jobs.len() / 2);
        self.settle(jobs);
        self.settle(rest);
    }
}

fn refuse_all(jobs: Vec<Box<dyn Job>>, error: impl Fn() -> StoreError) {
    for job in jobs {
        job.refuse(error().into());
    }
}

/// How many of the jobs, at least one, go into one transaction.
fn fitting(jobs: &[Box<dyn Job>]) -> usize {
    let mut entries = 0;
    let fitting = jobs.iter().take_while(|job| {
        entries += job.entries();
        entries <= ENTRIES_MAX
    });
    fitting.count().max(1)
}

/// The jobs that somebody still waits for. Those that have waited for too long are refused: nothing came of them.
fn still_wanted(jobs: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
    let (late, wanted): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .filter(|job| !job.is_abandoned())
        .partition(|job| job.waited() > PATIENCE);
    refuse_all(late, || {
        StoreError::Busy("the database did not come back in time".to_owned())
    });
    wanted
}

#[cfg(test)]
mod tests;
