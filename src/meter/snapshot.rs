//! All that is known of one customer at one instant: what decisions are made on.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::Case;
use crate::domain::plans::Plans;
use crate::domain::policy::Enforcement;
use crate::domain::standing::{Anchoring, Standing};
use crate::domain::subscription::Subscription;
use crate::domain::terms::Override;
use crate::domain::usage::Balance;
use crate::store::counters::{self, Counter};
use crate::store::plan_book::PlanBook;
use crate::store::{customers, overrides, subscriptions};

use super::MeterError;

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
    counters: Vec<Counter>,
}

impl Snapshot {
    /// Reads the customer as of `now`. `anchoring` is what the customer's row remembers; `None`: the customer was never seen.
    pub fn read(
        conn: &mut PgConnection,
        book: &PlanBook,
        customer: &str,
        anchoring: Option<Anchoring>,
        now: DateTime<Utc>,
    ) -> Result<Self, MeterError> {
        let (subscriptions, adjustments) = match anchoring {
            Some(_) => (
                subscriptions::of_customer(conn, customer)?,
                overrides::of_customer(conn, customer)?,
            ),
            None => (Vec::new(), Vec::new()),
        };
        let remembered = anchoring.unwrap_or_default();
        let mut plans = book.plans();
        let mut standing = Standing::at(now, &subscriptions, remembered, &plans);
        if standing.is_err() {
            // Sold by another replica since this one last looked.
            plans = book.refresh(conn)?;
            standing = Standing::at(now, &subscriptions, remembered, &plans);
        }
        let standing =
            standing.map_err(|error| diesel::result::Error::DeserializationError(error.into()))?;
        let counters = match anchoring {
            Some(_) => counters::current(conn, customer, standing.period.start)?,
            None => Vec::new(),
        };
        Ok(Self {
            customer_id: customer.to_owned(),
            known: anchoring.is_some(),
            now,
            plans,
            standing,
            subscriptions,
            overrides: adjustments
                .iter()
                .map(|row| (row.feature.clone(), row.to_domain()))
                .collect(),
            counters,
        })
    }

    /// Reads the customer, who need not be known, without keeping anybody out.
    pub fn peek(
        conn: &mut PgConnection,
        book: &PlanBook,
        customer: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, MeterError> {
        let anchoring = customers::find(conn, customer)?.map(|row| row.anchoring());
        Self::read(conn, book, customer, anchoring, now)
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

    /// The feature's counter in the current period, if anything was ever counted.
    pub fn counter(&self, feature: &str, kind: FeatureKind) -> Option<&Counter> {
        let start = self.period_start(kind);
        self.counters
            .iter()
            .find(|counter| counter.metric_name == feature && counter.period_start == start)
    }

    /// What is counted of a feature now.
    pub fn balance(&self, feature: &str, kind: FeatureKind) -> Balance {
        Balance {
            used: self
                .counter(feature, kind)
                .map_or(0, |counter| counter.value),
            held: 0,
        }
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
