//! What is asked of the provider for an attempt: its session, whatever became of that, and an end.

use chrono::{DateTime, TimeDelta, Utc};

use super::attempts::Attempts;
use super::{CheckoutError, failed, no_url, plan_of, provider_customer};
use crate::domain::ids::CustomerId;
use crate::providers::{CheckoutRequest, CheckoutSession, CheckoutStatus, Provider, ProviderError};
use crate::service::apply_event::{Look, see_now};
use crate::service::context::{Context, Storefront};
use crate::service::prices::PriceIds;
use crate::store::checkout_sessions::{Attempt, Ending};

/// How long an attempt for something else whose session is not known yet keeps others out, where no claim tells whether anybody is at it.
/// Whoever began it has given up by then: the provider's calls with their repetitions rarely take as long, and nobody waits longer in a
/// browser.
const TAKE_OVER_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Where one customer is sold to by one provider.
pub(super) struct Desk<'a> {
    pub(super) context: &'a Context,
    pub(super) storefront: &'a Storefront,
    pub(super) attempts: Attempts<'a>,
}

impl<'a> Desk<'a> {
    pub(super) fn of(
        context: &'a Context,
        storefront: &'a Storefront,
        customer: CustomerId,
    ) -> Self {
        let provider = &storefront.provider;
        Self {
            context,
            storefront,
            attempts: Attempts {
                context,
                customer,
                provider: provider.name(),
                keyed: provider.capabilities().idempotency_keys,
            },
        }
    }

    pub(super) fn provider(&self) -> &'a dyn Provider {
        self.storefront.provider.as_ref()
    }

    /// Sees to it that nobody pays an attempt that is not wanted any more. Things must be looked at anew afterwards.
    pub(super) async fn close(
        &self,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<(), CheckoutError> {
        let Some(session_id) = &attempt.session_id else {
            if self.attempts.keyed && now - attempt.created_at < TAKE_OVER_AFTER {
                return Err(CheckoutError::InProgress);
            }
            let Some(mut mine) = self.attempts.claim(attempt).await? else {
                return Ok(());
            };
            let learned = match self.earlier_prices(&mine).await {
                Ok(Some(prices)) => self.learn(&mut mine, &prices).await,
                // It was never sent.
                Ok(None) => self.attempts.give_up(&mine).await,
                Err(error) => Err(error),
            };
            if learned.is_err() {
                self.attempts.give_back(&mine).await;
            }
            return learned;
        };
        match self.provider().expire_checkout(session_id).await {
            Ok(session) if session.status == CheckoutStatus::Open => {
                Err(failed(ProviderError::Unreadable {
                    reason: "a session is open that was to be expired".to_owned(),
                }))
            }
            shown => self.settle(attempt, shown).await,
        }
    }

    /// Writes down what became of a session that cannot be paid any more.
    pub(super) async fn settle(
        &self,
        attempt: &Attempt,
        shown: Result<CheckoutSession, ProviderError>,
    ) -> Result<(), CheckoutError> {
        match shown {
            Ok(session) if session.status == CheckoutStatus::Complete => {
                if session.provider_subscription_id.as_ref() == Some(&session.id) {
                    self.look_at(&session.id).await;
                }
                self.attempts.settle_completed(attempt, session).await
            }
            Ok(session) => {
                if self.attempts.is_stored(&session.id).await? {
                    self.look_at(&session.id).await;
                }
                self.attempts.end(attempt, Ending::Expired).await
            }
            // Made under another account, or so long ago that it is forgotten: nobody can pay it.
            Err(ProviderError::NotFound) => self.attempts.end(attempt, Ending::Failed).await,
            Err(error) => Err(failed(error)),
        }
    }

    /// Of a session that is a subscription the provider may have no news that would come by itself, or they were lost.
    async fn look_at(&self, subscription_id: &str) {
        let seen = see_now(self.context, self.storefront, subscription_id, Look::First).await;
        if let Err(error) = seen {
            tracing::warn!(%error, subscription_id, "what became of a checkout is not known yet");
        }
    }

    /// A session may exist that nobody has seen. The call that would have made it is sent again, under the same key and with
    /// the same parameters: its answer is that session.
    pub(super) async fn learn(
        &self,
        attempt: &mut Attempt,
        prices: &PriceIds,
    ) -> Result<(), CheckoutError> {
        match self.open(attempt, prices).await {
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

    /// Asks the provider for the attempt's session and remembers it.
    pub(super) async fn open(
        &self,
        attempt: &mut Attempt,
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
        self.attempts.renew(attempt).await?;
        let made = self.provider().create_checkout(&request).await;
        let url = |session: &CheckoutSession| session.url.clone().ok_or_else(no_url);
        let (session, url) = match made.and_then(|session| Ok((url(&session)?, session))) {
            Ok((url, session)) => (session, url),
            Err(error) => return Err(self.refused(attempt, error).await),
        };
        if self.attempts.remember(attempt, &session, url).await? {
            return Ok(session);
        }
        // Somebody else ended the attempt while the provider was asked, or was quicker: nobody will be sent to this session.
        if let Err(error) = self.provider().expire_checkout(&session.id).await {
            tracing::warn!(session_id = session.id, %error, "a session of no use could not be expired");
        }
        Err(CheckoutError::InProgress)
    }

    /// What may succeed later is repeated under the attempt's key. Anything else ends the attempt, so that the next call has a
    /// key of its own: a key that went bad must not keep the customer from buying.
    pub(super) async fn refused(&self, attempt: &Attempt, error: ProviderError) -> CheckoutError {
        if !error.is_transient()
            && let Err(error) = self.attempts.give_up(attempt).await
        {
            return error;
        }
        failed(error)
    }
}
