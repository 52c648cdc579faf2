//! Razorpay's objects, read tolerantly: only the fields in use, statuses as words that are understood late.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::lenient::{Notes, instant, needed, text, truth, whole};
use crate::domain::provider_event::{ProviderStatus, ProviderSubscription};
use crate::domain::subscription::SubscriptionStatus;
use crate::providers::{DisputeState, PaidFor, ProviderCharge, ProviderError, ProviderPrice};

/// `subscription`.
#[derive(Debug, Deserialize)]
pub(super) struct Subscription {
    /// Its id.
    pub(super) id: String,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    plan_id: Option<String>,
    /// Only once somebody has authorized it.
    #[serde(default, deserialize_with = "text")]
    customer_id: Option<String>,
    /// Our marks.
    #[serde(default)]
    pub(super) notes: Notes,
    /// When it was made.
    #[serde(default, deserialize_with = "instant")]
    pub(super) created_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "instant")]
    start_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "instant")]
    current_start: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "instant")]
    current_end: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "instant")]
    ended_at: Option<DateTime<Utc>>,
    /// When it can no longer be authorized.
    #[serde(default, deserialize_with = "instant")]
    pub(super) expire_by: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "whole")]
    paid_count: Option<i64>,
    /// Where it is authorized.
    #[serde(default, deserialize_with = "text")]
    pub(super) short_url: Option<String>,
}

impl Subscription {
    /// Razorpay's word; empty where there is none.
    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or_default()
    }

    /// Whether it can still be authorized.
    pub(super) fn is_created(&self) -> bool {
        self.status() == "created"
    }

    /// Whether nothing more happens to it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status(), "cancelled" | "completed" | "expired")
    }

    /// Whether any period of it was paid.
    pub(super) fn was_paid(&self) -> bool {
        self.paid_count.is_some_and(|count| count > 0)
    }

    /// Authorized for a first payment that is taken later. Where it is taken at once, the start that is shown is the authorization's own
    /// instant: it lies after the making, too, but before that until which it could be given. Once anything was paid, it tells no more.
    fn first_payment_to_come(&self) -> Option<DateTime<Utc>> {
        let is_later = |start: DateTime<Utc>| match self.expire_by {
            Some(expire_by) => start >= expire_by,
            None => Some(start) > self.created_at,
        };
        self.start_at
            .filter(|start| self.status() == "authenticated" && is_later(*start))
    }

    fn normalized_status(&self) -> ProviderStatus {
        use SubscriptionStatus as S;
        ProviderStatus::Known(match self.status() {
            "authenticated" if self.first_payment_to_come().is_some() => S::Trialing,
            "created" | "authenticated" => S::Incomplete,
            "active" => S::Active,
            "pending" => S::PastDue,
            "halted" => S::Unpaid,
            "cancelled" => S::Canceled,
            "completed" => S::Expired,
            "expired" => S::IncompleteExpired,
            "paused" => S::Paused,
            word => return ProviderStatus::Unknown(word.to_owned()),
        })
    }

    /// A cycle that is not paid does not begin: what was paid is over since the last one's end. So it is for what was cancelled after
    /// that, whether anybody heard of the payment that failed or not.
    fn unpaid_since(&self) -> Option<DateTime<Utc>> {
        let paid_until = self.current_end.filter(|_| self.was_paid())?;
        match self.status() {
            "pending" | "halted" => Some(paid_until),
            "cancelled" => self
                .ended_at
                .filter(|end| paid_until < *end)
                .map(|_| paid_until),
            _ => None,
        }
    }

    /// In the core's words. That it is to end with its period, Razorpay does not show.
    pub(super) fn normalize(self) -> ProviderSubscription {
        let trial_end = self.first_payment_to_come();
        // Until its first payment it has no period; what is promised until then is one.
        let (start, end) = match trial_end {
            Some(end) if self.current_start.is_none() => (self.created_at, Some(end)),
            _ => (self.current_start, self.current_end),
        };
        let unpaid_since = self.unpaid_since();
        ProviderSubscription {
            status: self.normalized_status(),
            customer_id: self.notes.get("customer_id").map(str::to_owned),
            sold_as: self.notes.sold_as(),
            current_period_start: start,
            current_period_end: end,
            anchor: self.start_at.or(self.current_start),
            cancel_at_period_end: false,
            cancel_at: None,
            ended_at: self.ended_at,
            trial_end,
            // A start that was never reached is none.
            started_at: self
                .start_at
                .filter(|_| self.current_start.is_some())
                .or(self.created_at),
            was_paid: self.was_paid(),
            unpaid_since,
            planned: None,
            change_unpaid: false,
            provider_customer_id: self.customer_id,
            price_ids: self.plan_id.into_iter().collect(),
            id: self.id,
        }
    }
}

/// `plan`.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    id: String,
    #[serde(default, deserialize_with = "text")]
    period: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    interval: Option<i64>,
    item: Item,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default, deserialize_with = "whole")]
    amount: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    currency: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    active: Option<bool>,
}

/// For how many years a subscription is sold: Razorpay has no endless ones, and lets none run for more than a few decades.
const YEARS: i64 = 10;

