//! Usage above limits is told to the provider that bills it, each unit once.
//!
//! What is owed is in the database from the transaction on that counted it, in one open report for each counter. A worker
//! 1. **seals** and claims it ([`sealing`]): quantity, identifier, instant and customer are fixed and committed,
//! 2. **tells** the provider ([`telling`]), with no transaction open,
//! 3. writes down that the provider has it, if the claim still holds.
//!
//! Whatever breaks off between these steps leaves a sealed report, which is told again under the same identifier: providers count what
//! they are told under one identifier once, for a day. A report that is unresolved for longer is compared with the provider's own
//! sums before it is told again ([`comparing`]); where those do not tell, a person must.
//!
//! **One report under way** for each customer and provider at any time, which makes that comparison unambiguous: what the provider
//! counts beyond what it is known to have is that report. What accrues meanwhile gathers.
//!
//! **Corrections** make the open report smaller. Where it falls below zero the latest report of its counter is taken back
//! ([`retracting`]) as long as that changes an invoice, and the remainder is told anew. What cannot be taken back stays a credit, which later
//! use of the period makes up for, and after that needs a credit note.

mod comparing;
mod reconciling;
mod resolving;
mod retracting;
mod sealing;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use self::sealing::{Claimed, Errand};
use super::context::Context;
use crate::domain::provider_event::ProviderName;
use crate::providers::ProviderError;
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions;
use crate::store::usage_reports::{self, Change, Report};

pub use self::reconciling::{Told, compare_told, tell_anew};

/// How many reports one worker tells at a time. Most of the while each waits for the provider.
const AT_A_TIME: i64 = 16;
/// How long a claim holds; longer than the provider's calls may take with their retries.
const CLAIMED_FOR: TimeDelta = TimeDelta::minutes(2);
/// Providers remember an identifier, and take reports back, for a day. The rest is for clocks, and for calls that take their time.
const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(23);
/// The provider's sums may lack what it was told within this time.
const SUMS_LAG: TimeDelta = TimeDelta::minutes(10);
/// Longest wait between two attempts where the provider is away.
const LONGEST_ABSENCE: TimeDelta = TimeDelta::minutes(5);
/// Longest wait between two attempts where something must be put right first.
const LONGEST_BACK_OFF: TimeDelta = TimeDelta::hours(1);
/// How long [`flush`] waits for what another worker is at, and between two looks.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Seals what is due, and tells or takes back what is under way and due. Returns how many reports it was at; 0: nothing is due.
///
/// # Errors
/// Where the database is away; what was claimed comes up again when the claim ends.
pub async fn tell_due(context: &Context) -> Result<usize, StoreError> {
    let outcomes = work(context, None).await?;
    Ok(outcomes.len())
}

/// Tells what the customer owes at once, as far as the provider answers. Returns whether the provider has all of it: before a subscription
/// is ended, so that its last invoice has everything.
///
/// # Errors
/// Where the database is away.
pub async fn flush(
    context: &Context,
    customer: &str,
    provider: ProviderName,
) -> Result<bool, StoreError> {
    if is_billed_by_link(context, provider) {
        // Nobody is told: what is owed is billed when its period is over, whatever subscription there is then.
        return Ok(true);
    }
    let begun = Instant::now();
    hurry(context, customer, provider).await?;
    loop {
        let outcomes = work(context, Some(customer)).await?;
        let (whose, idle) = (customer.to_owned(), outcomes.is_empty());
        let pending = pool::run(&context.pool, move |conn| {
            usage_reports::has_pending(conn, &whose, provider.as_str()).map_err(StoreError::from)
        })
        .await?;
        if !pending {
            return Ok(true);
        }
        if outcomes.contains(&Outcome::Postponed) || begun.elapsed() > FLUSH_PATIENCE {
            return Ok(false);
        }
        if idle {
            // Another worker is at one of them.
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// Makes what the owner of a subscription owes due at once: its invoice is being drawn up.
///
/// # Errors
/// Where the database is away.
pub async fn flush_soon(
    context: &Context,
    provider: ProviderName,
    subscription_id: &str,
) -> Result<(), StoreError> {
    if is_billed_by_link(context, provider) {
        return Ok(());
    }
    let id = subscription_id.to_owned();
    let owner = pool::run(&context.pool, move |conn| {
        subscriptions::owner(conn, provider, &id).map_err(StoreError::from)
    })
    .await?;
    match owner {
        Some(customer) => hurry(context, &customer, provider).await,
        // Nobody used anything under it yet.
        None => Ok(()),
    }
}

/// Whether the provider has no meters to be told anything, and bills each closed period with a payment link.
fn is_billed_by_link(context: &Context, provider: ProviderName) -> bool {
    let billers = context.link_billers();
    billers.iter().any(|biller| biller.name == provider)
}

async fn hurry(
    context: &Context,
    customer: &str,
    provider: ProviderName,
) -> Result<(), StoreError> {
    let (clock, customer) = (Arc::clone(context.clock()), customer.to_owned());
    let hastened = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        usage_reports::hurry(conn, &customer, provider.as_str(), now).map_err(StoreError::from)
    })
    .await?;
    if hastened > 0 {
        context.bells.usage.notify_one();
    }
    Ok(())
}

/// What became of a report that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The provider has answered, and it is written down.
    Settled,
    /// It is tried again later.
    Postponed,
}

