//! Whose turn it is: open reports that are due are sealed, or taken care of where corrections made them negative; what is under way
//! and due is claimed. One transaction, committed before any provider hears of it.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use super::{AT_A_TIME, CLAIMED_FOR, LONGEST_BACK_OFF, REMEMBERED_FOR, back_off, jitter};
use crate::domain::overage::{identifier, is_invoice_open, told_at};
use crate::providers::{UsageBilling, UsageReport};
use crate::service::context::Context;
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::usage_reports::{self, Change, Report, Scope, State};
use crate::store::{provider_customers, subscriptions};

/// A report that a worker holds, with what is to be done about it.
pub(super) struct Claimed {
    pub(super) report: Report,
    pub(super) errand: Errand,
}

/// What is to be done about a report.
pub(super) enum Errand {
    /// Tell it.
    Tell(UsageReport),
    /// Take it back.
    TakeBack,
    /// Find out whether the provider has it.
    Compare,
    /// Nothing now: it was put down again.
    Wait,
}

/// Claims what is due, of everybody or of one customer.
pub(super) async fn claim(
    context: &Context,
    customer: Option<String>,
) -> Result<Vec<Claimed>, StoreError> {
    let providers: Vec<&'static str> = context
        .storefronts
        .iter()
        .filter(|storefront| storefront.provider.capabilities().usage == UsageBilling::Metered)
        .map(|storefront| storefront.provider.name().as_str())
        .collect();
    if providers.is_empty() {
        return Ok(Vec::new());
    }
    let clock = Arc::clone(context.clock());
    let late_days = i64::from(context.book().plans().late_usage_days);
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            usage_reports::lock_claims(conn)?;
            let now = deciding_time(conn, clock.as_ref())?;
            let scope = Scope {
                providers: &providers,
                customer: customer.as_deref(),
                now,
            };
            let mut leaving = HashSet::new();
            for open in usage_reports::due_to_leave(conn, scope, AT_A_TIME)? {
                if leaving.insert((open.customer_id.clone(), open.provider.clone())) {
                    send_off(conn, &open, now, late_days)?;
                }
            }
            let due = usage_reports::take_due(conn, scope, now + CLAIMED_FOR, AT_A_TIME)?;
            let claimed = due.into_iter().map(|report| claimed(conn, report, now));
            Ok(claimed.collect::<QueryResult<_>>()?)
        })
    })
    .await
}

/// Sends an open report on its way.
fn send_off(
    conn: &mut PgConnection,
    open: &Report,
    now: DateTime<Utc>,
    late_days: i64,
) -> QueryResult<()> {
    if open.quantity > 0 {
        return usage_reports::seal(conn, open, now);
    }
    if open.quantity == 0 {
        return usage_reports::drop_empty(conn, open);
    }
    let sent = usage_reports::newest_sent(conn, open, now - REMEMBERED_FOR)?;
    let changeable = |sent: &Report| {
        let since = sent.told_since.or(sent.told_at);
        since.is_some_and(|since| is_invoice_open(since, open.period_end, now))
    };
    if let Some(sent) = sent.filter(changeable) {
        return usage_reports::begin_retraction(conn, &sent, now);
    }
    // Late use may still make up for it; a day more, for what is on its way by then.
    let hopeless_at = open
        .period_end
        .map(|end| end + TimeDelta::days(late_days + 1));
    match hopeless_at {
        Some(at) if at <= now => {
            let reason = format!(
                "{} units that were billed were taken back too late: a credit note is needed",
                open.quantity.unsigned_abs()
            );
            tracing::error!(customer_id = open.customer_id, report_id = %open.report_id, reason,
                "billed usage was corrected too late");
            usage_reports::give_up_open(conn, open, &reason, now)
        }
        _ => {
            let next_look = now + LONGEST_BACK_OFF;
            let until = hopeless_at.map_or(next_look, |at| at.min(next_look));
            usage_reports::park_open(conn, open, until)
        }
    }
}

/// What is to be done about a report under way. What the provider will be told, and of whom, is written down first.
fn claimed(
    conn: &mut PgConnection,
    mut report: Report,
    now: DateTime<Utc>,
) -> QueryResult<Claimed> {
    let is_forgotten = report
        .first_tried_at
        .is_some_and(|first| first <= now - REMEMBERED_FOR);
    if report.is(State::Retracting) {
        // The first attempt tells whether it is too late; after a later one that is not known to have failed, only the sums do.
        let errand = if is_forgotten && report.attempts > 1 {
            Errand::Compare
        } else {
            Errand::TakeBack
        };
        return Ok(Claimed { report, errand });
    }
    // Whoever pays is billed, also where somebody else was bound by an earlier checkout.
    let bound = match subscriptions::payer(conn, &report.customer_id, &report.provider)? {
        Some(payer) => Some(payer),
        None => provider_customers::name_of(conn, &report.customer_id, &report.provider)?,
    };
    let Some(bound) = bound else {
        let reason = "the provider has no such customer yet";
        let wait = back_off(report.attempts).min(LONGEST_BACK_OFF) + jitter(&report);
        put_down(conn, &report, None, reason, now + wait, now)?;
        let errand = Errand::Wait;
        return Ok(Claimed { report, errand });
    };
    if report.first_tried_at.is_some()
        && report.provider_customer_id.as_deref() != Some(bound.as_str())
    {
        let reason = "the provider's customer of whom it was told is no longer ours";
        put_down(conn, &report, Some(State::Refused), reason, now, now)?;
        let errand = Errand::Wait;
        return Ok(Claimed { report, errand });
    }
    if is_forgotten {
        let errand = Errand::Compare;
        return Ok(Claimed { report, errand });
    }
    let at = told_at(report.used_at, report.period_end, now);
    report.told_since = Some(report.told_since.map_or(at, |since| since.min(at)));
    report.told_at = Some(at);
    report.first_tried_at = report.first_tried_at.or(Some(now));
    report.provider_customer_id = Some(bound.clone());
    usage_reports::note_telling(conn, &report)?;
    let errand = Errand::Tell(UsageReport {
        provider_customer_id: bound,
        quantity: report.quantity,
        identifier: identifier(report.report_id),
        at,
    });
    Ok(Claimed { report, errand })
}

/// Puts a report down again that the provider will not hear of now.
fn put_down(
    conn: &mut PgConnection,
    report: &Report,
    state: Option<State>,
    reason: &str,
    next_attempt_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let (customer_id, report_id) = (&report.customer_id, report.report_id);
    tracing::error!(customer_id, %report_id, reason, "usage cannot be billed");
    let change = Change {
        state: state.map(State::as_str),
        next_attempt_at: Some(next_attempt_at),
        error: Some(Some(reason.to_owned())),
        ..Change::default()
    };
    usage_reports::settle(conn, report, &change, now)?;
    Ok(())
}
