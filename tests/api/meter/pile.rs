//! Batches that a test makes: what is asked for while one is held at its first step is the next one.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all, poll_immediate};
use plangate::domain::ids::CustomerId;
use plangate::domain::reservation::ReservationId;
use plangate::meter::{AtStep, Consume, Meter, ReleaseReservation, Step};

use super::Calls;

type Action = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// How many batches have begun.
    begun: usize,
    /// This batch waits at its first step.
    held: Option<usize>,
    /// What happens when this batch, or one after it, comes to the step.
    action: Option<(usize, Step, Action)>,
}

/// Holds batches, and does things at their steps.
#[derive(Default)]
pub(super) struct Puppeteer {
    state: Mutex<State>,
    changed: Condvar,
}

impl Puppeteer {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the meter's options take.
    pub(super) fn at_step(self: &Arc<Self>) -> AtStep {
        let this = Arc::clone(self);
        Arc::new(move |step| this.pass(step))
    }

    fn pass(&self, step: Step) {
        let mut state = self.state.lock().unwrap();
        if step == Step::Locked {
            state.begun += 1;
            self.changed.notify_all();
            let batch = state.begun;
            state = self
                .changed
                .wait_while(state, |state| state.held == Some(batch))
                .unwrap();
        }
        let begun = state.begun;
        let due = state
            .action
            .take_if(|(batch, at, _)| begun >= *batch && *at == step);
        drop(state);
        if let Some((_, _, action)) = due {
            action();
        }
    }

    fn hold_next(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        let next = state.begun + 1;
        state.held = Some(next);
        next
    }

    fn wait_for(&self, batch: usize) {
        let state = self.state.lock().unwrap();
        let patience = Duration::from_secs(30);
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| state.begun < batch)
            .unwrap();
        assert!(!waited.1.timed_out(), "no batch begins");
    }

    fn release(&self) {
        self.state.lock().unwrap().held = None;
        self.changed.notify_all();
    }

    /// Makes all of the calls in one batch of the meter's one writer, and does `action` when the batch comes to the step.
    pub(super) async fn in_one_batch(
        &self,
        meter: &Meter,
        commands: Vec<Consume>,
        at: Option<(Step, Action)>,
    ) -> Calls {
        let calls = commands.iter().cloned();
        let calls = calls.map(|command| meter.consume(command));
        let told = self.together(meter, join_all(calls), at).await;
        Calls { commands, told }
    }

    /// The same for calls of any kind: all that `calls` asks for when it is first polled.
    pub(super) async fn together<F: Future>(
        &self,
        meter: &Meter,
        calls: F,
        at: Option<(Step, Action)>,
    ) -> F::Output {
        let first = self.hold_next();
        // Changes nothing, and so commits nothing.
        let idle = ReleaseReservation {
            customer: CustomerId::parse("nobody").unwrap(),
            id: ReservationId(uuid::Uuid::nil()),
        };
        let mut opener = pin!(meter.free(idle));
        // Puts it into the queue.
        assert!(poll_immediate(&mut opener).await.is_none());
        self.wait_for(first);
        self.state.lock().unwrap().action = at.map(|(step, action)| (first + 1, step, action));
        let (told, ()) = join(calls, async { self.release() }).await;
        assert!(opener.await.is_err(), "there is no such reservation");
        told
    }
}
