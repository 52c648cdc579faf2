//! A plan is sold: one attempt under way for each customer and provider, and one session behind it.
//!
//! No network call is inside a transaction. An attempt is stored before the provider is asked for its session, and its id is
//! the provider's idempotency key: a lost answer is asked for again, never bought twice.

mod attempts;
mod eligibility;
mod order;
mod provider_customer;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub use order::{CheckoutError, CheckoutOrder, OpenCheckout};

use self::attempts::{Attempts, Begun, Returning};
use super::context::{Context, Storefront};
use super::prices::{NotVerified, PriceIds};
use crate::domain::plans::PlanVersion;
use crate::domain::subscription::PlanRef;
use crate::providers::{CheckoutRequest, CheckoutSession, CheckoutStatus, Provider, ProviderError};
use crate::store::checkout_sessions::{Attempt, Ending};

/// How long an attempt for another plan whose session is not known yet keeps others out. Whoever began it has given up by then:
/// the provider's calls with their repetitions rarely take as long, and nobody waits longer in a browser.
const TAKE_OVER_AFTER: TimeDelta = TimeDelta::seconds(60);
/// How often the attempt under way is looked at anew. A lone caller needs three: learn a lost session, close it, begin.
const MOST_ROUNDS: u32 = 5;

/// Opens a checkout, or returns the one that is open for the same plan. The call is safe to repeat after every error.
pub async fn create_checkout(
    context: &Context,
    order: CheckoutOrder,
) -> Result<OpenCheckout, CheckoutError> {
    let sale = Sale::prepare(context, order)?;
    for _ in 0..MOST_ROUNDS {
        match sale.begin().await? {
            Begun::Now(attempt) => {
                sale.check_prices(&attempt).await?;
                let session = sale.open(&attempt, &sale.prices).await?;
                return sale.handed_out(&attempt, session);
            }
            Begun::Earlier(attempt, now) => {
                if let Some(session) = sale.clear(&attempt, now).await? {
                    return sale.handed_out(&attempt, session);
                }
            }
        }
    }
    Err(CheckoutError::InProgress)
}

