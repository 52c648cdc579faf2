//! Work that no request waits for. Every job heeds one token and ends after its unit at hand, never within it.

mod cluster;
mod endings;
mod inbox;
mod intended_ends;
mod overage_invoices;
mod queue;
mod stale;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::service::context::Context;
use crate::store::embedded::Cluster;

/// Events that are applied at the same time. Each waits for the provider most of the while, so these are as many as keep up with 200
/// subscriptions a second at a provider that takes 200 ms. More would only be refused by its rate limits.
const INBOX_WORKERS: usize = 48;

/// Workers that tell usage, each several reports at a time.
const USAGE_WORKERS: usize = 2;

/// Workers that ask for what is billed with links, each one link at a time: as many links a second as providers of them take.
const INVOICE_WORKERS: usize = 2;

/// How long a job rests after a fault of its own.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

/// The running jobs.
pub struct Jobs {
    token: CancellationToken,
    running: JoinSet<()>,
}

impl Jobs {
    /// Starts every job on the current runtime. `cluster` is the embedded cluster, if this process has one.
    pub fn start(context: &Context, cluster: Option<Arc<Cluster>>) -> Self {
        let token = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..INBOX_WORKERS {
            spawn(&mut running, "inbox", context, &token, inbox::work);
        }
        spawn(&mut running, "inbox-wake", context, &token, inbox::wake);
        spawn(&mut running, "endings", context, &token, endings::work);
        spawn(
            &mut running,
            "intended-ends",
            context,
            &token,
            intended_ends::watch,
        );
        spawn(&mut running, "stale", context, &token, stale::watch);
        for _ in 0..USAGE_WORKERS {
            spawn(&mut running, "usage", context, &token, usage::work);
        }
        for _ in 0..INVOICE_WORKERS {
            spawn(
                &mut running,
                "overage-invoices",
                context,
                &token,
                overage_invoices::work,
            );
        }
        if let Some(cluster) = cluster {
            let again = token.clone();
            running.spawn(kept_going(
                "cluster",
                AFTER_A_PANIC,
                token.clone(),
                move || cluster::supervise(Arc::clone(&cluster), again.clone()),
            ));
        }
        Self { token, running }
    }

    /// Tells every job to end and waits until each has.
    pub async fn stop(mut self) {
        self.token.cancel();
        while self.running.join_next().await.is_some() {}
    }
}

/// Starts a job that works with the service's context.
fn spawn<F>(
    running: &mut JoinSet<()>,
    name: &'static str,
    context: &Context,
    token: &CancellationToken,
    job: fn(Context, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (context, handed) = (context.clone(), token.clone());
    running.spawn(kept_going(name, AFTER_A_PANIC, token.clone(), move || {
        job(context.clone(), handed.clone())
    }));
}

/// Runs a job until the token is cancelled. A panic is a bug, but one bad event must not end the job for all others.
async fn kept_going<F>(
    name: &'static str,
    pause: Duration,
    token: CancellationToken,
    job: impl Fn() -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    while !token.is_cancelled() {
        if let Err(error) = tokio::spawn(job()).await {
            tracing::error!(job = name, %error, "a job broke down and is started again");
            rest(&token, pause).await;
        } else {
            return;
        }
    }
}

/// Waits, or less if it is time to end.
async fn rest(token: &CancellationToken, pause: Duration) {
    let _ = tokio::time::timeout(pause, token.cancelled()).await;
}

/// Pauses that double after each failure, up to half a minute: an outage is neither hammered on nor noticed late to be over.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
}

impl BackOff {
    const LONGEST: Duration = Duration::from_secs(30);

    fn reset(&mut self) {
        self.failures = 0;
    }

    fn next_pause(&mut self) -> Duration {
        let doublings = self.failures.min(5);
        self.failures = self.failures.saturating_add(1);
        Duration::from_secs(1 << doublings).min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_start_over() {
        let mut back_off = BackOff::default();
        let pauses: Vec<u64> = (0..7).map(|_| back_off.next_pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        back_off.reset();
        assert_eq!(back_off.next_pause().as_secs(), 1);
    }

    #[tokio::test]
    async fn a_job_that_panics_is_started_again() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        kept_going(
            "test",
            Duration::ZERO,
            CancellationToken::new(),
            move || {
                let started = counted.fetch_add(1, Ordering::SeqCst);
                async move { assert!(started > 0, "the first run fails") }
            },
        )
        .await;
        assert_eq!(starts.load(Ordering::SeqCst), 2);
    }
}
