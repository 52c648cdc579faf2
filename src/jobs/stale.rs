//! What should have changed by now without a word of it is looked at: live subscriptions whose period ended two hours ago, those that still
//! wait for their first payment, and checkouts whose time is over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rest;
use crate::service::apply_event::{close_stale_checkouts, refresh_overdue};
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
        match close_stale_checkouts(&context, &token).await {
            Ok(0) => {}
            Ok(settled) => tracing::info!(settled, "stale checkouts were settled"),
            Err(error) => tracing::warn!(%error, "stale checkouts cannot be looked for"),
        }
        rest(&token, LOOK_EVERY).await;
    }
}
