//! Tells providers what was used above limits.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::queue::{Queue, work_off};
use crate::service::context::Context;
use crate::service::usage_reports::tell_due;
use crate::store::pool::StoreError;

/// How long to wait where nothing was due. What is owed gathers for several times as long before it is told.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Tells what becomes due until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let queue = Queue {
        name: "usage",
        bell: |bells| &bells.usage,
        step: |context| Box::pin(step(context)),
    };
    work_off(context, token, queue).await;
}

/// Tells what is due, or how long there is nothing to do.
async fn step(context: &Context) -> Result<Option<Duration>, StoreError> {
    let told = tell_due(context).await?;
    Ok((told == 0).then_some(LOOK_EVERY))
}
