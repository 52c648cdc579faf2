//! The hot path: admissions and recorded usage. The database transaction decides, and is committed before anyone is answered.

mod admission;
mod command;
mod entry;
mod recording;
mod snapshot;

use std::sync::Arc;

use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Ask, Decision};
use crate::domain::policy::{Enforcement, UnknownCustomers};
use crate::store::clock::{Clock, deciding_time};
use crate::store::denials;
use crate::store::plan_book::PlanBook;
use crate::store::pool::{self, Pool};

pub use command::{Consume, MeterError, Record, Recorded, Release, SetAllocated, Settled};
pub use snapshot::Snapshot;

/// What the meter decides by, besides the plans.
#[derive(Clone)]
pub struct Rules {
    /// The plans.
    pub book: Arc<PlanBook>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether denials deny.
    pub enforcement: Enforcement,
    /// What happens to customers that were never seen.
    pub unknown_customers: UnknownCustomers,
}

/// Carries out commands, each in a transaction of its own.
#[derive(Clone)]
pub struct Meter {
    pool: Pool,
    rules: Rules,
}

/// A question that changes nothing.
#[derive(Debug, Clone)]
pub struct Question {
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// Value of a static feature.
    pub value: Option<i64>,
}

impl Meter {
    /// A meter on this database.
    pub fn new(pool: Pool, rules: Rules) -> Self {
        Self { pool, rules }
    }

    /// What it decides by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Admits and counts, or denies and counts nothing.
    pub async fn consume(&self, command: Consume) -> Result<Settled, MeterError> {
        let rules = self.rules.clone();
        pool::run(&self.pool, move |conn| {
            admission::consume(conn, &rules, &command)
        })
        .await
    }

    /// Gives units of an allocated feature back.
    pub async fn release(&self, command: Release) -> Result<Settled, MeterError> {
        let rules = self.rules.clone();
        pool::run(&self.pool, move |conn| {
            admission::release(conn, &rules, &command)
        })
        .await
    }

    /// States how many units of an allocated feature exist.
    pub async fn set_allocated(&self, command: SetAllocated) -> Result<Settled, MeterError> {
        let rules = self.rules.clone();
        pool::run(&self.pool, move |conn| {
            admission::set_allocated(conn, &rules, &command)
        })
        .await
    }

    /// Records what already happened, a transaction for each customer; results are in the order of the events. After an error
    /// some customers' events may be recorded: the same call may be repeated, the rest is recorded then.
    pub async fn record(&self, events: Vec<Record>) -> Result<Vec<Recorded>, MeterError> {
        let rules = self.rules.clone();
        pool::run(&self.pool, move |conn| {
            let mut numbered: Vec<(usize, Record)> = events.into_iter().enumerate().collect();
            numbered.sort_by(|(_, a), (_, b)| a.customer.cmp(&b.customer));
            let mut results: Vec<(usize, Recorded)> = Vec::with_capacity(numbered.len());
            for group in numbered.chunk_by(|(_, a), (_, b)| a.customer == b.customer) {
                let Some((_, first)) = group.first() else {
                    continue;
                };
                let customer = first.customer.clone();
                let events: Vec<Record> = group.iter().map(|(_, event)| event.clone()).collect();
                let recorded = recording::record(conn, &rules, customer.as_str(), &events)?;
                results.extend(group.iter().map(|(index, _)| *index).zip(recorded));
            }
            results.sort_by_key(|(index, _)| *index);
            Ok(results.into_iter().map(|(_, result)| result).collect())
        })
        .await
    }

    /// Reads a customer as of the database's time.
    pub async fn snapshot(&self, customer: &str) -> Result<Snapshot, MeterError> {
        let (rules, customer) = (self.rules.clone(), customer.to_owned());
        pool::run(&self.pool, move |conn| {
            consistent_snapshot(conn, &rules, &customer)
        })
        .await
    }

    /// Decides without an effect. A denial is noted, as far as that succeeds.
    pub async fn check(
        &self,
        customer: &str,
        questions: Vec<Question>,
    ) -> Result<Vec<Result<Decision, MeterError>>, MeterError> {
        let (rules, customer) = (self.rules.clone(), customer.to_owned());
        pool::run(&self.pool, move |conn| {
            let snapshot = consistent_snapshot(conn, &rules, &customer)?;
            if !snapshot.known && rules.unknown_customers == UnknownCustomers::Reject {
                return Err(MeterError::UnknownCustomer);
            }
            let decisions: Vec<_> = questions
                .iter()
                .map(|question| answer(&snapshot, &rules, question))
                .collect();
            for denied in decisions
                .iter()
                .flatten()
                .filter(|decision| !decision.reason.allows())
            {
                if let Err(error) = denials::note(
                    conn,
                    &customer,
                    &denied.feature,
                    denied.reason,
                    snapshot.now,
                ) {
                    tracing::warn!(%error, "a denial could not be noted");
                }
            }
            Ok(decisions)
        })
        .await
    }
}

/// Reads everything as of one instant: a report that is stored in between shows in all of it or in none.
fn consistent_snapshot(
    conn: &mut diesel::PgConnection,
    rules: &Rules,
    customer: &str,
) -> Result<Snapshot, MeterError> {
    conn.build_transaction()
        .repeatable_read()
        .read_only()
        .run(|conn| {
            let now = deciding_time(conn, rules.clock.as_ref())?;
            Snapshot::peek(conn, &rules.book, customer, now)
        })
}

fn answer(snapshot: &Snapshot, rules: &Rules, question: &Question) -> Result<Decision, MeterError> {
    let kind = snapshot.kind(&question.feature)?;
    admission::check_value(kind, question.value)?;
    Ok(decide(
        snapshot,
        rules.enforcement,
        &question.feature,
        kind,
        Ask {
            quantity: question.quantity,
            value: question.value,
        },
    ))
}

/// The decision on a snapshot, without an effect.
pub fn decide(
    snapshot: &Snapshot,
    enforcement: Enforcement,
    feature: &str,
    kind: FeatureKind,
    ask: Ask,
) -> Decision {
    let case = snapshot.case(feature, kind, enforcement);
    let balance = snapshot.balance(feature, kind);
    case.decision(ask, case.judge(ask, balance), balance, balance, Vec::new())
}

/// A decision for each feature of the catalogue: for a quantity of 1, a static feature for its limit.
pub fn survey(snapshot: &Snapshot, enforcement: Enforcement) -> Vec<Decision> {
    snapshot
        .plans
        .features()
        .into_iter()
        .map(|feature| {
            let kind = feature.grant.kind();
            let limit = snapshot.case(&feature.key, kind, enforcement).terms().limit;
            let value = (kind == FeatureKind::Static).then(|| limit.unwrap_or(0));
            decide(
                snapshot,
                enforcement,
                &feature.key,
                kind,
                Ask { quantity: 1, value },
            )
        })
        .collect()
}
