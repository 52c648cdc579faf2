//! Ends subscriptions at their provider that were found to have to end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::service::apply_event::end_next;
use crate::service::context::Context;
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscription_endings;

/// How long to wait at most. The bell rings in the replica that found out only; the others look.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Guards against spinning where clocks disagree on what is due.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// Ends what is due, one at a time, until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        match step(&context).await {
            Ok(None) => back_off.reset(),
            Ok(Some(wait)) => {
                back_off.reset();
                tokio::select! {
                    () = token.cancelled() => {}
                    () = context.bells.endings.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the subscriptions that must end cannot be read");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}

/// Ends one subscription, or tells how long there is nothing to do.
async fn step(context: &Context) -> Result<Option<Duration>, StoreError> {
    if end_next(context).await? {
        return Ok(None);
    }
    let clock = Arc::clone(context.clock());
    let (due, now) = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        Ok::<_, StoreError>((subscription_endings::next_due(conn, now)?, now))
    })
    .await?;
    let wait = due.map_or(LONGEST_WAIT, |due| {
        (due - now).to_std().unwrap_or(SHORTEST_WAIT)
    });
    Ok(Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)))
}
