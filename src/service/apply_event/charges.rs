//! Money of a payment went back, is claimed back, or stays after all: the payment is fetched, written down, and decides about the
//! subscription that it paid.

use diesel::prelude::*;

use super::refresh::{Errand, refresh};
use super::{NotApplied, ignore, settle};
use crate::domain::payment::{
    Circumstances, Consequence, DisputeState, EndingReason, EndingState, Payment, Refund,
    forfeiting,
};
use crate::domain::policy::OnFullRefund;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::meter::Rules;
use crate::providers::{PaidFor, ProviderCharge};
use crate::service::context::{Context, Storefront};
use crate::service::subscriptions::{Occasion, apply_report};
use crate::store::charges::{self, Charge};
use crate::store::clock::deciding_time;
use crate::store::inbox::{Claim, Claimed, Status};
use crate::store::pool::{self, StoreError};
use crate::store::subscription_endings::{self, Noted};
use crate::store::subscriptions::{self, Cause};
use crate::store::{customers, provider_customers};

/// Applies an event about a payment.
pub(super) async fn apply(
    context: &Context,
    storefront: &Storefront,
    event: &Claimed,
    charge_id: &str,
) -> Result<(), NotApplied> {
    let provider = storefront.provider.name();
    let charge = storefront.provider.charge(charge_id, &event.body).await?;
    let claim = event.claim.clone();
    let mut found = whose(context, provider, charge.clone()).await?;
    if let (None, PaidFor::Subscription(id)) = (&found.customer, &charge.paid_for) {
        // The news of the money was quicker than any of the subscription, which names its customer.
        refresh(context, storefront, id, Errand::unasked()).await?;
        found = whose(context, provider, charge.clone()).await?;
    }
    let Whose {
        customer,
        paid_for,
        is_stored,
    } = found;
    let customer = match (customer, &charge.paid_for) {
        (Some(customer), _) => customer,
        (None, PaidFor::Subscription(_) | PaidFor::Unknown) => return Err(NotApplied::Unowned),
        // Somebody else's business at the same provider.
        (None, PaidFor::Other) => return ignore(context, claim).await,
    };
    if let Some(id) = &paid_for
        && payment_of(&charge).gone().is_some()
        && !is_stored
    {
        // The news of the money was quicker than that of the subscription.
        refresh(context, storefront, id, Errand::unasked()).await?;
    }
    let news = News {
        provider,
        customer,
        paid_for,
        charge,
        claim,
        policy: context.billing_policy.on_full_refund,
    };
    let meter = context.meter.clone();
    let must_end = pool::run(&context.pool, move |conn| {
        let written = conn.transaction(|conn| news.write(conn, meter.rules()));
        // Even after an error: the answer to the commit may have been lost.
        meter.forget(&news.customer);
        written
    })
    .await?;
    if must_end {
        context.bells.endings.notify_one();
    }
    Ok(())
}

/// Whom a payment concerns.
struct Whose {
    /// The customer whose subscription was paid for, else who paid.
    customer: Option<String>,
    /// The subscription that was paid for.
    paid_for: Option<String>,
    /// Whether that subscription is stored.
    is_stored: bool,
}

async fn whose(
    context: &Context,
    provider: ProviderName,
    charge: ProviderCharge,
) -> Result<Whose, StoreError> {
    pool::run(&context.pool, move |conn| {
        if let PaidFor::Subscription(id) = &charge.paid_for
            && let Some(owner) = subscriptions::owner(conn, provider, id)?
        {
            let all = subscriptions::of_customer(conn, &owner)?;
            return Ok(Whose {
                customer: Some(owner),
                is_stored: all.iter().any(|s| is_of(s, provider, id)),
                paid_for: Some(id.clone()),
            });
        }
        let payer = match &charge.provider_customer_id {
            Some(name) => provider_customers::customer_of(conn, provider, name)?,
            None => None,
        };
        let paid_for = match (&charge.paid_for, &payer) {
            (PaidFor::Subscription(id), _) => Some(id.clone()),
            (PaidFor::Unknown, Some(payer)) => {
                let all = subscriptions::of_customer(conn, payer)?;
                only_one(all.iter().filter(|s| s.provider == provider))
            }
            (PaidFor::Unknown | PaidFor::Other, _) => None,
        };
        Ok(Whose {
            customer: payer,
            is_stored: charge.paid_for == PaidFor::Unknown,
            paid_for,
        })
    })
    .await
}

/// The subscription that a payment must have been for, where the payer has or had no other that could be meant.
fn only_one<'a>(of_payer: impl Iterator<Item = &'a Subscription>) -> Option<String> {
    let (open, ended): (Vec<_>, Vec<_>) = of_payer.partition(|s| s.status.is_open());
    match (open.as_slice(), ended.as_slice()) {
        ([one], []) | ([], [one]) => Some(one.provider_subscription_id.clone()),
        _ => None,
    }
}

fn being_ended() -> NotApplied {
    NotApplied::Later("the subscription that was paid for is being ended".to_owned())
}

fn is_of(subscription: &Subscription, provider: ProviderName, id: &str) -> bool {
    subscription.provider == provider && subscription.provider_subscription_id == id
}

fn payment_of(charge: &ProviderCharge) -> Payment {
    Payment {
        amount: charge.amount,
        amount_refunded: charge.amount_refunded,
        dispute: charge.dispute,
    }
}

