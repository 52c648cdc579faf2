//! Ends subscriptions at their provider that were found to have to end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::queue::{Queue, wait_until, work_off};
use crate::service::apply_event::end_next;
use crate::service::context::Context;
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscription_endings;

/// Ends what is due, one at a time, until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let queue = Queue {
        name: "endings",
        bell: |bells| &bells.endings,
        step: |context| Box::pin(step(context)),
    };
    work_off(context, token, queue).await;
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
    Ok(Some(wait_until(due, now)))
}
