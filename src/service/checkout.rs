//! A plan is sold: one attempt under way for each customer and provider, and one session behind it.
//!
//! No network call is inside a transaction. An attempt is stored before the provider is asked for its session, and its id is
//! the provider's idempotency key: a lost answer is asked for again, never bought twice.
//!
//! Some providers' session is the subscription itself, not paid yet. Then a subscription that is stored as incomplete may be no more than
//! the page of an attempt, and what is fetched of it tells whether the attempt is over.

mod attempts;
mod desk;
mod eligibility;
mod instead;
mod order;
mod provider_customer;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use eligibility::is_mere_session;
pub(super) use instead::{Instead, offer_instead, withdraw_offer};
pub(super) use order::told;
pub use order::{CheckoutError, CheckoutOrder, OpenCheckout};

use self::attempts::{Begun, Purpose, Returning};
use self::desk::Desk;
use super::context::Context;
use super::prices::{NotVerified, PriceIds};
use crate::domain::plans::PlanVersion;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::PlanRef;
use crate::providers::{CheckoutSession, CheckoutStatus, ProviderError};
use crate::store::checkout_sessions::Attempt;

/// How often the attempts under way are looked at anew. A lone caller needs three for each provider: learn a lost session, close it, begin.
const MOST_ROUNDS: u32 = 8;

/// Opens a checkout, or returns the one that is open for the same plan. The call is safe to repeat after every error.
pub async fn create_checkout(
    context: &Context,
    order: CheckoutOrder,
) -> Result<OpenCheckout, CheckoutError> {
    Sale::prepare(context, order)?.carry_out().await
}

/// An order that can be carried out, as far as that is known without the database.
struct Sale<'a> {
    desk: Desk<'a>,
    plan: Arc<PlanVersion>,
    prices: PriceIds,
    purpose: Purpose,
    returning: Returning,
}

impl<'a> Sale<'a> {
    fn prepare(context: &'a Context, order: CheckoutOrder) -> Result<Self, CheckoutError> {
        let plans = context.book().plans();
        let Some(plan) = plans.of_tier(order.plan_tier.as_str()) else {
            return Err(CheckoutError::UnknownPlan(order.plan_tier));
        };
        if !plan.plan.is_paid() || plan.plan.tier == plans.default_tier() {
            return Err(CheckoutError::NotForSale);
        }
        let storefront = context
            .storefront(order.provider)
            .ok_or(CheckoutError::ProviderNotConfigured)?;
        let prices = storefront
            .price_ids(plan)
            .ok_or(CheckoutError::ProviderNotConfigured)?;
        let returning = Returning::choose(
            context,
            storefront,
            order.success_url.as_deref(),
            order.cancel_url.as_deref(),
        )?;
        Ok(Self {
            desk: Desk::of(context, storefront, order.customer),
            plan: Arc::clone(plan),
            prices,
            purpose: Purpose::default(),
            returning,
        })
    }

    async fn carry_out(self) -> Result<OpenCheckout, CheckoutError> {
        let mut left = Vec::new();
        for _ in 0..MOST_ROUNDS {
            match self.begin(left.clone()).await? {
                Begun::Elsewhere(attempt, now) => {
                    if !self.close_elsewhere(&attempt, now).await? {
                        left.push(attempt.attempt_id);
                    }
                }
                Begun::Now(mut attempt) => {
                    let session = self.first_session(&mut attempt).await?;
                    return self.handed_out(&attempt, session);
                }
                Begun::Earlier(attempt, now) => {
                    if let Some(session) = self.take_up(&attempt, now).await? {
                        return self.handed_out(&attempt, session);
                    }
                }
            }
        }
        Err(CheckoutError::InProgress)
    }

