//! Subscriptions that an operator grants: invoiced elsewhere, complimentary, or a trial.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::context::Context;
use super::subscriptions::{Occasion, apply_report, first_seen};
use crate::domain::ids::CustomerId;
use crate::domain::money::Currency;
use crate::domain::policy::UnknownCustomers;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::{Report, Subscription, SubscriptionStatus};
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::subscriptions::Cause;
use crate::store::{customers, subscriptions};

/// What an operator grants.
#[derive(Debug, Clone)]
pub struct Grant {
    /// To whom.
    pub customer: CustomerId,
    /// Which tier; its current version is pinned.
    pub plan_tier: String,
    /// First instant at which it is over; `None`: until it is ended.
    pub until: Option<DateTime<Utc>>,
    /// Paid each month, in minor units.
    pub unit_amount: i64,
    /// Currency of that; `None`: that of the plan's first price.
    pub currency: Option<Currency>,
    /// Why, for the audit log.
    pub reason: String,
}

/// Why nothing was granted or ended.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The catalogue has no such tier.
    #[error("the catalogue has no tier \"{0}\"")]
    UnknownPlan(String),
    /// Unknown customers are rejected.
    #[error("the customer is not known")]
    UnknownCustomer,
    /// It would be over before it begins.
    #[error("must be in the future")]
    UntilPast,
    /// An amount in which currency?
    #[error("is required with an amount, since the plan has no price")]
    CurrencyMissing,
    /// No granted subscription has this id.
    #[error("no granted subscription has this id")]
    NotFound,
    /// It was ended before.
    #[error("the subscription has ended already")]
    Ended,
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for GrantError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Grants a subscription. `actor` is named in the audit log.
pub async fn grant(
    context: &Context,
    actor: String,
    grant: Grant,
) -> Result<Subscription, GrantError> {
    let plan = context
        .book()
        .plans()
        .of_tier(&grant.plan_tier)
        .cloned()
        .ok_or_else(|| GrantError::UnknownPlan(grant.plan_tier.clone()))?;
    let currency = grant
        .currency
        .or_else(|| plan.plan.prices.first().map(|price| price.currency));
    if grant.unit_amount > 0 && currency.is_none() {
        return Err(GrantError::CurrencyMissing);
    }
    let meter = context.meter.clone();
    pool::run(&context.pool, move |conn| {
        let rules = meter.rules();
        let granted = conn.transaction(|conn| {
            let customer = grant.customer.as_str();
            let row = match customers::lock(conn, customer)? {
                Some(row) => row,
                None if rules.unknown_customers == UnknownCustomers::Reject => return Err(GrantError::UnknownCustomer),
                None => {
                    let now = deciding_time(conn, rules.clock.as_ref())?;
                    customers::lock_or_create(conn, customer, now)?
                }
            };
            let now = deciding_time(conn, rules.clock.as_ref())?;
            if grant.until.is_some_and(|until| until <= now) {
                return Err(GrantError::UntilPast);
            }
            let id = format!("man_{}", Uuid::now_v7().simple());
            let lease = subscriptions::lease(conn, ProviderName::Manual, &id)?;
            subscriptions::bind(conn, ProviderName::Manual, &id, customer, None)?;
            let report = Report {
                status: SubscriptionStatus::Active,
                plan: plan.reference(),
                anchor: now,
                current_period_start: Some(now),
                current_period_end: grant.until,
                cancel_at_period_end: false,
                cancel_at: grant.until,
                ended_at: None,
                paid_until: None,
                was_paid: false,
                unpaid_since: None,
                trial_end: None,
                planned: None,
                end_with_grace: false,
            };
            let base = Subscription {
                unit_amount: Some(grant.unit_amount),
                currency: currency.map(|currency| currency.as_str().to_owned()),
                ..first_seen(ProviderName::Manual, &id, &report, now)
            };
            let plans = rules.book.refresh(conn)?;
            let occasion = Occasion { fence: lease.fence, cause: Cause::Operator, now };
            let granted = apply_report(conn, &plans, customer, row.anchoring(), &base, report, occasion)?;
            let details = json!({"plan_tier": grant.plan_tier, "until": grant.until, "unit_amount": grant.unit_amount,
                                 "currency": granted.currency, "reason": grant.reason});
            audit::append(conn, &AuditRow::new(actor, "subscription.grant", Some(customer), id, details, now))?;
            Ok(granted)
        });
        meter.forget(grant.customer.as_str());
        granted
    })
    .await
}

/// Ends a granted subscription at once, without grace. Returns whose it was, and the subscription.
pub async fn end(
    context: &Context,
    actor: String,
    id: String,
) -> Result<(String, Subscription), GrantError> {
    let meter = context.meter.clone();
    pool::run(&context.pool, move |conn| {
        let rules = meter.rules();
        let mut whose = None;
        let ended = conn.transaction(|conn| {
            let owner = subscriptions::owner(conn, ProviderName::Manual, &id)?
                .ok_or(GrantError::NotFound)?;
            whose = Some(owner.clone());
            let row = customers::lock(conn, &owner)?.ok_or(GrantError::NotFound)?;
            let now = deciding_time(conn, rules.clock.as_ref())?;
            let stored = subscriptions::of_customer(conn, &owner)?
                .into_iter()
                .find(|s| s.provider == ProviderName::Manual && s.provider_subscription_id == id)
                .ok_or(GrantError::NotFound)?;
            if stored.status.is_terminal() || stored.access_ends_at.is_some_and(|end| end <= now) {
                return Err(GrantError::Ended);
            }
            let lease = subscriptions::lease(conn, ProviderName::Manual, &id)?;
            let report = Report {
                status: SubscriptionStatus::Canceled,
                plan: stored.plan.clone(),
                anchor: stored.anchor,
                current_period_start: stored.current_period_start,
                current_period_end: stored.current_period_end,
                cancel_at_period_end: false,
                cancel_at: None,
                ended_at: Some(now),
                paid_until: None,
                was_paid: false,
                unpaid_since: None,
                trial_end: None,
                planned: None,
                end_with_grace: false,
            };
            let plans = rules.book.refresh(conn)?;
            let occasion = Occasion {
                fence: lease.fence,
                cause: Cause::Operator,
                now,
            };
            let ended = apply_report(
                conn,
                &plans,
                &owner,
                row.anchoring(),
                &stored,
                report,
                occasion,
            )?;
            audit::append(
                conn,
                &AuditRow::new(actor, "subscription.end", Some(&owner), id, json!({}), now),
            )?;
            Ok((owner, ended))
        });
        // Even after an error: the answer to the commit may have been lost.
        if let Some(owner) = whose {
            meter.forget(&owner);
        }
        ended
    })
    .await
}
