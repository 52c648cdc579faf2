//! What was decided of a subscription whose provider shows no intentions: it is kept in the subscription's row until it is carried out.

use diesel::prelude::*;

use super::subscriptions::{Occasion, apply_report};
use crate::domain::plans::Plans;
use crate::domain::standing::Anchoring;
use crate::domain::subscription::{PlannedChange, Report, Subscription};

/// What is to become of a subscription. Nothing: it goes on as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intention {
    /// It ends with the period that runs.
    pub(crate) ends_with_period: bool,
    /// The change of plan that follows.
    pub(crate) planned: Option<PlannedChange>,
}

/// Keeps what is intended with the subscription, instead of what was before. The caller's transaction must hold the customer's lock, and
/// the lease whose number `occasion` names; `stored` must not have ended.
pub(crate) fn intend(
    conn: &mut PgConnection,
    plans: &Plans,
    customer: &str,
    remembered: Anchoring,
    stored: &Subscription,
    intention: Intention,
    occasion: Occasion<'_>,
) -> QueryResult<Subscription> {
    let report = Report {
        cancel_at_period_end: intention.ends_with_period,
        cancel_at: None,
        planned: intention.planned,
        ..stored.restated()
    };
    apply_report(conn, plans, customer, remembered, stored, report, occasion)
}