    /// Two tabs at two providers must not lead to two payments. Returns whether the other one is closed: a provider that is away keeps nobody
    /// from buying from another one, and should both be paid, one is given back.
    async fn close_elsewhere(
        &self,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<bool, CheckoutError> {
        let context = self.desk.context;
        let provider = attempt.provider.parse::<ProviderName>().ok();
        let Some(storefront) = provider.and_then(|name| context.storefront(name)) else {
            return Ok(false);
        };
        let desk = Desk::of(context, storefront, self.desk.attempts.customer.clone());
        match desk.close(attempt, now).await {
            Ok(()) => Ok(true),
            Err(CheckoutError::ProviderFailed(error)) => {
                tracing::warn!(provider = attempt.provider, %error, "an open checkout at another provider was not closed");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, left: Vec<Uuid>) -> Result<Begun, CheckoutError> {
        let (purpose, returning) = (self.purpose.clone(), self.returning.clone());
        let attempts = &self.desk.attempts;
        attempts.begin(&self.plan, purpose, returning, left).await
    }

    async fn first_session(&self, attempt: &mut Attempt) -> Result<CheckoutSession, CheckoutError> {
        let made = async {
            self.check_prices(attempt).await?;
            self.desk.open(attempt, &self.prices).await
        }
        .await;
        if made.is_err() {
            self.desk.attempts.give_back(attempt).await;
        }
        made
    }

    /// Whether the attempt is for what this order asks for.
    fn wants(&self, attempt: &Attempt) -> bool {
        plan_of(attempt) == self.plan.reference()
            && attempt.replaces == self.purpose.replaces
            && attempt.starts_at == self.purpose.starts_at
    }

    /// Deals with an attempt that another call began. Returns its session where that can be paid for what this order asks for,
    /// and `None` where things have moved on and must be looked at anew.
    async fn take_up(
        &self,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Option<CheckoutSession>, CheckoutError> {
        if !self.wants(attempt) {
            self.desk.close(attempt, now).await?;
            return Ok(None);
        }
        let Some(session_id) = &attempt.session_id else {
            if let Some(mut mine) = self.desk.attempts.claim(attempt).await? {
                let learned = async {
                    self.check_prices(&mine).await?;
                    self.desk.learn(&mut mine, &self.prices).await
                }
                .await;
                if learned.is_err() {
                    self.desk.attempts.give_back(&mine).await;
                }
                learned?;
            }
            return Ok(None);
        };
        let provider = self.desk.provider();
        match provider.checkout_session(session_id).await {
            Ok(session) if session.status == CheckoutStatus::Open => Ok(Some(session)),
            shown => self.desk.settle(attempt, shown).await.map(|()| None),
        }
    }

    async fn check_prices(&self, attempt: &Attempt) -> Result<(), CheckoutError> {
        let verified = &self.desk.context.verified_prices;
        let checked = verified.verify(self.desk.provider(), &self.prices, &self.plan);
        match checked.await {
            Ok(()) => Ok(()),
            Err(NotVerified::Mismatch { .. }) => {
                self.desk.attempts.give_up(attempt).await?;
                Err(CheckoutError::PriceMismatch)
            }
            Err(NotVerified::Failed(error)) => Err(self.desk.refused(attempt, error).await),
        }
    }

    fn handed_out(
        &self,
        attempt: &Attempt,
        session: CheckoutSession,
    ) -> Result<OpenCheckout, CheckoutError> {
        let known = attempt.checkout_url.clone();
        let url = session.url.or(known).ok_or_else(|| failed(no_url()))?;
        let provider = self.desk.provider();
        Ok(OpenCheckout {
            checkout_url: url,
            session_id: session.id,
            provider: provider.name(),
            expires_at: session.expires_at,
            publishable_key: provider.publishable_key().map(str::to_owned),
        })
    }
}

fn plan_of(attempt: &Attempt) -> PlanRef {
    PlanRef {
        tier: attempt.plan_tier.clone(),
        version: attempt.plan_version,
    }
}

fn no_url() -> ProviderError {
    ProviderError::Unreadable {
        reason: "the checkout session has no URL".to_owned(),
    }
}

fn failed(error: ProviderError) -> CheckoutError {
    tracing::warn!(%error, "no checkout: the payment provider failed");
    CheckoutError::ProviderFailed(error)
}
