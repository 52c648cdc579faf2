//! Applies what the providers sent.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::queue::{Queue, wait_until, work_off};
use super::{BackOff, rest};
use crate::service::apply_event::apply_next;
use crate::service::context::Context;
use crate::store::clock::deciding_time;
use crate::store::inbox;
use crate::store::pool::{self, StoreError};

/// Applies events as they become due, one at a time, until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let queue = Queue {
        name: "inbox",
        bell: |bells| &bells.inbox,
        step: |context| Box::pin(step(context)),
    };
    work_off(context, token, queue).await;
}

/// Applies one event, or tells how long there is nothing to do.
async fn step(context: &Context) -> Result<Option<Duration>, StoreError> {
    if apply_next(context).await? {
        return Ok(None);
    }
    let clock = Arc::clone(context.clock());
    let (due, now) = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        Ok::<_, StoreError>((inbox::next_due(conn, now)?, now))
    })
    .await?;
    Ok(Some(wait_until(due, now)))
}

/// Makes what is parked due once: a price that was missing may be configured since the last start.
pub(super) async fn wake(context: Context, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        let clock = Arc::clone(context.clock());
        let woken: Result<usize, StoreError> = pool::run(&context.pool, move |conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            Ok(inbox::wake_all(conn, now)?)
        })
        .await;
        match woken {
            Ok(events) => {
                if events > 0 {
                    tracing::info!(events, "parked events are tried again after the start");
                    context.bells.inbox.notify_one();
                }
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "parked events were not woken yet");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}
