//! Ends with the period that are kept here are sent to their provider.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::rest;
use crate::service::billing::send_ends;
use crate::service::context::Context;

/// An end is sent two hours ahead: a minute more or less is nothing, and a try a minute is enough for its last ones.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Looks every minute until the token is cancelled.
pub(super) async fn watch(context: Context, token: CancellationToken) {
    while !token.is_cancelled() {
        match send_ends(&context, &token).await {
            Ok(0) => {}
            Ok(sent) => {
                tracing::info!(sent, "cancelled subscriptions were ended at their provider");
            }
            Err(error) => tracing::warn!(%error, "ends that are due cannot be looked for"),
        }
        tokio::select! {
            () = rest(&token, LOOK_EVERY) => {}
            () = context.bells.intended_ends.notified() => {}
        }
    }
}
