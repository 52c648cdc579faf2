//! Overage is billed with payment links by providers that have no meters, each unit once.
//!
//! What is owed is in the database from the transaction on that counted it, in one open report for each counter. After a period's end
//! a worker
//! 1. **seals** ([`sealing`]): gathers all open reports of the customer's closed periods into one invoice, whose sum, words and
//!    reference are fixed and committed together with the reports,
//! 2. **asks** the provider for a payment link ([`asking`]), with no transaction open,
//! 3. writes down that there is one, if the claim still holds.
//!
//! Whatever breaks off between these steps leaves a sealed invoice, which is asked for again under the same reference: the provider
//! makes one link of it. **Settling** ([`settling`]) follows what the provider says of the link, whether its event comes, comes twice, comes
//! before our own note of the link, or never does: links that nothing is heard of are looked at once a day.
//!
//! **Small sums and corrections** are carried forward: what comes to less than a link can ask for, or to nothing, stays open and nets with what
//! the next period adds. Reports that were sealed never change; a correction of theirs is an open report of fewer than no units.

mod asking;
mod sealing;
mod settling;

use chrono::TimeDelta;

use super::context::Context;
use crate::store::pool::StoreError;

pub(super) use self::settling::{Mismatch, settle};

/// Usage that was under way when its period ended is counted by then.
const CLOSED_FOR: TimeDelta = TimeDelta::minutes(5);
/// How long until what nothing can be done about now is looked at again, unless something is added to it.
const LOOK_AGAIN: TimeDelta = TimeDelta::days(1);
/// The same where a person must put something right.
const NEEDS_A_PERSON: TimeDelta = TimeDelta::hours(1);

/// Seals what is due, then asks for one payment, or looks at one link. Returns `false` where nothing is due.
///
/// # Errors
/// Where the database is away; what was claimed comes up again when the claim ends.
pub async fn bill_next(context: &Context) -> Result<bool, StoreError> {
    let sealed = sealing::seal_due(context).await?;
    let attended = asking::attend_next(context).await?;
    Ok(sealed > 0 || attended)
}
