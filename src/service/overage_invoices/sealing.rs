//! What is owed for closed periods becomes an invoice. One transaction for each customer, committed before any provider hears of it.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::{CLOSED_FOR, LOOK_AGAIN, NEEDS_A_PERSON};
use crate::domain::money::UnitAmount;
use crate::domain::overage_invoice::{Line, Unbillable, description, sum, tariff};
use crate::domain::period::Period;
use crate::domain::plans::Plans;
use crate::domain::subscription::Subscription;
use crate::service::context::{Context, LinkBiller};
use crate::store::clock::deciding_time;
use crate::store::overage_invoices::{self, NewInvoice};
use crate::store::pool::{self, StoreError};
use crate::store::usage_reports::{self, Closing, Report};
use crate::store::{customers, subscriptions};

/// How many customers one worker looks at in one go.
const AT_A_TIME: i64 = 16;

/// Looks at customers whose periods have closed. Returns how many; 0: nothing is due.
pub(super) async fn seal_due(context: &Context) -> Result<usize, StoreError> {
    let billers = context.link_billers();
    if billers.is_empty() {
        return Ok(0);
    }
    let (clock, meter) = (Arc::clone(context.clock()), context.meter.clone());
    pool::run(&context.pool, move |conn| {
        let names: Vec<&str> = billers.iter().map(|biller| biller.name.as_str()).collect();
        let now = deciding_time(conn, clock.as_ref())?;
        let closing = usage_reports::closing(conn, &names, now - CLOSED_FOR, now, AT_A_TIME)?;
        if closing.is_empty() {
            return Ok(0);
        }
        let plans = meter.rules().book.refresh(conn)?;
        let mut looked_at = 0;
        for whose in &closing {
            let biller = billers
                .iter()
                .find(|biller| biller.name.as_str() == whose.provider);
            let Some(biller) = biller else { continue };
            let closed = conn.transaction(|conn| {
                customers::lock(conn, &whose.customer_id)?;
                let now = deciding_time(conn, clock.as_ref())?;
                close(conn, whose, *biller, &plans, now)
            });
            match closed {
                Ok(()) => looked_at += 1,
                // Nobody else is kept waiting by it.
                Err(error) => {
                    let customer_id = &whose.customer_id;
                    tracing::error!(customer_id, %error, "what a customer owes for closed periods was not sealed");
                    usage_reports::leave(conn, whose, now + NEEDS_A_PERSON)?;
                }
            }
        }
        Ok(looked_at)
    })
    .await
}

/// A report with what a unit of it costs.
struct Priced<'a> {
    report: &'a Report,
    unit_amount: UnitAmount,
    line: Line,
}

