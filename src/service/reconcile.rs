//! Reconciliation: are the counters the sums of their ledger rows, and where one is not, make it so.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::json;

use super::context::Context;
use crate::domain::ids::CustomerId;
use crate::domain::period::Period;
use crate::domain::standing::{Anchoring, Standing};
use crate::meter::Rules;
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::counters::{self, Counter, Drift};
use crate::store::customers::{self, CustomerRow};
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions;

/// A counter that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it differed.
    pub drift: Drift,
    /// The counter was set to the ledger's sum.
    pub repaired: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// How many counters were compared.
    pub checked: i64,
    /// Those that differ, the first 1000 by customer, feature and period.
    pub findings: Vec<Finding>,
}

/// Compares the counters of one customer, or of everybody, with the ledger; with `repair` each that differs is set to its
/// ledger's sum, in a transaction of its own and with a row in the audit log that names `actor`. After an error those before it
/// are repaired, and the call may be repeated.
pub async fn reconcile(
    context: &Context,
    actor: String,
    customer: Option<CustomerId>,
    repair: bool,
) -> Result<Reconciliation, StoreError> {
    let compared = pool::run(&context.pool, move |conn| {
        let customer = customer.as_ref().map(CustomerId::as_str);
        counters::compare(conn, customer).map_err(StoreError::from)
    })
    .await?;
    let mut findings = Vec::with_capacity(compared.drifts.len());
    for drift in compared.drifts {
        if !repair {
            findings.push(Finding {
                drift,
                repaired: false,
            });
            continue;
        }
        let (meter, actor) = (context.meter.clone(), actor.clone());
        let finding: Result<_, StoreError> = pool::run(&context.pool, move |conn| {
            let customer = drift.customer_id.clone();
            let mended = conn.transaction(|conn| mend(conn, meter.rules(), actor, drift));
            meter.forget(&customer);
            Ok(mended?)
        })
        .await;
        findings.extend(finding?);
    }
    Ok(Reconciliation {
        checked: compared.checked,
        findings,
    })
}

/// Looks at the counter again with every other writer of the customer kept out, and sets it to its ledger's sum. `None`: by now
/// somebody else did.
fn mend(
    conn: &mut PgConnection,
    rules: &Rules,
    actor: String,
    seen: Drift,
) -> QueryResult<Option<Finding>> {
    let (customer, feature) = (seen.customer_id.as_str(), seen.feature.as_str());
    let Some(row) = customers::lock(conn, customer)? else {
        // Rows of nobody: there is no anchor to judge them by, and nobody who would count by them.
        return Ok(Some(Finding {
            drift: seen,
            repaired: false,
        }));
    };
    // A large customer's ledger takes longer to sum up than ordinary statements may take.
    conn.batch_execute("SET LOCAL statement_timeout = '10min'")?;
    let now = deciding_time(conn, rules.clock.as_ref())?;
    let mut siblings = counters::of_customers(conn, &[customer])?;
    siblings.retain(|counter| counter.metric_name == feature);
    let stored = siblings
        .iter()
        .find(|counter| counter.period_start == seen.period_start);
    let ledger = counters::ledger_sum(conn, customer, feature, seen.period_start)?;
    let value = stored.map_or(0, |counter| counter.value);
    if ledger == i128::from(value) {
        return Ok(None);
    }
    let counter = if let Some(counter) = stored {
        Some(counter.clone())
    } else {
        let anchoring = anchoring(conn, rules, &row, now)?;
        reopened(&seen, anchoring, &siblings, now)
    };
    let sum = i64::try_from(ledger).ok().filter(|sum| *sum >= 0);
    let period_end = counter.as_ref().and_then(|counter| counter.period_end);
    let repaired = match (counter, sum) {
        (Some(counter), Some(sum)) => {
            let counter = Counter {
                value: sum,
                updated_at: now,
                ..counter
            };
            counters::save(conn, &counter)?;
            let details =
                json!({"period_start": seen.period_start, "counter": value, "ledger": sum});
            let target = feature.to_owned();
            let row = AuditRow::new(actor, "usage.repair", Some(customer), target, details, now);
            audit::append(conn, &row)?;
            true
        }
        (None, _) | (_, None) => false,
    };
    Ok(Some(Finding {
        drift: Drift {
            period_end,
            ledger,
            counter: value,
            ..seen
        },
        repaired,
    }))
}

