//! Attempts in the database: each step is one short transaction, with no network call inside.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::{CheckoutError, eligibility};
use crate::domain::ids::CustomerId;
use crate::domain::plans::PlanVersion;
use crate::domain::policy::UnknownCustomers;
use crate::domain::provider_event::ProviderName;
use crate::providers::CheckoutSession;
use crate::service::context::Context;
use crate::store::checkout_sessions::{self, Attempt, Ending};
use crate::store::clock::deciding_time;
use crate::store::pool;
use crate::store::{customers, subscriptions};

/// The attempt that is under way once the customer was found to be free to buy.
pub(super) enum Begun {
    /// By this call.
    Now(Attempt),
    /// By another call; as of this instant.
    Earlier(Attempt, DateTime<Utc>),
}

/// Where a new attempt sends the browser afterwards.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    pub(super) success_url: String,
    pub(super) cancel_url: String,
}

/// The attempts of one customer at one provider.
pub(super) struct Attempts<'a> {
    pub(super) context: &'a Context,
    pub(super) customer: CustomerId,
    pub(super) provider: ProviderName,
}

impl Attempts<'_> {
    /// Judges the customer's subscriptions and begins an attempt, unless one is under way.
    pub(super) async fn begin(
        &self,
        plan: &PlanVersion,
        returning: Returning,
    ) -> Result<Begun, CheckoutError> {
        let rules = self.context.meter.rules().clone();
        let (sold, trial_days) = (plan.reference(), plan.plan.trial_days);
        let (customer, provider) = (self.customer.clone(), self.provider);
        pool::run(&self.context.pool, move |conn| {
            conn.transaction(|conn| {
                let customer = customer.as_str();
                if customers::lock(conn, customer)?.is_none() {
                    if rules.unknown_customers == UnknownCustomers::Reject {
                        return Err(CheckoutError::UnknownCustomer);
                    }
                    let now = deciding_time(conn, rules.clock.as_ref())?;
                    customers::lock_or_create(conn, customer, now)?;
                }
                let now = deciding_time(conn, rules.clock.as_ref())?;
                let subscriptions = subscriptions::of_customer(conn, customer)?;
                eligibility::may_buy(&subscriptions, &sold.tier, now)?;
                if let Some(earlier) = checkout_sessions::under_way(conn, customer, provider)? {
                    return Ok(Begun::Earlier(earlier, now));
                }
                // Kept with the attempt: the call that is repeated under its key must ask for the same trial.
                let trial_days = trial_days
                    .filter(|_| eligibility::may_try(&subscriptions))
                    .and_then(|days| i32::try_from(days).ok());
                let attempt = Attempt {
                    customer_id: customer.to_owned(),
                    attempt_id: Uuid::now_v7(),
                    provider: provider.as_str().to_owned(),
                    plan_tier: sold.tier,
                    plan_version: sold.version,
                    state: "creating".to_owned(),
                    session_id: None,
                    checkout_url: None,
                    success_url: returning.success_url,
                    cancel_url: returning.cancel_url,
                    trial_days,
                    replaces: None,
                    starts_at: None,
                    claimed_until: None,
                    expires_at: None,
                    created_at: now,
                    updated_at: now,
                };
                if checkout_sessions::begin(conn, &attempt)? {
                    Ok(Begun::Now(attempt))
                } else {
                    Err(CheckoutError::InProgress)
                }
            })
        })
        .await
    }

    /// Remembers the session of an attempt. `false`: the attempt was ended meanwhile.
    pub(super) async fn remember(
        &self,
        attempt: &Attempt,
        session: &CheckoutSession,
        url: String,
    ) -> Result<bool, CheckoutError> {
        let (customer, attempt) = (self.customer.clone(), attempt.attempt_id);
        let (id, expires_at) = (session.id.clone(), session.expires_at);
        let now = self.context.clock().now();
        pool::run(&self.context.pool, move |conn| {
            let session = (id.as_str(), url.as_str());
            checkout_sessions::opened(conn, customer.as_str(), attempt, session, expires_at, now)
                .map_err(CheckoutError::from)
        })
        .await
    }

    /// The attempt is over once the subscription that it led to is known here; until then nothing else may be sold.
    pub(super) async fn settle_completed(
        &self,
        attempt: &Attempt,
        session: CheckoutSession,
    ) -> Result<(), CheckoutError> {
        let (customer, attempt) = (self.customer.clone(), attempt.attempt_id);
        let (provider, now) = (self.provider, self.context.clock().now());
        pool::run(&self.context.pool, move |conn| {
            let customer = customer.as_str();
            let known = subscriptions::of_customer(conn, customer)?
                .iter()
                .any(|subscription| {
                    subscription.provider == provider
                        && Some(&subscription.provider_subscription_id)
                            == session.provider_subscription_id.as_ref()
                });
            if !known {
                return Err(CheckoutError::Completed);
            }
            checkout_sessions::end(conn, customer, attempt, Ending::Complete, now)?;
            Ok(())
        })
        .await
    }

    /// Ends an attempt, unless it has ended.
    pub(super) async fn end(&self, attempt: &Attempt, ending: Ending) -> Result<(), CheckoutError> {
        let (customer, attempt) = (self.customer.clone(), attempt.attempt_id);
        let now = self.context.clock().now();
        pool::run(&self.context.pool, move |conn| {
            checkout_sessions::end(conn, customer.as_str(), attempt, ending, now)
                .map_err(CheckoutError::from)
        })
        .await
    }

    /// Ends an attempt that has no session, unless another caller learned of one meanwhile.
    pub(super) async fn give_up(&self, attempt: &Attempt) -> Result<(), CheckoutError> {
        let (customer, attempt) = (self.customer.clone(), attempt.attempt_id);
        let now = self.context.clock().now();
        pool::run(&self.context.pool, move |conn| {
            checkout_sessions::give_up(conn, customer.as_str(), attempt, now)
                .map_err(CheckoutError::from)
        })
        .await
    }
}
