//! What providers were told, beside what they say that they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::SUMS_LAG;
use super::comparing::minute_of;
use crate::domain::provider_event::ProviderName;
use crate::providers::UsageBilling;
use crate::service::context::Context;
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::customers;
use crate::store::pool::{self, StoreError};
use crate::store::usage_reports::{self, ToldCounter};

/// Counters that are compared in one call; each costs a call to the provider.
const MOST_COUNTERS: i64 = 1000;
/// Of everybody those are compared that were told of so lately: a billing period, and what is late.
const LATELY: TimeDelta = TimeDelta::days(35);
/// Questions to a provider at the same time.
const AT_A_TIME: usize = 8;

/// What a provider was told of a counter, and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whose.
    pub customer_id: String,
    /// Whom.
    pub provider: String,
    /// Of which feature.
    pub feature: String,
    /// First instant of the counter's period.
    pub period_start: DateTime<Utc>,
    /// First instant after it.
    pub period_end: Option<DateTime<Utc>>,
    /// Units that were told, and not refused or taken back.
    pub reported: i64,
    /// Units that the provider counts; `None`: it could not be asked, something is on its way, or its sums cannot be told apart.
    pub counted: Option<i64>,
    /// Reports that the provider could not use.
    pub refused: i64,
}

impl Told {
    /// Whether the provider does not have what it was told.
    pub fn differs(&self) -> bool {
        self.refused > 0 || self.counted.is_some_and(|counted| counted != self.reported)
    }
}

/// Compares what providers were told of one customer's counters, or of everybody's lately, with their sums.
pub async fn compare_told(
    context: &Context,
    customer: Option<String>,
) -> Result<Vec<Told>, StoreError> {
    let providers: Vec<&'static str> = context
        .storefronts
        .iter()
        .map(|storefront| storefront.provider.name().as_str())
        .collect();
    let clock = Arc::clone(context.clock());
    let counters = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let since = if customer.is_some() {
            DateTime::UNIX_EPOCH
        } else {
            now - LATELY
        };
        let customer = customer.as_deref();
        let settled_by = now - SUMS_LAG;
        usage_reports::told_counters(conn, &providers, customer, since, settled_by, MOST_COUNTERS)
            .map_err(StoreError::from)
    })
    .await?;
    let is_away = AtomicBool::new(false);
    let told = stream::iter(counters)
        .map(async |counter| {
            let counted = counted(context, &counter, &is_away).await?;
            Ok(Told {
                customer_id: counter.customer_id,
                provider: counter.provider,
                feature: counter.metric_name,
                period_start: counter.period_start,
                period_end: counter.period_end,
                reported: counter.reported,
                counted,
                refused: counter.refused,
            })
        })
        .buffered(AT_A_TIME);
    let told: Vec<Result<Told, StoreError>> = told.collect().await;
    told.into_iter().collect()
}

/// What the provider counts of a counter: its sum of the span in which that was told, without what it was told of others then.
async fn counted(
    context: &Context,
    counter: &ToldCounter,
    is_away: &AtomicBool,
) -> Result<Option<i64>, StoreError> {
    let (Some(since), Some(until), Some(name)) = (
        counter.told_since,
        counter.told_until,
        &counter.provider_customer_id,
    ) else {
        return Ok(None);
    };
    let provider = counter.provider.parse::<ProviderName>().ok();
    let storefront = provider
        .and_then(|name| context.storefront(name))
        .filter(|storefront| storefront.provider.capabilities().usage == UsageBilling::Metered);
    let Some(storefront) = storefront else {
        return Ok(None);
    };
    if !counter.is_settled || is_away.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let (from, until) = (minute_of(since), minute_of(until) + TimeDelta::minutes(1));
    let (customer, provider) = (counter.customer_id.clone(), counter.provider.clone());
    let whom = name.clone();
    let told = pool::run(&context.pool, move |conn| {
        let whom = (customer.as_str(), provider.as_str(), whom.as_str());
        for edge in [from, until] {
            if usage_reports::straddling(conn, whom, edge)?.is_some() {
                return Ok(None);
            }
        }
        Ok::<_, StoreError>(Some(usage_reports::told_between(conn, whom, from, until)?))
    })
    .await?;
    let Some(told) = told else { return Ok(None) };
    match storefront.provider.usage_counted(name, from, until).await {
        Ok(sum) => {
            let of_others = told.units.saturating_sub(counter.reported);
            Ok(sum.checked_sub(of_others))
        }
        Err(error) => {
            let customer_id = &counter.customer_id;
            tracing::warn!(customer_id, %error, "the provider does not say what usage it counts");
            is_away.fetch_or(error.is_transient(), Ordering::Relaxed);
            Ok(None)
        }
    }
}

/// Has what the provider refused of a counter told anew, with a row in the audit log that names `actor`. Returns whether there was
/// anything.
pub async fn tell_anew(context: &Context, actor: String, told: &Told) -> Result<bool, StoreError> {
    let (clock, told) = (Arc::clone(context.clock()), told.clone());
    let anew = pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            customers::lock(conn, &told.customer_id)?;
            let now = deciding_time(conn, clock.as_ref())?;
            let Told {
                customer_id,
                provider,
                feature,
                period_start,
                ..
            } = &told;
            let refused =
                usage_reports::refused_of(conn, customer_id, provider, feature, *period_start)?;
            for report in &refused {
                usage_reports::begin_anew(conn, report, now)?;
                let details = json!({"provider": provider, "report_id": report.report_id,
                                     "quantity": report.quantity, "period_start": period_start});
                let target = feature.clone();
                let row = AuditRow::new(
                    actor.clone(),
                    "usage.report_again",
                    Some(customer_id),
                    target,
                    details,
                    now,
                );
                audit::append(conn, &row)?;
            }
            Ok::<_, StoreError>(!refused.is_empty())
        })
    })
    .await?;
    if anew {
        context.bells.usage.notify_one();
    }
    Ok(anew)
}
