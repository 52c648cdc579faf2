//! Giving money back.

use serde_json::json;

use super::Razorpay;
use super::objects::{Identified, Invoice, Payment, Refund};
use super::wire::{is_no, mark};
use crate::providers::wire::path_id;
use crate::providers::{ProviderError, RefundShare};

/// Razorpay gives back no less, in minor units.
const LEAST: i64 = 100;

impl Razorpay {
    pub(super) async fn give_latest_payment_back(
        &self,
        subscription_id: &str,
        share: RefundShare,
        key: &str,
    ) -> Result<bool, ProviderError> {
        let Some(payment_id) = self.latest_payment(path_id(subscription_id)?).await? else {
            if !self.look_at_subscription(subscription_id).await?.was_paid() {
                return Ok(false);
            }
            return Err(ProviderError::Unavailable {
                reason: "something was paid for the subscription, and no invoice of it shows yet"
                    .to_owned(),
                retry_after: None,
            });
        };
        let payment = self.look_at_one_payment(&payment_id).await?;
        let mark = mark(key);
        // The sum depends on what is left, so a second try would ask for another one: Razorpay would refuse that under the same key.
        if payment.amount_refunded() > 0 && self.went_back_under(&payment.id, &mark).await? {
            return Ok(true);
        }
        match sum(&payment, share)? {
            Some(amount) => self.give_back(&payment.id, amount, &mark).await,
            None => Ok(false),
        }
    }

    async fn latest_payment(&self, subscription_id: &str) -> Result<Option<String>, ProviderError> {
        let query = [("subscription_id", subscription_id)];
        let invoices: Vec<Invoice> = self.list("/invoices", &query).await?;
        // The list begins with the newest: of several that cannot be told apart, that one.
        let paid = invoices.iter().rev().filter_map(Invoice::settled_by);
        let latest = paid.max_by_key(|(paid_at, _)| *paid_at);
        Ok(latest.map(|(_, payment_id)| payment_id.to_owned()))
    }

    async fn give_back(
        &self,
        payment_id: &str,
        amount: i64,
        mark: &str,
    ) -> Result<bool, ProviderError> {
        let path = format!("/payments/{}/refund", path_id(payment_id)?);
        let body = json!({"amount": amount, "notes": {"refund": mark}});
        match self.post_refund::<Identified>(&path, &body, mark).await {
            Err(refused) if is_no(&refused) => {
                if self.went_back_under(payment_id, mark).await? {
                    Ok(true)
                } else {
                    Err(refused)
                }
            }
            outcome => outcome.map(|_| true),
        }
    }

    async fn went_back_under(&self, payment_id: &str, mark: &str) -> Result<bool, ProviderError> {
        let path = format!("/payments/{}/refunds", path_id(payment_id)?);
        let refunds: Vec<Refund> = self.list(&path, &[]).await?;
        Ok(refunds.iter().any(|refund| refund.is_good_under(mark)))
    }
}

/// What is to go back, where that is enough for Razorpay.
fn sum(payment: &Payment, share: RefundShare) -> Result<Option<i64>, ProviderError> {
    let whole = payment.amount()?;
    let there = whole.saturating_sub(payment.amount_refunded());
    let due = match share {
        RefundShare::Whole => there,
        RefundShare::Unused { left, of } => unused(whole, left, of).min(there),
    };
    Ok((due >= LEAST).then_some(due))
}

/// `whole × left / of`, rounded down, and never more than the whole.
pub(super) fn unused(whole: i64, left: i64, of: i64) -> i64 {
    let left = left.clamp(0, of.max(0));
    let part = i128::from(whole) * i128::from(left);
    part.checked_div(i128::from(of))
        .and_then(|part| i64::try_from(part).ok())
        .unwrap_or(0)
}
