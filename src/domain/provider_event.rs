//! What payment providers tell the core, in words that belong to none of them.
//!
//! A webhook is only a [`Hint`] that some object changed: providers deliver twice, late and in any order, so the core
//! fetches the object and believes the fetched [`ProviderSubscription`] alone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::subscription::{PlanRef, SubscriptionStatus};

/// Who keeps a subscription.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// Stripe.
    Stripe,
    /// Razorpay.
    Razorpay,
    /// Granted by an operator; nobody outside knows of it.
    Manual,
}

impl ProviderName {
    /// Every name there is.
    pub const ALL: [Self; 3] = [Self::Stripe, Self::Razorpay, Self::Manual];

    /// The name used in the API, in paths and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Razorpay => "razorpay",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no provider's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown provider `{0}`")]
pub struct UnknownProvider(pub String);

impl FromStr for ProviderName {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == name)
            .ok_or_else(|| UnknownProvider(name.to_owned()))
    }
}

/// One webhook delivery, after its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingEvent {
    /// The provider's id of the event: the same in every delivery of it.
    pub event_id: String,
    /// The provider's own name of what happened.
    pub event_type: String,
    /// Whether real money is meant. An event of the other mode than the configured key's must be ignored.
    pub livemode: bool,
    /// What the core should look at because of it.
    pub hint: Hint,
}

/// What a verified webhook asks the core to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Something about this subscription changed: fetch it.
    Subscription {
        /// The provider's id of the subscription.
        provider_subscription_id: String,
    },
    /// The subscription was paid: fetch it, and keep the payment, once by its id.
    SubscriptionPaid {
        /// The provider's id of the subscription.
        provider_subscription_id: String,
        /// What was paid, as the verified event says; none of it ever changes.
        payment: PaymentMade,
    },
    /// A checkout ran through. It may tell whose the subscription is; access still depends on the subscription's status.
    CheckoutCompleted {
        /// The provider's id of the session.
        session_id: String,
        /// The subscription that the checkout made.
        provider_subscription_id: Option<String>,
        /// Our own customer id, as it was given when the session was made, or by whoever followed a payment link.
        customer_id: Option<String>,
    },
    /// A checkout ended without a purchase: expired, or its late payment failed.
    CheckoutClosed {
        /// The provider's id of the session.
        session_id: String,
    },
    /// An invoice of the subscription is being drawn up: usage of the period that ends must be told now. Fetch it, too.
    InvoiceDrawn {
        /// The provider's id of the subscription.
        provider_subscription_id: String,
    },
    /// Money of a payment went back, is claimed back, or did not go back after all: look at the payment.
    Charge {
        /// The provider's id of the payment.
        provider_charge_id: String,
    },
    /// The provider's customer is gone, and whatever was billed to them has ended.
    CustomerDeleted {
        /// The provider's id of the customer.
        provider_customer_id: String,
    },
    /// A payment link that bills usage was paid, or can no longer be: look at it.
    PaymentLink {
        /// The provider's id of the link.
        provider_link_id: String,
    },
    /// Usage that was told could not be used: the event, fetched by its id, says what and why.
    UsageRefused,
    /// Nothing here is of use: stored, answered with success, not applied.
    Ignored,
}

impl Hint {
    /// The provider's id of what must not be looked at twice at the same time: the subscription, or a checkout without one.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::Subscription {
                provider_subscription_id,
            }
            | Self::SubscriptionPaid {
                provider_subscription_id,
                ..
            }
            | Self::InvoiceDrawn {
                provider_subscription_id,
            } => Some(provider_subscription_id),
            Self::Charge { provider_charge_id } => Some(provider_charge_id),
            Self::CustomerDeleted {
                provider_customer_id,
            } => Some(provider_customer_id),
            Self::CheckoutCompleted {
                session_id,
                provider_subscription_id,
                ..
            } => Some(provider_subscription_id.as_deref().unwrap_or(session_id)),
            Self::CheckoutClosed { session_id } => Some(session_id),
            Self::PaymentLink { provider_link_id } => Some(provider_link_id),
            Self::UsageRefused | Self::Ignored => None,
        }
    }
}

/// A payment that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentMade {
    /// The provider's id.
    pub id: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217 code in lower case.
    pub currency: String,
}

/// A subscription as the provider showed it when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSubscription {
    /// The provider's id.
    pub id: String,
    /// The provider's id of the paying customer.
    pub provider_customer_id: Option<String>,
    /// Our own customer id, which checkout left in the subscription's metadata.
    pub customer_id: Option<String>,
    /// The plan that was sold, which checkout left in the subscription's metadata.
    pub sold_as: Option<PlanRef>,
    /// Its state; collection that is paused counts as paused.
    pub status: ProviderStatus,
    /// The prices of all items. A plan with overage has two: find the base one by id, never by position.
    pub price_ids: Vec<String>,
    /// Start of the billing period.
    pub current_period_start: Option<DateTime<Utc>>,
    /// End of the billing period, exclusive.
    pub current_period_end: Option<DateTime<Utc>>,
    /// The instant from which billing periods are counted.
    pub anchor: Option<DateTime<Utc>>,
    /// Whether it ends with the current period.
    pub cancel_at_period_end: bool,
    /// When it will end by a cancellation set for an instant.
    pub cancel_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When its trial ends or ended.
    pub trial_end: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// Whether the provider shows that something was paid for it, or that it had a trial.
    pub was_paid: bool,
    /// Since when a renewal is not paid, where the provider shows it.
    pub unpaid_since: Option<DateTime<Utc>>,
    /// A change of plan that is planned.
    pub planned: Option<PlannedPrices>,
    /// A change of plan waits for its payment.
    pub change_unpaid: bool,
}

/// The prices that a subscription is going to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPrices {
    /// Of all items.
    pub price_ids: Vec<String>,
    /// The plan that was sold, as noted with the plan.
    pub sold_as: Option<PlanRef>,
    /// From when on.
    pub at: DateTime<Utc>,
}

/// A subscription's state as its provider words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderStatus {
    /// A state that Plangate has rules for.
    Known(SubscriptionStatus),
    /// A word this version does not know: the last known state stays in force and an operator is told.
    Unknown(String),
}

impl ProviderStatus {
    /// Reads a word; one that is not a [`SubscriptionStatus`] is kept as it came.
    pub fn parse(word: &str) -> Self {
        SubscriptionStatus::parse(word).map_or_else(|| Self::Unknown(word.to_owned()), Self::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_names_read_back_as_written() {
        for name in ProviderName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(
            "Stripe".parse::<ProviderName>(),
            Err(UnknownProvider("Stripe".to_owned()))
        );
    }

    #[test]
    fn new_words_for_a_status_are_kept() {
        for status in SubscriptionStatus::ALL {
            assert_eq!(
                ProviderStatus::parse(status.as_str()),
                ProviderStatus::Known(status)
            );
        }
        assert_eq!(
            ProviderStatus::parse("hibernating"),
            ProviderStatus::Unknown("hibernating".to_owned())
        );
    }
}