/// Where the customer's periods step from now.
fn anchoring(
    conn: &mut PgConnection,
    rules: &Rules,
    row: &CustomerRow,
    now: DateTime<Utc>,
) -> QueryResult<Anchoring> {
    let subscriptions = subscriptions::of_customer(conn, &row.customer_id)?;
    let plans = rules.book.refresh(conn)?;
    Standing::at(now, &subscriptions, row.anchoring(), &plans)
        .map(|standing| standing.anchoring)
        .map_err(|error| diesel::result::Error::DeserializationError(error.into()))
}

/// An empty counter in place of one that is missing among `others` of its feature; `None` where its period cannot be told. It can be
/// under the anchor that is in force, and in calendar months before any; where an earlier anchor had put its periods was not kept
/// anywhere but in the counters.
fn reopened(
    missing: &Drift,
    anchoring: Anchoring,
    others: &[Counter],
    now: DateTime<Utc>,
) -> Option<Counter> {
    let start = missing.period_start;
    let period_end = if missing.is_gauge() {
        None
    } else {
        let overlaps = |other: &Counter| {
            other.period_start < start && other.period_end.is_some_and(|end| start < end)
        };
        if others.iter().any(overlaps) {
            return None;
        }
        let whole = whole_from(start, anchoring)?;
        let later = others.iter().map(|other| other.period_start);
        let next = later.filter(|other| *other > start).min();
        Some(next.map_or(whole.end, |next| whole.end.min(next)))
    };
    Some(Counter {
        customer_id: missing.customer_id.clone(),
        metric_name: missing.feature.clone(),
        period_start: start,
        period_end,
        value: 0,
        warning_level: 0,
        updated_at: now,
        held: 0,
        // Whatever is held of it is summed up when it is next used.
        held_until: Some(now),
    })
}

/// The period that begins at `start`, if one does as far as the anchor tells.
fn whole_from(start: DateTime<Utc>, anchoring: Anchoring) -> Option<Period> {
    let (period, until) = match anchoring.since {
        Some(since) if start < since => (Period::containing(start, None, None), Some(since)),
        since => (Period::containing(start, anchoring.anchor, since), None),
    };
    (period.start == start).then(|| Period {
        start,
        end: until.map_or(period.end, |until| period.end.min(until)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn ends(start: &str, anchoring: Anchoring) -> Option<DateTime<Utc>> {
        whole_from(at(start), anchoring).map(|period| period.end)
    }

    #[test]
    fn without_an_anchor_a_period_begins_with_its_month() {
        let never = Anchoring::default();
        let end = at("2026-02-01T00:00:00Z");
        assert_eq!(ends("2026-01-01T00:00:00Z", never), Some(end));
        assert_eq!(ends("2026-01-02T00:00:00Z", never), None);
    }

    #[test]
    fn an_anchor_tells_of_the_periods_since_it_took_over_and_ends_the_one_before() {
        let anchored = Anchoring {
            anchor: Some(at("2026-01-31T10:00:00Z")),
            since: Some(at("2026-02-10T00:00:00Z")),
            settled: None,
        };
        for (start, end) in [
            ("2026-01-01T00:00:00Z", Some("2026-02-01T00:00:00Z")),
            ("2026-02-01T00:00:00Z", Some("2026-02-10T00:00:00Z")),
            ("2026-02-10T00:00:00Z", Some("2026-02-28T10:00:00Z")),
            ("2026-02-28T10:00:00Z", Some("2026-03-31T10:00:00Z")),
            ("2026-01-31T10:00:00Z", None),
            ("2026-03-01T00:00:00Z", None),
        ] {
            assert_eq!(ends(start, anchored), end.map(at), "{start}");
        }
    }
}
