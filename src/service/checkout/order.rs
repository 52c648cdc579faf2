//! What is ordered, and what comes of it.

use chrono::{DateTime, Utc};

use crate::domain::ids::{CustomerId, TierKey};
use crate::domain::provider_event::ProviderName;
use crate::providers::ProviderError;
use crate::service::return_urls::ReturnUrlError;
use crate::store::pool::StoreError;

/// What is to be sold, to whom.
#[derive(Debug, Clone)]
pub struct CheckoutOrder {
    /// To whom.
    pub customer: CustomerId,
    /// Which tier; its current version is sold.
    pub plan_tier: TierKey,
    /// Who takes the money.
    pub provider: ProviderName,
    /// Where the browser goes after paying; `None`: the configured address.
    pub success_url: Option<String>,
    /// Where the browser goes when the customer turns back; `None`: the configured address.
    pub cancel_url: Option<String>,
}

/// A session that can be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCheckout {
    /// Where the customer pays.
    pub checkout_url: String,
    /// The provider's id.
    pub session_id: String,
    /// Who takes the money.
    pub provider: ProviderName,
    /// When it stops being payable.
    pub expires_at: Option<DateTime<Utc>>,
    /// The key that a browser may see, if the provider has one.
    pub publishable_key: Option<String>,
}

/// Why nothing can be paid.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The catalogue has no such tier.
    #[error("the catalogue has no tier \"{0}\"")]
    UnknownPlan(TierKey),
    /// The tier has no price, or is the one that everybody has.
    #[error("is not for sale: nobody pays for it")]
    NotForSale,
    /// The provider is not set up, or has no price for the tier.
    #[error("the provider is not configured, or not for this tier")]
    ProviderNotConfigured,
    /// A return URL cannot be used.
    #[error("{fault}")]
    ReturnUrl {
        /// JSON Pointer to it.
        pointer: &'static str,
        /// Why.
        fault: ReturnUrlError,
    },
    /// Unknown customers are rejected.
    #[error("the customer is not known")]
    UnknownCustomer,
    /// There is a live subscription on the plan.
    #[error("the customer has a live subscription on this plan")]
    AlreadySubscribed,
    /// There is a live subscription on another plan.
    #[error("the customer has a live subscription on another plan")]
    UseChangePlan,
    /// There is a subscription that is not paid, or paused.
    #[error("the customer has a subscription that is unpaid or paused{}", told(*.portal))]
    PaymentDue {
        /// Whether the provider has pages on which it is settled.
        portal: bool,
    },
    /// Another attempt is being opened at the same time.
    #[error("another checkout is being opened for this customer")]
    InProgress,
    /// The customer went through; the subscription is not known here yet.
    #[error("the checkout was completed; its webhook is on the way")]
    Completed,
    /// The provider's price is not the catalogue's. Operators were alerted.
    #[error("the provider's price differs from the catalogue's")]
    PriceMismatch,
    /// The provider did not do it. Its words are for operators.
    #[error("the payment provider failed or did not answer in time")]
    ProviderFailed(#[from] ProviderError),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for CheckoutError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Where customers learn how to pay what is due, where the provider has no pages for them.
pub(in crate::service) const fn told(portal: bool) -> &'static str {
    if portal {
        ""
    } else {
        "; the provider has written to the customer how to pay"
    }
}
