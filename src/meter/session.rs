//! A writer's connection: carries batches out on it, makes it anew when it is lost, and finds out what became of a commit whose
//! answer was lost with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use diesel::PgConnection;

use super::batch::{Broken, Desk};
use super::command::MeterError;
use super::job::Job;
use super::recent::Recent;
use super::writer::{Failure, PATIENCE};
use crate::store::customers::Occupied;
use crate::store::pool::{Pool, StoreError};
use crate::store::transaction::{Fate, Witness, fate};

/// How long to wait before asking again for a connection, or for a fate that is not decided.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(50);

/// A writer's session.
pub(super) struct Session {
    pub(super) pool: Pool,
    pub(super) desk: Desk,
    pub(super) recent: Arc<Recent>,
    /// `None`: there is none yet, or it was lost.
    pub(super) conn: Option<PgConnection>,
}

impl Session {
    /// Carries out all of the jobs, or none; with [`Occupied::Skip`] all but those whose customers somebody else has locked.
    pub(super) fn attempt(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        occupied: Occupied,
    ) -> Result<(), Failure> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => {
                let conn = self.pool.dedicated();
                none.insert(conn.map_err(|error| Failure::Lost(error.to_string()))?)
            }
        };
        let epoch = self.recent.epoch();
        let carried_out = catch_unwind(AssertUnwindSafe(|| {
            self.desk.carry_out(conn, jobs, occupied)
        }));
        match carried_out {
            Ok(Ok(snapshots)) => {
                for snapshot in snapshots {
                    self.recent.publish(snapshot, epoch);
                }
                Ok(())
            }
            Ok(Err(Broken::NotDone(error))) => Err(self.not_done(error)),
            Ok(Err(Broken::InDoubt {
                transaction,
                witness,
                error,
            })) => {
                self.conn = None;
                let found_out = self.find_out(transaction, witness.as_ref(), &error);
                // Whatever it was, nobody who is told of it may be answered from what was read meanwhile.
                for job in &*jobs {
                    self.recent.forget(job.customer().as_str());
                }
                found_out
            }
            Err(_) => {
                // The panic was reported where it happened; in which state it left the connection is not known.
                self.conn = None;
                let error = diesel::result::Error::QueryBuilderError("a command panicked".into());
                Err(Failure::Refused(error.into()))
            }
        }
    }

    fn not_done(&mut self, error: MeterError) -> Failure {
        match error {
            MeterError::Store(StoreError::Unavailable(reason)) => {
                self.conn = None;
                Failure::Lost(reason)
            }
            MeterError::Store(StoreError::Busy(reason)) => Failure::Busy(reason),
            error => Failure::Refused(error),
        }
    }

    /// Asks the database what became of a transaction.
    fn find_out(
        &mut self,
        transaction: Option<String>,
        witness: Option<&Witness>,
        error: &StoreError,
    ) -> Result<(), Failure> {
        let unknown = || Err(Failure::Unknown(error.to_string()));
        let Some(transaction) = transaction else {
            return unknown();
        };
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            let answer = self.pool.dedicated().and_then(|mut conn| {
                let fate = fate(&mut conn, &transaction, witness)?;
                Ok((conn, fate))
            });
            match answer {
                Ok((conn, Fate::Committed)) => {
                    self.conn = Some(conn);
                    return Ok(());
                }
                Ok((conn, Fate::Aborted)) => {
                    self.conn = Some(conn);
                    return Err(Failure::Lost(error.to_string()));
                }
                Ok((_, Fate::Unknown)) | Err(StoreError::Query(_)) => return unknown(),
                Ok((_, Fate::UnderWay)) | Err(StoreError::Unavailable(_) | StoreError::Busy(_)) => {
                    sleep(BETWEEN_QUESTIONS);
                }
            }
        }
        unknown()
    }
}
