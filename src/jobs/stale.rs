//! Live subscriptions whose period ended two hours ago without news are fetched again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rest;
use crate::service::apply_event::refresh_overdue;
use crate::service::context::Context;

/// Access that depends on the news is in its grace by then, so minutes do not matter.
const LOOK_EVERY: Duration = Duration::from_mins(10);

/// Looks every ten minutes until the token is cancelled.
pub(super) async fn watch(context: Context, token: CancellationToken) {
    while !token.is_cancelled() {
        match refresh_overdue(&context, &token).await {
            Ok(0) => {}
            Ok(refreshed) => tracing::info!(refreshed, "overdue subscriptions were fetched again"),
            Err(error) => tracing::warn!(%error, "overdue subscriptions cannot be looked for"),
        }
        rest(&token, LOOK_EVERY).await;
    }
}
