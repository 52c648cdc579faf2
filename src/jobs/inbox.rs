//! Applies what the providers sent.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::service::apply_event::apply_next;
use crate::service::context::Context;
use crate::store::inbox;
use crate::store::pool::{self, StoreError};

/// How long to wait at most. The bell rings in the replica that received an event only; the others look.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Guards against spinning where clocks disagree on what is due.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// Applies events as they become due, one at a time, until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        match step(&context).await {
            Ok(None) => back_off.reset(),
            Ok(Some(wait)) => {
                back_off.reset();
                tokio::select! {
                    () = token.cancelled() => {}
                    () = context.inbox_bell.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the inbox cannot be read");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}

/// Applies one event, or tells how long there is nothing to do.
async fn step(context: &Context) -> Result<Option<Duration>, StoreError> {
    if apply_next(context).await? {
        return Ok(None);
    }
    let due = pool::run(&context.pool, |conn| {
        inbox::next_due(conn).map_err(StoreError::from)
    })
    .await?;
    let wait = due
        .and_then(|due| (due - context.clock().now()).to_std().ok())
        .unwrap_or(if due.is_some() {
            SHORTEST_WAIT
        } else {
            LONGEST_WAIT
        });
    Ok(Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)))
}
