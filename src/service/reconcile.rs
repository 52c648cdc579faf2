//! Reconciliation: are the counters the sums of their ledger rows, and have providers what they were told? Where not, make it so.

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::json;

use super::context::Context;
use super::usage_reports::{Told, compare_told, tell_anew};
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
    /// Units that a provider was told; `None`: it was told nothing.
    pub reported: Option<i64>,
    /// Units that the provider has; `None`: it was told nothing, or does not say.
    pub counted: Option<i64>,
    /// The counter was set to the ledger's sum, or what the provider had refused is told anew.
    pub repaired: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// How many counters were compared.
    pub checked: i64,
    /// Those that differ, by customer, feature and period: the first 1000 that are not their ledger's sum, and up to 1000 of which a
    /// provider does not have what it was told.
    pub findings: Vec<Finding>,
}

/// Compares the counters of one customer, or of everybody, with the ledger, and what providers were told with what they have; with
/// `repair` each counter that differs is set to its ledger's sum, and what a provider refused is told anew, each in a transaction
/// of its own and with a row in the audit log that names `actor`. After an error those before it are repaired, and the call may be
/// repeated.
pub async fn reconcile(
    context: &Context,
    actor: String,
    customer: Option<CustomerId>,
    repair: bool,
) -> Result<Reconciliation, StoreError> {
    let customer = customer.map(|customer| customer.as_str().to_owned());
    let told = compare_told(context, customer.clone()).await?;
    let compared = pool::run(&context.pool, move |conn| {
        counters::compare(conn, customer.as_deref()).map_err(StoreError::from)
    })
    .await?;
    let mut findings = Vec::with_capacity(compared.drifts.len());
    for drift in compared.drifts {
        if !repair {
            findings.push(Finding::of(drift, false));
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
    for told in told {
        add_told(context, &actor, &mut findings, told, repair).await?;
    }
    findings.sort_by(|a, b| a.place().cmp(&b.place()));
    Ok(Reconciliation {
        checked: compared.checked,
        findings,
    })
}

impl Finding {
    /// A counter beside its ledger; no provider was told anything of it.
    fn of(drift: Drift, repaired: bool) -> Self {
        Self {
            drift,
            reported: None,
            counted: None,
            repaired,
        }
    }

    fn place(&self) -> (&str, &str, DateTime<Utc>) {
        let Drift {
            customer_id,
            feature,
            period_start,
            ..
        } = &self.drift;
        (customer_id, feature, *period_start)
    }
}

/// Adds what a provider was told of a counter to its finding, or makes one where the provider does not have that.
async fn add_told(
    context: &Context,
    actor: &str,
    findings: &mut Vec<Finding>,
    told: Told,
    repair: bool,
) -> Result<(), StoreError> {
    let place = (
        told.customer_id.as_str(),
        told.feature.as_str(),
        told.period_start,
    );
    let known = findings.iter().position(|known| known.place() == place);
    if known.is_none() && !told.differs() {
        return Ok(());
    }
    let anew = repair && tell_anew(context, actor.to_owned(), &told).await?;
    let (reported, counted) = (told.reported, told.counted);
    if known.is_none() {
        let beside = pool::run(&context.pool, move |conn| {
            conn.transaction(|conn| beside(conn, told))
                .map_err(StoreError::from)
        });
        findings.push(Finding::of(beside.await?, anew));
    }
    let finding = match known {
        Some(index) => findings.get_mut(index),
        None => findings.last_mut(),
    };
    if let Some(finding) = finding {
        finding.reported = Some(reported);
        finding.counted = counted;
        finding.repaired |= anew;
    }
    Ok(())
}

/// The counter that a provider was told of, beside its ledger.
fn beside(conn: &mut PgConnection, told: Told) -> QueryResult<Drift> {
    conn.batch_execute("SET LOCAL statement_timeout = '10min'")?;
    let counters = counters::of_customers(conn, &[&told.customer_id])?;
    let counter = counters.iter().find(|counter| {
        counter.metric_name == told.feature && counter.period_start == told.period_start
    });
    Ok(Drift {
        ledger: counters::ledger_sum(conn, &told.customer_id, &told.feature, told.period_start)?,
        counter: counter.map_or(0, |counter| counter.value),
        period_end: counter.map_or(told.period_end, |counter| counter.period_end),
        customer_id: told.customer_id,
        feature: told.feature,
        period_start: told.period_start,
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
        return Ok(Some(Finding::of(seen, false)));
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
    let drift = Drift {
        period_end,
        ledger,
        counter: value,
        ..seen
    };
    Ok(Some(Finding::of(drift, repaired)))
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