/// Bills what the customer owes for closed periods, or carries it forward. The caller holds the customer's lock.
fn close(
    conn: &mut PgConnection,
    whose: &Closing,
    biller: LinkBiller,
    plans: &Plans,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let customer_id = whose.customer_id.as_str();
    let reports = usage_reports::closed_of(conn, whose, now - CLOSED_FOR)?;
    let (empty, reports): (Vec<Report>, Vec<Report>) =
        reports.into_iter().partition(|report| report.quantity == 0);
    for report in &empty {
        usage_reports::drop_empty(conn, report)?;
    }
    let late_days = TimeDelta::days(i64::from(plans.late_usage_days));
    if let Some(until) = ripe_at(conn, whose, &reports, late_days)?.filter(|ripe| now < *ripe) {
        let ids: Vec<Uuid> = reports.iter().map(|report| report.report_id).collect();
        return usage_reports::carry_forward(conn, customer_id, &ids, None, until);
    }
    let mut subscriptions = subscriptions::of_customer(conn, customer_id)?;
    subscriptions.retain(|subscription| subscription.provider == biller.name);
    let mut priced = Vec::with_capacity(reports.len());
    for report in &reports {
        match price(report, biller, &subscriptions, plans) {
            Ok(Some(found)) => priced.push(found),
            // Only reports of closed periods are read.
            Ok(None) => {}
            Err(error) => put_down(conn, report, &error, now)?,
        }
    }
    let ids: Vec<Uuid> = priced.iter().map(|of| of.report.report_id).collect();
    let quantities = priced.iter().map(|of| (of.report.quantity, of.unit_amount));
    let amount = match sum(quantities) {
        Ok(amount) => amount,
        Err(overflow) => {
            for of in &priced {
                put_down(conn, of.report, &overflow.into(), now)?;
            }
            return Ok(());
        }
    };
    if amount < biller.least {
        let open = subscriptions
            .iter()
            .any(|subscription| subscription.status.is_open());
        if amount < 0 && !open {
            tracing::warn!(
                customer_id,
                amount,
                "corrections gave back more than was used since, and no subscription is left to bill: a credit note may be needed"
            );
        }
        return usage_reports::carry_forward(conn, customer_id, &ids, None, now + LOOK_AGAIN);
    }
    let lines: Vec<Line> = priced.into_iter().map(|of| of.line).collect();
    let invoice_id = Uuid::now_v7();
    let invoice = NewInvoice {
        customer_id,
        invoice_id,
        provider: &whose.provider,
        amount,
        currency: biller.currency.as_str(),
        description: &description(&lines),
        reference: &reference(invoice_id),
    };
    overage_invoices::seal(conn, &invoice, now)?;
    usage_reports::invoice(conn, customer_id, &ids, invoice_id, now)?;
    tracing::info!(customer_id, %invoice_id, amount, "overage of closed periods was sealed");
    Ok(())
}

/// From when on something is to be billed, as far as only time is in the way: usage that came late is not billed by itself before no more
/// can come, so that nobody is sent a link for each of it. What of it is there by then goes with the next period that closes. `None`: there is
/// nothing.
fn ripe_at(
    conn: &mut PgConnection,
    whose: &Closing,
    reports: &[Report],
    late_days: TimeDelta,
) -> QueryResult<Option<DateTime<Utc>>> {
    let starts: Vec<DateTime<Utc>> = reports.iter().map(|report| report.period_start).collect();
    let invoiced: HashSet<DateTime<Utc>> = usage_reports::invoiced_periods(conn, whose, &starts)?
        .into_iter()
        .collect();
    let ripe = reports.iter().filter_map(|report| {
        let end = report.period_end? + CLOSED_FOR;
        Some(if invoiced.contains(&report.period_start) {
            end + late_days
        } else {
            end
        })
    });
    Ok(ripe.min())
}

/// What a report's units cost.
fn price<'a>(
    report: &'a Report,
    biller: LinkBiller,
    subscriptions: &[Subscription],
    plans: &Plans,
) -> Result<Option<Priced<'a>>, Unbillable> {
    let Some(end) = report.period_end else {
        return Ok(None);
    };
    let period = Period {
        start: report.period_start,
        end,
    };
    let tariff = tariff(
        subscriptions,
        plans,
        &report.metric_name,
        period,
        biller.currency,
    )?;
    Ok(Some(Priced {
        report,
        unit_amount: tariff.unit_amount,
        line: Line {
            feature: tariff.feature.name.clone(),
            plan: tariff.plan.name.clone(),
            quantity: report.quantity,
            period,
        },
    }))
}

/// Leaves a report that cannot be billed to a person.
fn put_down(
    conn: &mut PgConnection,
    report: &Report,
    error: &Unbillable,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let (customer_id, report_id) = (report.customer_id.as_str(), report.report_id);
    tracing::error!(customer_id, %report_id, feature = report.metric_name, quantity = report.quantity, %error,
        "overage cannot be billed: it waits for an operator");
    let reason = error.to_string();
    let until = now + NEEDS_A_PERSON;
    usage_reports::carry_forward(conn, customer_id, &[report_id], Some(&reason), until)
}

/// What the provider knows an invoice by: the same each time it is asked, in the 40 characters that providers take.
fn reference(invoice: Uuid) -> String {
    format!("overage-{}", invoice.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_as_long_as_providers_take_at_most() {
        assert_eq!(reference(Uuid::max()).len(), 40);
    }
}
