//! Attempts in the database: each step is one short transaction, with no network call inside.
//!
//! A provider with idempotency keys makes one session for an attempt, whoever asks and however often. At one without, whoever asks holds
//! the attempt's claim, and the provider is searched first for what an earlier try has made; who comes second waits for the session. A
//! claim runs out by itself, should its holder die. The holder is also the only one who makes the provider's customer.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use url::Url;
use uuid::Uuid;

use super::{CheckoutError, eligibility};
use crate::domain::ids::CustomerId;
use crate::domain::plans::PlanVersion;
use crate::domain::policy::UnknownCustomers;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::SubscriptionStatus;
use crate::providers::CheckoutSession;
use crate::service::context::{Context, Storefront};
use crate::service::return_urls::ReturnUrlError;
use crate::store::checkout_sessions::{self, Attempt, Ending};
use crate::store::clock::deciding_time;
use crate::store::pool::{self, StoreError};
use crate::store::{customers, subscription_endings, subscriptions};

/// How long a claim lasts from its renewal on; longer than the provider takes to be searched and to make a session.
const CLAIM: TimeDelta = TimeDelta::seconds(60);
/// How often somebody who has not the claim asks again, and after which pause: five seconds in all, which a session rarely takes.
const MOST_ASKED: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// The attempt that is under way once the customer was found to be free to buy.
pub(super) enum Begun {
    /// By this call.
    Now(Attempt),
    /// By another call; as of this instant.
    Earlier(Attempt, DateTime<Utc>),
    /// By another call, at another provider.
    Elsewhere(Attempt, DateTime<Utc>),
}

/// Where a new attempt sends the browser afterwards.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    pub(super) success_url: String,
    pub(super) cancel_url: String,
}

impl Returning {
    /// Addresses that a caller gave must be allowed whoever sells; that there are some matters where the provider sends the browser back.
    pub(super) fn choose(
        context: &Context,
        storefront: &Storefront,
        success_url: Option<&str>,
        cancel_url: Option<&str>,
    ) -> Result<Self, CheckoutError> {
        let urls = &context.return_urls;
        let needed = storefront.provider.capabilities().returns_browsers;
        let choose = |pointer, given, default: Option<&Url>| match urls.choose(given, default) {
            Err(ReturnUrlError::Missing) if !needed => Ok(String::new()),
            chosen => chosen.map_err(|fault| CheckoutError::ReturnUrl { pointer, fault }),
        };
        Ok(Self {
            success_url: choose("/success_url", success_url, urls.success_url.as_ref())?,
            cancel_url: choose("/cancel_url", cancel_url, urls.cancel_url.as_ref())?,
        })
    }
}

/// What a new attempt is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Purpose {
    /// The subscription whose place the new one takes, by the provider's id.
    pub(super) replaces: Option<String>,
    /// When the first period begins; `None`: with the payment.
    pub(super) starts_at: Option<DateTime<Utc>>,
}

/// The attempts of one customer at one provider.
pub(super) struct Attempts<'a> {
    pub(super) context: &'a Context,
    pub(super) customer: CustomerId,
    pub(super) provider: ProviderName,
    /// The provider makes one session under one key, also when two ask at the same time.
    pub(super) keyed: bool,
}