/// An order that can be carried out, as far as that is known without the database.
struct Sale<'a> {
    context: &'a Context,
    storefront: &'a Storefront,
    attempts: Attempts<'a>,
    plan: Arc<PlanVersion>,
    prices: PriceIds,
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
        let urls = &context.return_urls;
        let refused =
            |pointer: &'static str| move |fault| CheckoutError::ReturnUrl { pointer, fault };
        let success_url = urls
            .choose(order.success_url.as_deref(), urls.success_url.as_ref())
            .map_err(refused("/success_url"))?;
        let cancel_url = urls
            .choose(order.cancel_url.as_deref(), urls.cancel_url.as_ref())
            .map_err(refused("/cancel_url"))?;
        Ok(Self {
            context,
            storefront,
            attempts: Attempts {
                context,
                customer: order.customer,
                provider: order.provider,
            },
            plan: Arc::clone(plan),
            prices,
            returning: Returning {
                success_url,
                cancel_url,
            },
        })
    }

    async fn begin(&self) -> Result<Begun, CheckoutError> {
        self.attempts
            .begin(&self.plan, self.returning.clone())
            .await
    }

    fn provider(&self) -> &'a dyn Provider {
        self.storefront.provider.as_ref()
    }

    /// Deals with an attempt that another call began. Returns its session where that can be paid for the plan of this order,
    /// and `None` where things have moved on and must be looked at anew.
    async fn clear(
        &self,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Option<CheckoutSession>, CheckoutError> {
        let same_plan = plan_of(attempt) == self.plan.reference();
        let Some(session_id) = &attempt.session_id else {
            if same_plan {
                self.check_prices(attempt).await?;
                self.learn(attempt, Some(self.prices.clone())).await?;
            } else if now - attempt.created_at < TAKE_OVER_AFTER {
                return Err(CheckoutError::InProgress);
            } else {
                self.learn(attempt, self.earlier_prices(attempt).await?)
                    .await?;
            }
            return Ok(None);
        };
        let session = if same_plan {
            self.provider().checkout_session(session_id).await
        } else {
            self.provider().expire_checkout(session_id).await
        };
        match session {
            Ok(session) => match session.status {
                CheckoutStatus::Open if same_plan => return Ok(Some(session)),
                CheckoutStatus::Open => {
                    return Err(failed(ProviderError::Unreadable {
                        reason: "a session is open that was to be expired".to_owned(),
                    }));
                }
                CheckoutStatus::Complete => {
                    self.attempts.settle_completed(attempt, session).await?;
                }
                CheckoutStatus::Expired => self.attempts.end(attempt, Ending::Expired).await?,
            },
            // Made under another account, or so long ago that it is forgotten: nobody can pay it.
            Err(ProviderError::NotFound) => self.attempts.end(attempt, Ending::Failed).await?,
            Err(error) => return Err(failed(error)),
        }
        Ok(None)
    }

    /// A session may exist that nobody has seen. The call that would have made it is sent again, under the same key and with
    /// the same parameters: its answer is that session. `None` for the prices: it was never sent.
    async fn learn(
        &self,
        attempt: &Attempt,
        prices: Option<PriceIds>,
    ) -> Result<(), CheckoutError> {
        let Some(prices) = prices else {
            return self.attempts.give_up(attempt).await;
        };
        match self.open(attempt, &prices).await {
            // Refused for good, the attempt has ended; what this order asks for can still be tried.
            Err(CheckoutError::ProviderFailed(error)) if !error.is_transient() => Ok(()),
            Err(CheckoutError::InProgress) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The prices that an earlier attempt's call names. `None` where that call cannot have been sent, or cannot be sent again.
    async fn earlier_prices(&self, attempt: &Attempt) -> Result<Option<PriceIds>, CheckoutError> {
        let known =
            provider_customer::known(self.context, self.provider(), &self.attempts.customer)
                .await?;
        let plans = self.context.book().plans();
        let plan = known.and_then(|_| plans.sold(&plan_of(attempt)));
        Ok(plan.and_then(|plan| self.storefront.price_ids(plan)))
    }

    async fn check_prices(&self, attempt: &Attempt) -> Result<(), CheckoutError> {
        let verified = &self.context.verified_prices;
        let checked = verified.verify(self.provider(), &self.prices, &self.plan);
        match checked.await {
            Ok(()) => Ok(()),
            Err(NotVerified::Mismatch { .. }) => {
                self.attempts.give_up(attempt).await?;
                Err(CheckoutError::PriceMismatch)
            }
            Err(NotVerified::Failed(error)) => Err(self.refused(attempt, error).await),
        }
    }

    /// Asks the provider for the attempt's session and remembers it.
    async fn open(
        &self,
        attempt: &Attempt,
        prices: &PriceIds,
    ) -> Result<CheckoutSession, CheckoutError> {
        let payer =
            provider_customer::ensure(self.context, self.provider(), &self.attempts.customer).await;
        let payer = match payer {
            Err(CheckoutError::ProviderFailed(error)) => {
                return Err(self.refused(attempt, error).await);
            }
            other => other?,
        };
        let plans = self.context.book().plans();
        let request = CheckoutRequest {
            provider_customer_id: payer,
            base_price_id: prices.base.clone(),
            overage_price_id: prices.overage.clone(),
            customer_id: attempt.customer_id.clone(),
            plan_tier: attempt.plan_tier.clone(),
            plan_version: attempt.plan_version,
            success_url: attempt.success_url.clone(),
            cancel_url: attempt.cancel_url.clone(),
            trial_days: attempt.trial_days.and_then(|days| u32::try_from(days).ok()),
            promotion_codes: plans
                .sold(&plan_of(attempt))
                .is_some_and(|version| version.plan.promotion_codes),
            starts_at: attempt.starts_at,
            begun_at: attempt.created_at,
            idempotency_key: attempt.attempt_id.to_string(),
        };
        let made = self.provider().create_checkout(&request).await;
        let url = |session: &CheckoutSession| session.url.clone().ok_or_else(no_url);
        let (session, url) = match made.and_then(|session| Ok((url(&session)?, session))) {
            Ok((url, session)) => (session, url),
            Err(error) => return Err(self.refused(attempt, error).await),
        };
        if self.attempts.remember(attempt, &session, url).await? {
            return Ok(session);
        }
        // Somebody else ended the attempt while the provider was asked: nobody will be sent to this session.
        if let Err(error) = self.provider().expire_checkout(&session.id).await {
            tracing::warn!(session_id = session.id, %error, "a session of no use could not be expired");
        }
        Err(CheckoutError::InProgress)
    }

    /// What may succeed later is repeated under the attempt's key. Anything else ends the attempt, so that the next call has a
    /// key of its own: a key that went bad must not keep the customer from buying.
    async fn refused(&self, attempt: &Attempt, error: ProviderError) -> CheckoutError {
        if !error.is_transient()
            && let Err(error) = self.attempts.give_up(attempt).await
        {
            return error;
        }
        failed(error)
    }

    fn handed_out(
        &self,
        attempt: &Attempt,
        session: CheckoutSession,
    ) -> Result<OpenCheckout, CheckoutError> {
        let known = attempt.checkout_url.clone();
        let url = session.url.or(known).ok_or_else(|| failed(no_url()))?;
        Ok(OpenCheckout {
            checkout_url: url,
            session_id: session.id,
            provider: self.attempts.provider,
            expires_at: session.expires_at,
            publishable_key: self.provider().publishable_key().map(str::to_owned),
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
