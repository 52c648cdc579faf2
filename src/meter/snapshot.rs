//! All that is known of one customer at one instant: what decisions are made on.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::MeterError;
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::Case;
use crate::domain::plans::Plans;
use crate::domain::policy::Enforcement;
use crate::domain::standing::{Anchoring, Standing};
use crate::domain::subscription::Subscription;
use crate::domain::terms::Override;
use crate::domain::usage::Balance;
use crate::store::counters::{self, Counter};
use crate::store::ledger::{KeyUse, Remembered};
use crate::store::plan_book::PlanBook;
use crate::store::{accounts, customers};

/// A customer at an instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The customer.
    pub customer_id: String,
    /// Whether the customer was ever seen.
    pub known: bool,
    /// When this was true.
    pub now: DateTime<Utc>,
    /// The plans it was judged by.
    pub plans: Arc<Plans>,
    /// Plan in force, grace, period.
    pub standing: Standing,
    /// Every subscription, oldest first.
    pub subscriptions: Vec<Subscription>,
    overrides: Vec<(String, Override)>,
    pub(super) counters: Vec<Counter>,
    /// Indices of counters whose holds were summed up anew: worth writing with the next thing that is written.
    pub(super) summed_up: Vec<usize>,
}

impl Snapshot {
    /// Reads customers, each given with what its row remembers, as of `now`, and the first uses of `keys`. `past` tells for a customer
    /// where it stands, and is asked whether counters of all its periods are needed.
    pub fn read_all(
        conn: &mut PgConnection,
        book: &PlanBook,
        known: Vec<(String, Anchoring)>,
        keys: &[KeyUse<'_>],
        now: DateTime<Utc>,
        past: impl Fn(&str, &Standing) -> bool,
    ) -> Result<(Vec<Self>, Vec<Remembered>), MeterError> {
        let ids: Vec<&str> = known.iter().map(|(id, _)| id.as_str()).collect();
        let read = accounts::read_all(conn, &ids, keys, now)?;
        let mut index: HashMap<&str, Belongings> = HashMap::with_capacity(ids.len());
        for id in ids {
            index.insert(id, Belongings::default());
        }
        for (customer, subscription) in read.subscriptions {
            if let Some(of) = index.get_mut(customer.as_str()) {
                of.subscriptions.push(subscription);
            }
        }
        for row in read.overrides {
            let adjustment = row.to_domain();
            if let Some(of) = index.get_mut(row.customer_id.as_str()) {
                of.overrides.push((row.feature, adjustment));
            }
        }
        for counter in read.counters {
            if let Some(of) = index.get_mut(counter.customer_id.as_str()) {
                of.counters.push(counter);
            }
        }
        let mut snapshots = Vec::with_capacity(known.len());
        for (customer, remembered) in &known {
            let of = index.remove(customer.as_str()).unwrap_or_default();
            let (plans, standing) = stand(conn, book, &of.subscriptions, *remembered, now)?;
            snapshots.push(Self {
                customer_id: customer.clone(),
                known: true,
                now,
                plans,
                standing,
                subscriptions: of.subscriptions,
                overrides: of.overrides,
                counters: of.counters,
                summed_up: Vec::new(),
            });
        }
        look_back(conn, &mut snapshots, past)?;
        sum_up_holds(conn, &mut snapshots, now)?;
        Ok((snapshots, read.remembered))
    }

    /// Reads the customer, who need not be known, without keeping anybody out.
    pub fn peek(
        conn: &mut PgConnection,
        book: &PlanBook,
        customer: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, MeterError> {
        if let Some(row) = customers::find(conn, customer)? {
            let known = vec![(row.customer_id.clone(), row.anchoring())];
            let (mut read, _) = Self::read_all(conn, book, known, &[], now, |_, _| false)?;
            if let Some(snapshot) = read.pop() {
                return Ok(snapshot);
            }
        }
        let (plans, standing) = stand(conn, book, &[], Anchoring::default(), now)?;
        Ok(Self {
            customer_id: customer.to_owned(),
            known: false,
            now,
            plans,
            standing,
            subscriptions: Vec::new(),
            overrides: Vec::new(),
            counters: Vec::new(),
            summed_up: Vec::new(),
        })
    }

    /// What kind of feature this is.
    pub fn kind(&self, feature: &str) -> Result<FeatureKind, MeterError> {
        self.plans
            .kind(feature)
            .ok_or_else(|| MeterError::UnknownFeature(feature.to_owned()))
    }

    /// What decisions about a feature rest on.
    pub fn case<'a>(
        &'a self,
        feature: &'a str,
        kind: FeatureKind,
        enforcement: Enforcement,
    ) -> Case<'a> {
        let adjustment = self
            .overrides
            .iter()
            .find(|(key, adjustment)| key == feature && adjustment.is_current(self.now))
            .map(|(_, adjustment)| adjustment);
        Case {
            customer_id: &self.customer_id,
            feature,
            kind,
            standing: &self.standing,
            adjustment,
            plans: &self.plans,
            enforcement,
            now: self.now,
        }
    }

