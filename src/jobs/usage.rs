//! Tells providers what was used above limits.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::service::context::Context;
use crate::service::usage_reports::tell_due;

/// How long to wait where nothing was due. What is owed gathers for several times as long before it is told.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Tells what becomes due until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        match tell_due(&context).await {
            Ok(0) => {
                back_off.reset();
                tokio::select! {
                    () = token.cancelled() => {}
                    () = context.bells.usage.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            Ok(_) => back_off.reset(),
            Err(error) => {
                tracing::warn!(%error, "usage reports cannot be read");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}