impl Plan {
    /// The interval's name, how many of them a period has, and how many make the years that are sold.
    fn interval(&self) -> Result<(&'static str, i64, i64), ProviderError> {
        let interval = self.interval.unwrap_or(1).max(1);
        let (word, count, in_a_year) = match self.period.as_deref() {
            Some("daily") => ("day", interval, 365),
            Some("weekly") => ("week", interval, 52),
            Some("monthly") => ("month", interval, 12),
            Some("quarterly") => ("month", interval.saturating_mul(3), 12),
            Some("yearly") => ("year", interval, 1),
            other => {
                return Err(ProviderError::Unreadable {
                    reason: format!("a plan of the period {other:?}"),
                });
            }
        };
        Ok((word, count, in_a_year))
    }

    /// How many payments a subscription is made for.
    pub(super) fn total_count(&self) -> Result<i64, ProviderError> {
        let (_, count, in_a_year) = self.interval()?;
        Ok((YEARS * in_a_year / count).max(1))
    }

    /// In the core's words.
    pub(super) fn normalize(self) -> Result<ProviderPrice, ProviderError> {
        let (word, count, _) = self.interval()?;
        Ok(ProviderPrice {
            unit_amount: self.item.amount,
            unit_amount_decimal: self.item.amount.map(|amount| amount.to_string()),
            currency: needed("item.currency", self.item.currency)?.to_ascii_lowercase(),
            interval: Some(word.to_owned()),
            interval_count: u32::try_from(count).ok(),
            metered: false,
            active: self.item.active.unwrap_or(true),
            id: self.id,
        })
    }
}

/// `invoice`: what a payment paid.
#[derive(Debug, Deserialize)]
pub(super) struct Invoice {
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    payment_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    subscription_id: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    paid_at: Option<DateTime<Utc>>,
}

impl Invoice {
    /// The payment that settled it, and when.
    pub(super) fn settled_by(&self) -> Option<(Option<DateTime<Utc>>, &str)> {
        let payment = self.payment_id.as_deref()?;
        (self.status.as_deref() == Some("paid")).then_some((self.paid_at, payment))
    }

    /// In the core's words.
    pub(super) fn paid_for(self) -> PaidFor {
        self.subscription_id
            .map_or(PaidFor::Other, PaidFor::Subscription)
    }
}

/// `payment`.
#[derive(Debug, Deserialize)]
pub(super) struct Payment {
    /// Its id.
    pub(super) id: String,
    #[serde(default, deserialize_with = "whole")]
    amount: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    amount_refunded: Option<i64>,
    #[serde(default, deserialize_with = "text")]
    currency: Option<String>,
    #[serde(default, deserialize_with = "text")]
    customer_id: Option<String>,
    /// What it paid, where that has an invoice.
    #[serde(default, deserialize_with = "text")]
    pub(super) invoice_id: Option<String>,
}

impl Payment {
    /// What was paid, in minor units.
    pub(super) fn amount(&self) -> Result<i64, ProviderError> {
        needed("amount", self.amount)
    }

    /// What went back of it, in minor units.
    pub(super) fn amount_refunded(&self) -> i64 {
        self.amount_refunded.unwrap_or(0)
    }

    /// In the core's words.
    pub(super) fn normalize(
        self,
        paid_for: PaidFor,
        dispute: Option<DisputeState>,
    ) -> Result<ProviderCharge, ProviderError> {
        Ok(ProviderCharge {
            paid_for,
            dispute,
            amount: self.amount()?,
            amount_refunded: self.amount_refunded(),
            currency: needed("currency", self.currency)?.to_ascii_lowercase(),
            provider_customer_id: self.customer_id,
            id: self.id,
        })
    }
}

/// `refund`.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    /// Our mark.
    #[serde(default)]
    notes: Notes,
}

impl Refund {
    /// Whether it was made under that mark, and its money went back or is on its way.
    pub(super) fn is_good_under(&self, mark: &str) -> bool {
        self.notes.get("refund") == Some(mark) && self.status.as_deref() != Some("failed")
    }
}

/// `dispute`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Dispute {
    /// Its id.
    pub(super) id: String,
    /// What it is about.
    #[serde(default, deserialize_with = "text")]
    pub(super) payment_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
}

impl Dispute {
    fn state(&self) -> DisputeState {
        match self.status.as_deref() {
            Some("lost") => DisputeState::Lost,
            // Closed: settled without the payment being taken back.
            Some("won" | "closed") => DisputeState::Won,
            _ => DisputeState::UnderReview,
        }
    }
}

/// Where all disputes of one payment leave it.
pub(super) fn dispute_state(disputes: &[Dispute]) -> Option<DisputeState> {
    let any = |state| disputes.iter().any(|dispute| dispute.state() == state);
    [
        DisputeState::Lost,
        DisputeState::UnderReview,
        DisputeState::Won,
    ]
    .into_iter()
    .find(|state| any(*state))
}

/// Any object of which only the id matters.
#[derive(Debug, Deserialize)]
pub(super) struct Identified {
    /// Its id.
    pub(super) id: String,
}
