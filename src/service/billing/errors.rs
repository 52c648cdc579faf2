//! Why a subscription was not changed.

use crate::domain::ids::TierKey;
use crate::providers::ProviderError;
use crate::service::apply_event::NotSeen;
use crate::service::checkout::{CheckoutError, told};
use crate::service::prices::NotVerified;
use crate::service::return_urls::ReturnUrlError;
use crate::store::pool::StoreError;

/// Why nothing was done, or why it is not known what was.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// The catalogue has no such tier.
    #[error("the catalogue has no tier \"{0}\"")]
    UnknownPlan(TierKey),
    /// The tier has no price, or is the one that everybody has.
    #[error("is not for sale: whoever cancels comes back to it")]
    NotForSale,
    /// The provider is not set up, or has no price for the tier.
    #[error("the provider is not configured, or not for this tier")]
    ProviderNotConfigured,
    /// Without addresses to come back to nothing can be sold in the subscription's place.
    #[error("PLANGATE_SUCCESS_URL and PLANGATE_CANCEL_URL are not configured")]
    NoReturnUrls,
    /// The return URL cannot be used.
    #[error("{0}")]
    ReturnUrl(ReturnUrlError),
    /// No provider bills the customer anything.
    #[error("the customer has no subscription at a provider")]
    NoSubscription,
    /// All that is in force was granted.
    #[error("the customer's plan was granted by an operator, who can also end it")]
    Granted,
    /// The last subscription is over.
    #[error("the subscription has ended: buy again with /billing/create-checkout")]
    Ended,
    /// It is on this plan, and is to stay there.
    #[error("the customer has a live subscription on this plan")]
    AlreadyOnPlan,
    /// It is not paid, or paused.
    #[error("the customer has a subscription that is unpaid or paused{}", told(*.portal))]
    PaymentDue {
        /// Whether the provider has pages on which it is settled.
        portal: bool,
    },
    /// The change was asked for, and waits for its payment.
    #[error("the change of plan waits for its payment; until then the present plan stays in force")]
    ChangeUnpaid,
    /// The change would have been paid at once, and was not.
    #[error("the payment was declined, and nothing was changed")]
    Declined,
    /// Neither cancelled nor paused.
    #[error("the subscription is neither cancelled nor paused")]
    NothingToResume,
    /// The customer neither has nor buys what was paid for.
    #[error("the customer neither has nor is buying that subscription")]
    NotBought,
    /// Nothing proves that the provider took the payment.
    #[error("the signature is not the payment provider's for this payment and subscription")]
    BadSignature,
    /// The provider cannot take the end back.
    #[error(
        "the payment provider was already told to end the subscription: buy again when it has ended"
    )]
    EndSent,
    /// The provider does not know the customer.
    #[error("the customer has never paid through a provider")]
    NoProviderCustomer,
    /// The provider has no such pages.
    #[error(
        "the payment provider has no pages for customers: plans are changed, cancelled and resumed here, and it writes to customers \
         itself where a payment needs them"
    )]
    NoPortal,
    /// Somebody else is changing the subscription.
    #[error("the subscription is being changed by another call")]
    InProgress,
    /// The provider's price is not the catalogue's. Operators were alerted.
    #[error("the provider's price differs from the catalogue's")]
    PriceMismatch,
    /// The provider did not do it, or its answer was lost. Its words are for operators.
    #[error("the payment provider failed or did not answer in time")]
    ProviderFailed(ProviderError),
    /// How the subscription stands could not be found out, before or after the change.
    #[error(transparent)]
    NotSeen(NotSeen),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for BillingError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<ProviderError> for BillingError {
    fn from(error: ProviderError) -> Self {
        tracing::warn!(%error, "a subscription was not changed: the payment provider failed");
        match error {
            ProviderError::Rejected { status: 402, .. } => Self::Declined,
            other => Self::ProviderFailed(other),
        }
    }
}

impl From<NotSeen> for BillingError {
    fn from(error: NotSeen) -> Self {
        match error {
            NotSeen::Store(error) => Self::Store(error),
            NotSeen::Overtaken => Self::InProgress,
            other => Self::NotSeen(other),
        }
    }
}

impl From<CheckoutError> for BillingError {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::UnknownPlan(tier) => Self::UnknownPlan(tier),
            CheckoutError::NotForSale => Self::NotForSale,
            CheckoutError::ProviderNotConfigured => Self::ProviderNotConfigured,
            CheckoutError::ReturnUrl { .. } => Self::NoReturnUrls,
            CheckoutError::UnknownCustomer => Self::NoSubscription,
            CheckoutError::AlreadySubscribed
            | CheckoutError::UseChangePlan
            | CheckoutError::Completed
            | CheckoutError::InProgress => Self::InProgress,
            CheckoutError::PaymentDue { portal } => Self::PaymentDue { portal },
            CheckoutError::PriceMismatch => Self::PriceMismatch,
            CheckoutError::ProviderFailed(error) => Self::ProviderFailed(error),
            CheckoutError::Store(error) => Self::Store(error),
        }
    }
}

impl From<NotVerified> for BillingError {
    fn from(error: NotVerified) -> Self {
        match error {
            NotVerified::Mismatch { .. } => Self::PriceMismatch,
            NotVerified::Failed(error) => error.into(),
        }
    }
}