/// Claims what is due and carries it out.
async fn work(context: &Context, customer: Option<&str>) -> Result<Vec<Outcome>, StoreError> {
    let claimed = sealing::claim(context, customer.map(str::to_owned)).await?;
    let errands = claimed.into_iter().map(|claimed| run(context, claimed));
    join_all(errands).await.into_iter().collect()
}

async fn run(context: &Context, claimed: Claimed) -> Result<Outcome, StoreError> {
    let Claimed { report, errand } = claimed;
    let provider = report.provider.parse::<ProviderName>().ok();
    let Some(storefront) = provider.and_then(|name| context.storefront(name)) else {
        // Only what a storefront takes was claimed.
        return Ok(Outcome::Postponed);
    };
    match errand {
        Errand::Tell(usage) => telling::tell(context, storefront, report, usage).await,
        Errand::TakeBack => retracting::take_back(context, storefront, report).await,
        Errand::Compare => comparing::resolve(context, storefront, report).await,
        Errand::Wait => Ok(Outcome::Postponed),
    }
}

/// Keeps a report for later, with the reason.
async fn postpone(
    context: &Context,
    report: Report,
    error: ProviderError,
) -> Result<Outcome, StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let wait = patience(&report, &error, now);
        let change = Change {
            next_attempt_at: Some(now + wait),
            error: Some(Some(error.to_string())),
            ..Change::default()
        };
        let Report {
            customer_id,
            report_id,
            attempts,
            ..
        } = &report;
        if !usage_reports::settle(conn, &report, &change, now)? {
            tracing::debug!(customer_id, %report_id, "another worker is at the usage report");
        } else if needs_a_person(&error) {
            tracing::error!(customer_id, %report_id, attempts, %error,
                "usage cannot be billed: the provider refuses it; it is kept and tried again");
        } else {
            tracing::warn!(customer_id, %report_id, attempts, %error, "usage was not told");
        }
        Ok(Outcome::Postponed)
    })
    .await
}

/// Whether waiting alone does not help: a meter or a customer is missing at the provider, or a key is wrong.
const fn needs_a_person(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::NotFound
            | ProviderError::Rejected { .. }
            | ProviderError::Unsupported { .. }
    )
}

/// How long to wait after an attempt.
fn patience(report: &Report, error: &ProviderError, now: DateTime<Utc>) -> TimeDelta {
    let longest = if needs_a_person(error) {
        LONGEST_BACK_OFF
    } else {
        LONGEST_ABSENCE
    };
    let asked = match error {
        ProviderError::Unavailable {
            retry_after: Some(asked),
            ..
        } => TimeDelta::from_std(*asked)
            .unwrap_or(LONGEST_BACK_OFF)
            .min(LONGEST_BACK_OFF),
        _ => TimeDelta::zero(),
    };
    let wait = back_off(report.attempts).min(longest).max(asked);
    let forgotten_at = report.first_tried_at.map(|first| first + REMEMBERED_FOR);
    let wait = if forgotten_at.is_some_and(|at| at <= now + wait) {
        // It is compared with the provider's sums next.
        wait.max(SUMS_LAG)
    } else {
        wait
    };
    wait + jitter(report)
}

fn back_off(attempts: i32) -> TimeDelta {
    let exponent = u32::try_from(attempts).unwrap_or(0).min(12);
    TimeDelta::seconds(1i64 << exponent)
}

/// Spread by the report's own id and the attempt, so that what failed together does not come back together.
fn jitter(report: &Report) -> TimeDelta {
    let spread = crc32fast::hash(report.report_id.as_bytes())
        ^ crc32fast::hash(&report.attempts.to_le_bytes());
    TimeDelta::milliseconds(i64::from(spread % 1000))
}

#[cfg(test)]
mod tests;