impl Attempts<'_> {
    /// Judges the customer's subscriptions and begins an attempt, unless one is under way. Those at other providers that are in
    /// `left` do not count.
    pub(super) async fn begin(
        &self,
        plan: &PlanVersion,
        purpose: Purpose,
        returning: Returning,
        left: Vec<Uuid>,
    ) -> Result<Begun, CheckoutError> {
        let keyed = self.keyed;
        let with_pages = self.context.providers_with_pages();
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
                let mut subscriptions = subscriptions::of_customer(conn, customer)?;
                match &purpose.replaces {
                    None => {
                        let sessions = checkout_sessions::not_gone_through(conn, customer)?;
                        subscriptions.retain(|s| !eligibility::is_mere_session(s, &sessions));
                        eligibility::may_buy(&subscriptions, &sold.tier, &with_pages, now)?;
                        let elsewhere =
                            checkout_sessions::under_way_elsewhere(conn, customer, provider)?;
                        let mut elsewhere = elsewhere.into_iter();
                        if let Some(other) = elsewhere.find(|a| !left.contains(&a.attempt_id)) {
                            return Ok(Begun::Elsewhere(other, now));
                        }
                    }
                    Some(id) => {
                        let ending = subscription_endings::of_customer(conn, customer, now)?;
                        eligibility::may_replace(
                            &subscriptions,
                            &ending,
                            provider,
                            id,
                            &with_pages,
                        )?;
                    }
                }
                if let Some(earlier) = checkout_sessions::under_way(conn, customer, provider)? {
                    return Ok(Begun::Earlier(earlier, now));
                }
                // Kept with the attempt: the call that is repeated under its key must ask for the same trial.
                let trial_days = trial_days
                    .filter(|_| purpose.replaces.is_none() && eligibility::may_try(&subscriptions))
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
                    replaces: purpose.replaces,
                    starts_at: purpose.starts_at,
                    claimed_until: (!keyed).then(|| now + CLAIM),
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

    /// Takes the right to ask for the session of an attempt that has none. Waits for whoever has it; `None`: the attempt has its
    /// session by then, or is over.
    pub(super) async fn claim(&self, attempt: &Attempt) -> Result<Option<Attempt>, CheckoutError> {
        if self.keyed {
            return Ok(Some(attempt.clone()));
        }
        for _ in 0..MOST_ASKED {
            let (customer, id) = (self.customer.clone(), attempt.attempt_id);
            let clock = Arc::clone(self.context.clock());
            let (is_mine, now_is) = pool::run(&self.context.pool, move |conn| {
                let now = deciding_time(conn, clock.as_ref())?;
                let customer = customer.as_str();
                let is_mine = checkout_sessions::claim(conn, customer, id, now + CLAIM, now)?;
                let now_is = checkout_sessions::find(conn, customer, id)?;
                Ok::<_, CheckoutError>((is_mine, now_is))
            })
            .await?;
            match now_is {
                Some(mine) if is_mine => return Ok(Some(mine)),
                Some(other) if other.state == "creating" => {}
                _ => return Ok(None),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(CheckoutError::InProgress)
    }

    /// Makes sure that the claim outlasts what is about to be asked for.
    pub(super) async fn renew(&self, attempt: &mut Attempt) -> Result<(), CheckoutError> {
        let Some(claimed) = attempt.claimed_until else {
            return Ok(());
        };
        let (customer, id) = (self.customer.clone(), attempt.attempt_id);
        let clock = Arc::clone(self.context.clock());
        let renewed = pool::run(&self.context.pool, move |conn| {
            let until = deciding_time(conn, clock.as_ref())? + CLAIM;
            let customer = customer.as_str();
            let is_mine = checkout_sessions::claim_until(conn, customer, id, claimed, Some(until))?;
            Ok::<_, CheckoutError>(is_mine.then_some(until))
        })
        .await?;
        attempt.claimed_until = Some(renewed.ok_or(CheckoutError::InProgress)?);
        Ok(())
    }

    /// Lets others ask for the session. Where this fails, the claim runs out by itself.
    pub(super) async fn give_back(&self, attempt: &Attempt) {
        let Some(claimed) = attempt.claimed_until else {
            return;
        };
        let (customer, id) = (self.customer.clone(), attempt.attempt_id);
        let given = pool::run(&self.context.pool, move |conn| {
            checkout_sessions::claim_until(conn, customer.as_str(), id, claimed, None)
                .map_err(StoreError::from)
        })
        .await;
        if let Err(error) = given {
            tracing::warn!(%error, customer = self.customer.as_str(), "the claim on a checkout was not given back");
        }
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
            let is_over = checkout_sessions::find(conn, customer, attempt)?
                .is_none_or(|attempt| !attempt.is_under_way());
            if is_over {
                return Ok(());
            }
            let known = subscriptions::of_customer(conn, customer)?
                .iter()
                .any(|subscription| {
                    subscription.provider == provider
                        && Some(&subscription.provider_subscription_id)
                            == session.provider_subscription_id.as_ref()
                        // One that is its own session is known from before anything was paid.
                        && (subscription.provider_subscription_id != session.id
                            || subscription.status != SubscriptionStatus::Incomplete)
                });
            if !known {
                return Err(CheckoutError::Completed);
            }
            checkout_sessions::end(conn, customer, attempt, Ending::Complete, now)?;
            Ok(())
        })
        .await
    }

    /// Whether the session is a subscription that was fetched before.
    pub(super) async fn is_stored(&self, session_id: &str) -> Result<bool, CheckoutError> {
        let (provider, id) = (self.provider, session_id.to_owned());
        pool::run(&self.context.pool, move |conn| {
            let owner = subscriptions::owner(conn, provider, &id)?;
            Ok(owner.is_some())
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
