//! Working off what lies in the database and is due at some time: on and on while something is due, else at rest until the bell rings or
//! the next thing is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::service::context::{Bells, Context};
use crate::store::pool::StoreError;

/// How long to wait at most. The bell rings in the replica that put something there only; the others look.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Guards against spinning where clocks disagree on what is due.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// `None`: something was done; else how long there is nothing to do.
type Stepped = Result<Option<Duration>, StoreError>;

/// One kind of work.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    /// For the log.
    pub(super) name: &'static str,
    /// Rings where something was put there.
    pub(super) bell: fn(&Bells) -> &Notify,
    /// Does what is due first; where nothing is, tells how long to rest.
    pub(super) step: for<'a> fn(&'a Context) -> BoxFuture<'a, Stepped>,
}

/// Works until the token is cancelled.
pub(super) async fn work_off(context: Context, token: CancellationToken, queue: Queue) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        match (queue.step)(&context).await {
            Ok(None) => back_off.reset(),
            Ok(Some(wait)) => {
                back_off.reset();
                tokio::select! {
                    () = token.cancelled() => {}
                    () = (queue.bell)(&context.bells).notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) => {
                tracing::warn!(queue = queue.name, %error, "what is due cannot be read");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}

/// How long to rest until the next thing is due.
pub(super) fn wait_until(due: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let wait = due.map_or(LONGEST_WAIT, |due| {
        (due - now).to_std().unwrap_or(SHORTEST_WAIT)
    });
    wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
}
