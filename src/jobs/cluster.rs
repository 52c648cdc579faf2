//! Keeps the embedded cluster running.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{BackOff, rest};
use crate::store::embedded::{Cluster, EmbeddedError};

/// Requests fail while the server is away; looking costs next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts the server again whenever it died, until the token is cancelled.
pub(super) async fn supervise(cluster: Arc<Cluster>, token: CancellationToken) {
    let mut back_off = BackOff::default();
    while !token.is_cancelled() {
        if cluster.is_alive() {
            back_off.reset();
            rest(&token, LOOK_EVERY).await;
            continue;
        }
        tracing::error!("the embedded PostgreSQL died and is started again");
        let dead = Arc::clone(&cluster);
        let restart = tokio::task::spawn_blocking(move || dead.restart());
        // A start can take minutes; stopping the cluster makes it give up, so it is not waited for here.
        let outcome = tokio::select! {
            () = token.cancelled() => return,
            outcome = restart => outcome,
        };
        match outcome {
            Ok(Ok(())) => tracing::info!("the embedded PostgreSQL is back"),
            Ok(Err(EmbeddedError::Stopped)) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "the embedded PostgreSQL could not be started again");
                rest(&token, back_off.next_pause()).await;
            }
            Err(error) => {
                tracing::error!(%error, "starting the embedded PostgreSQL was broken off");
                rest(&token, back_off.next_pause()).await;
            }
        }
    }
}