/// What was fetched because of an event.
struct News {
    provider: ProviderName,
    customer: String,
    paid_for: Option<String>,
    charge: ProviderCharge,
    claim: Claim,
    policy: OnFullRefund,
}

impl News {
    /// Writes it down with everything that follows, in the caller's transaction. Returns whether a subscription is to be ended.
    fn write(&self, conn: &mut PgConnection, rules: &Rules) -> Result<bool, NotApplied> {
        let customer = self.customer.as_str();
        let paid_for = self.paid_for.as_deref();
        let fence = match paid_for {
            Some(id) => subscriptions::hold(conn, self.provider, id)?,
            None => None,
        };
        let now = deciding_time(conn, rules.clock.as_ref())?;
        let row = customers::lock_or_create(conn, customer, now)?;
        let now = deciding_time(conn, rules.clock.as_ref())?;
        // Once the claim has run out, another event about this payment may have been applied with a later fetch.
        if self.claim.claimed_until.is_none_or(|until| until <= now) {
            return Err(NotApplied::Overtaken);
        }
        let payment = payment_of(&self.charge);
        let before = charges::find(conn, customer, self.provider, &self.charge.id)?;
        let charge = Charge {
            provider: self.provider,
            id: &self.charge.id,
            provider_subscription_id: paid_for,
            currency: &self.charge.currency,
            payment,
        };
        charges::save(conn, customer, &charge, now)?;

        let subscription = match paid_for {
            Some(id) => subscriptions::of_customer(conn, customer)?
                .into_iter()
                .find(|s| is_of(s, self.provider, id)),
            None => None,
        };
        let noted = match &subscription {
            Some(subscription) => subscription_endings::of_customer(conn, customer, now)?
                .into_iter()
                .find(|noted| noted.subscription_id == subscription.id),
            None => None,
        };
        let another_is_gone = match paid_for {
            Some(id) => {
                let (of, this) = (self.provider, self.charge.id.as_str());
                charges::others_of_subscription(conn, customer, of, id, this)?
                    .iter()
                    .any(|other| other.gone().is_some())
            }
            None => false,
        };
        let circumstances = Circumstances {
            before,
            now: payment,
            another_is_gone,
            has_ended: subscription.as_ref().map(|s| s.status.is_terminal()),
            ending: noted.map(|noted| (noted.reason, noted.state)),
        };
        let consequence = circumstances.consequence(self.policy);
        let mut must_end = false;
        match (consequence, &subscription) {
            (Consequence::End(reason), Some(subscription)) => {
                must_end = subscription_endings::note(
                    conn,
                    customer,
                    subscription,
                    reason,
                    Refund::None,
                    now,
                )?;
            }
            (Consequence::Forfeit, Some(subscription)) => {
                let plans = rules.book.refresh(conn)?;
                let occasion = Occasion {
                    fence: fence.unwrap_or_default(),
                    cause: Cause::Webhook(&self.claim.event_id),
                    now,
                };
                let report = forfeiting(subscription);
                let remembered = row.anchoring();
                apply_report(
                    conn,
                    &plans,
                    customer,
                    remembered,
                    subscription,
                    report,
                    occasion,
                )?;
            }
            (Consequence::Withdraw, Some(subscription))
                if !subscription_endings::withdraw(conn, customer, subscription.id, now)? =>
            {
                return Err(being_ended());
            }
            (Consequence::Wait, _) => {
                return Err(being_ended());
            }
            _ => {}
        }
        settle(conn, &self.claim, Status::Processed, now)?;
        self.tell(before, consequence, noted.as_ref());
        Ok(must_end)
    }

    /// Tells an operator what only people can do something about. Last in the transaction: of what is not written nobody hears.
    fn tell(&self, before: Option<Payment>, consequence: Consequence, noted: Option<&Noted>) {
        let customer = &self.customer;
        let charge = &self.charge.id;
        let subscription = self.paid_for.as_deref();
        let payment = payment_of(&self.charge);
        if payment.dispute != before.and_then(|before| before.dispute) {
            match payment.dispute {
                Some(DisputeState::UnderReview) => {
                    tracing::error!(customer, charge, subscription, "payment disputed");
                }
                Some(DisputeState::Lost) => {
                    tracing::error!(customer, charge, subscription, "dispute lost");
                }
                Some(DisputeState::Won) | None => {
                    tracing::info!(customer, charge, subscription, "dispute settled");
                }
            }
        }
        let was_gone = before.and_then(|before| before.gone());
        if payment.gone() == Some(EndingReason::FullRefund) && was_gone.is_none() {
            tracing::warn!(
                customer,
                charge,
                subscription,
                ?consequence,
                "payment refunded"
            );
        }
        match consequence {
            Consequence::TooLate => tracing::error!(
                customer,
                charge,
                subscription,
                reason = noted.map(|noted| noted.reason.as_str()),
                done = noted.is_some_and(|noted| noted.state == EndingState::Done),
                "refund reversed after the subscription's end: an operator must make it good"
            ),
            // What was tried without an answer may have had its effect.
            Consequence::Withdraw if noted.is_some_and(|noted| noted.attempts > 0) => {
                tracing::error!(
                    customer,
                    charge,
                    subscription,
                    "refund reversed while the subscription's end was tried: an operator must look at it"
                );
            }
            Consequence::Withdraw => {
                tracing::warn!(
                    customer,
                    charge,
                    subscription,
                    "refund reversed: the subscription goes on"
                );
            }
            _ => {}
        }
    }
}
