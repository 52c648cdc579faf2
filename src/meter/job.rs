//! A command with the caller who waits for its answer.

use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::account::Account;
use super::command::{Command, MeterError, Needs};
use crate::domain::ids::CustomerId;

/// A command of any kind on its way through a writer.
pub(super) trait Job: Send {
    fn customer(&self) -> &CustomerId;
    fn needs<'a>(&'a self, needs: &mut Needs<'a>);
    fn creates(&self) -> bool;
    fn entries(&self) -> usize;

    /// Judges the command and keeps the answer until it is true. `None`: there is no such customer.
    fn judge(&mut self, account: Option<&mut Account<'_>>);

    /// Forgets the last judgement: its turn has not come.
    fn leave(&mut self);

    /// Whether it holds an answer.
    fn is_judged(&self) -> bool;

    /// Gives the caller the answer of the last judgement, now that it is committed.
    fn answer(self: Box<Self>);

    /// Tells the caller that nothing came of it.
    fn refuse(self: Box<Self>, error: MeterError);

    /// For how long the caller has waited.
    fn waited(&self) -> Duration;

    /// Whether the caller has left.
    fn is_abandoned(&self) -> bool;
}

/// A command of one kind.
pub(super) struct Pending<C: Command> {
    pub(super) command: C,
    pub(super) caller: oneshot::Sender<Result<C::Answer, MeterError>>,
    pub(super) since: Instant,
    /// What the command takes of the memory that all waiting ones may take; given back with it.
    pub(super) _room: OwnedSemaphorePermit,
    pub(super) answer: Option<Result<C::Answer, MeterError>>,
}

impl<C: Command> Job for Pending<C> {
    fn customer(&self) -> &CustomerId {
        self.command.customer()
    }

    fn needs<'a>(&'a self, needs: &mut Needs<'a>) {
        self.command.needs(needs);
    }

    fn creates(&self) -> bool {
        self.command.creates()
    }

    fn entries(&self) -> usize {
        self.command.entries()
    }

    fn judge(&mut self, account: Option<&mut Account<'_>>) {
        self.answer = Some(match account {
            Some(account) => self.command.judge(account),
            None => self.command.of_nobody(),
        });
    }

    fn leave(&mut self) {
        self.answer = None;
    }

    fn is_judged(&self) -> bool {
        self.answer.is_some()
    }

    fn answer(self: Box<Self>) {
        let Self { caller, answer, .. } = *self;
        if let Some(answer) = answer {
            // Nobody listens any more: the fact stands all the same.
            let _ = caller.send(answer);
        }
    }

    fn refuse(self: Box<Self>, error: MeterError) {
        let _ = self.caller.send(Err(error));
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn is_abandoned(&self) -> bool {
        self.caller.is_closed()
    }
}