    /// The feature's counter in the period that begins at `start`, if anything was ever counted.
    pub fn counter(&self, feature: &str, start: DateTime<Utc>) -> Option<&Counter> {
        self.counters
            .iter()
            .find(|counter| counter.metric_name == feature && counter.period_start == start)
    }

    /// What is counted of a feature now.
    pub fn balance(&self, feature: &str, kind: FeatureKind) -> Balance {
        self.balance_at(feature, self.period_start(kind))
    }

    /// What is counted of a feature in the period that begins at `start`.
    pub fn balance_at(&self, feature: &str, start: DateTime<Utc>) -> Balance {
        let counter = self.counter(feature, start);
        counter.map_or_else(Balance::default, |counter| Balance {
            used: counter.value,
            held: counter.held,
        })
    }

    /// The start of the counter's period: gauges count from the epoch and never reset.
    pub fn period_start(&self, kind: FeatureKind) -> DateTime<Utc> {
        match kind {
            FeatureKind::Metered => self.standing.period.start,
            FeatureKind::Allocated | FeatureKind::Static | FeatureKind::Boolean => {
                DateTime::UNIX_EPOCH
            }
        }
    }
}

#[cfg(test)]
impl Snapshot {
    /// What is known at `now` of somebody who was never seen.
    pub(super) fn of_stranger(customer: &str, plans: &Arc<Plans>, now: DateTime<Utc>) -> Self {
        let nothing = Anchoring::default();
        Self {
            customer_id: customer.to_owned(),
            known: false,
            now,
            plans: Arc::clone(plans),
            standing: Standing::at(now, &[], nothing, plans).unwrap(),
            subscriptions: Vec::new(),
            overrides: Vec::new(),
            counters: Vec::new(),
            summed_up: Vec::new(),
        }
    }
}

/// Where somebody with these subscriptions stands, and by which plans.
fn stand(
    conn: &mut PgConnection,
    book: &PlanBook,
    subscriptions: &[Subscription],
    remembered: Anchoring,
    now: DateTime<Utc>,
) -> Result<(Arc<Plans>, Standing), MeterError> {
    let mut plans = book.plans();
    let mut standing = Standing::at(now, subscriptions, remembered, &plans);
    if standing.is_err() {
        // Sold by another replica since this one last looked.
        plans = book.refresh(conn)?;
        standing = Standing::at(now, subscriptions, remembered, &plans);
    }
    let standing =
        standing.map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
    Ok((plans, standing))
}

/// Reads all counters of those who need them.
fn look_back(
    conn: &mut PgConnection,
    snapshots: &mut [Snapshot],
    past: impl Fn(&str, &Standing) -> bool,
) -> Result<(), MeterError> {
    let mut looking_back: Vec<&mut Snapshot> = snapshots
        .iter_mut()
        .filter(|snapshot| past(&snapshot.customer_id, &snapshot.standing))
        .collect();
    if looking_back.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = looking_back
        .iter()
        .map(|snapshot| snapshot.customer_id.as_str())
        .collect();
    let mut all: HashMap<String, Vec<Counter>> = HashMap::new();
    for counter in counters::of_customers(conn, &ids)? {
        let of_customer = all.entry(counter.customer_id.clone()).or_default();
        of_customer.push(counter);
    }
    for snapshot in &mut looking_back {
        snapshot.counters = all.remove(&snapshot.customer_id).unwrap_or_default();
    }
    Ok(())
}

/// Sums up anew what is held of counters whose holds may have expired.
fn sum_up_holds(
    conn: &mut PgConnection,
    snapshots: &mut [Snapshot],
    now: DateTime<Utc>,
) -> Result<(), MeterError> {
    let mut stale: HashMap<&str, Vec<&mut Counter>> = HashMap::new();
    for snapshot in snapshots {
        for (index, counter) in snapshot.counters.iter_mut().enumerate() {
            if counter.is_hold_stale(now) {
                snapshot.summed_up.push(index);
                let of_customer = stale.entry(snapshot.customer_id.as_str()).or_default();
                of_customer.push(counter);
            }
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let customers: Vec<&str> = stale.keys().copied().collect();
    let held = counters::holds(conn, &customers, now)?;
    for counter in stale.into_values().flatten() {
        let found = held.iter().find(|hold| {
            hold.customer_id == counter.customer_id
                && hold.metric_name == counter.metric_name
                && hold.period_start == counter.period_start
        });
        counter.held = found.map_or(0, |hold| hold.quantity);
        counter.held_until = found.map(|hold| hold.until);
    }
    Ok(())
}

/// What was read of one customer.
#[derive(Default)]
struct Belongings {
    subscriptions: Vec<Subscription>,
    overrides: Vec<(String, Override)>,
    counters: Vec<Counter>,
}
