//! Bills overage with payment links where the provider has no meters.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::service::context::Context;
use crate::service::overage_invoices::bill_next;

/// How long to wait where nothing was due. What is billed is a month old, so nobody waits for this.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Bills what becomes due until the token is cancelled.
pub(super) async fn work(context: Context, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        match bill_next(&context).await {
            Ok(true) => back_off.reset(),
            Ok(false) => {
                back_off.reset();
                rest(&token, LOOK_EVERY).await;
            }
            Err(error) => {
                tracing::warn!(%error, "overage to be billed cannot be read");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}
