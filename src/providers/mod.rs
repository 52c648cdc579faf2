//! Payment providers: one module each behind [`Provider`]. The core sees only `domain::provider_event` and the types here.

mod capabilities;
mod errors;
mod history;
mod links;
mod orders;
mod price_ids;
pub mod razorpay;
pub mod registry;
#[cfg(test)]
mod script;
mod signing;
pub mod stripe;
pub mod transport;
mod usage;
mod wire;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use capabilities::{Capabilities, UsageBilling};
pub use errors::{ProviderError, SignatureFault, WebhookError};
pub use history::{DisputeState, Page, PaidFor, PastEvent, ProviderCharge};
pub use links::{LinkStatus, PaymentLink, PaymentLinkRequest};
pub use orders::{
    ChangeWhen, CheckoutRequest, CheckoutSession, CheckoutStatus, FinalInvoice, NewCustomer,
    PlanChange, PortalRequest, ProviderPrice, RefundShare,
};
pub use registry::SoldUnder;
pub use usage::{RefusedUsage, Reported, Retracted, UsageReport};

use crate::domain::provider_event::{Hint, IncomingEvent, ProviderName, ProviderSubscription};

/// What the core asks of a payment provider. What one cannot do is [`ProviderError::Unsupported`], and its [`Capabilities`] say how
/// the core does without.
///
/// Every call that creates something carries an idempotency key chosen by the caller, who stores it *before* the call:
/// an answer that got lost is then asked for again instead of being bought twice. Where the provider takes no such keys, the call
/// looks first for what an earlier one under the same key has made.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which provider this is.
    fn name(&self) -> ProviderName;

    /// What it can do, as far as the core must know.
    fn capabilities(&self) -> Capabilities;

    /// Whether the configured key moves real money.
    fn livemode(&self) -> bool;

    /// The key a browser may see, if the provider has one.
    fn publishable_key(&self) -> Option<&str> {
        None
    }

    /// Proves that the provider sent these bytes, then reads them. `header` looks a request header up by its
    /// lower-case name; `body` must be the bytes as received; `now` decides whether the delivery is too old.
    fn verify_webhook(
        &self,
        header: &dyn Fn(&str) -> Option<String>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<IncomingEvent, WebhookError>;

    /// What a body asks the core to look at that was verified when it was stored.
    fn hint(&self, body: &[u8]) -> Result<Hint, WebhookError>;

    /// Whether the provider signed that this payment paid for this subscription, as its scripts hand it to a browser. `None`: it signs
    /// nothing of the kind.
    fn vouches_for_payment(
        &self,
        _payment_id: &str,
        _subscription_id: &str,
        _signature: &str,
    ) -> Option<bool> {
        None
    }

    /// The subscription as it is now.
    async fn fetch_subscription(&self, id: &str) -> Result<ProviderSubscription, ProviderError>;

    /// Makes a customer and returns the provider's id of it.
    async fn create_customer(&self, customer: &NewCustomer) -> Result<String, ProviderError>;

    /// The price as the provider would charge it.
    async fn price(&self, id: &str) -> Result<ProviderPrice, ProviderError>;

    /// Opens a checkout for one subscription.
    async fn create_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> Result<CheckoutSession, ProviderError>;

    /// The checkout session as it is now.
    async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError>;

    /// Closes an open checkout. A session that was no longer open is returned as it is: the status tells whether the
    /// customer was quicker.
    async fn expire_checkout(&self, id: &str) -> Result<CheckoutSession, ProviderError>;

    /// The address of the pages on which the customer looks after cards and invoices.
    async fn open_portal(&self, _request: &PortalRequest) -> Result<String, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "pages for customers",
        })
    }

    /// Puts a subscription on another plan. Repeating it changes nothing more. A change that was planned before is dropped.
    async fn change_plan(&self, _change: &PlanChange) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported {
            what: "another plan for a subscription",
        })
    }

    /// Drops a change of plan that was planned for the period's end, if there is one.
    async fn drop_planned_change(&self, _subscription_id: &str) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported {
            what: "another plan for a subscription",
        })
    }

    /// Lets the subscription end with its period. A change of plan that was planned is dropped.
    async fn cancel_at_period_end(&self, subscription_id: &str) -> Result<(), ProviderError>;

    /// Ends the subscription at once. One that has ended stays as it is.
    async fn cancel_now(
        &self,
        subscription_id: &str,
        settle: FinalInvoice,
    ) -> Result<(), ProviderError>;

    /// Takes a cancellation at the period's end back, and a pause off.
    async fn resume(&self, subscription_id: &str) -> Result<(), ProviderError>;

    /// Gives back a share of what the subscription's latest payment was, once for each key. `false`: nothing was paid that could be given
    /// back.
    async fn refund_latest_payment(
        &self,
        subscription_id: &str,
        share: RefundShare,
        idempotency_key: &str,
    ) -> Result<bool, ProviderError>;

    /// The payment as it is now. `told_by` is the body of the verified event that asks for it, for what the provider shows nowhere else:
    /// the key may be too small, or the payment gone.
    async fn charge(&self, id: &str, told_by: &[u8]) -> Result<ProviderCharge, ProviderError>;

    /// Asks for a payment on a page of the provider. Under a reference that has one already, that one is returned.
    async fn create_payment_link(
        &self,
        _request: &PaymentLinkRequest,
    ) -> Result<PaymentLink, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "payment links",
        })
    }

    /// The payment link as it is now.
    async fn payment_link(&self, _id: &str) -> Result<PaymentLink, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "payment links",
        })
    }

    /// Tells usage.
    async fn report_usage(&self, _report: &UsageReport) -> Result<Reported, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "usage to be told",
        })
    }

    /// Takes a report back that was told lately.
    async fn retract_usage(&self, _identifier: &str) -> Result<Retracted, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "usage to be told",
        })
    }

    /// The units that the provider has counted from the minute of `from` (inclusive) to that of `until` (exclusive, rounded up). What
    /// was told in the last minutes may still be missing.
    async fn usage_counted(
        &self,
        _provider_customer_id: &str,
        _from: DateTime<Utc>,
        _until: DateTime<Utc>,
    ) -> Result<i64, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "usage to be told",
        })
    }

    /// What the event of that id says of reports that could not be used.
    async fn refused_usage(&self, _event_id: &str) -> Result<Vec<RefusedUsage>, ProviderError> {
        Err(ProviderError::Unsupported {
            what: "usage to be told",
        })
    }

    /// Events since that instant, newest first; `page` is what the page before named. The provider forgets old ones (Stripe: after 30
    /// days), or keeps none at all.
    async fn events(
        &self,
        _since: DateTime<Utc>,
        _page: Option<&str>,
    ) -> Result<Page<PastEvent>, ProviderError> {
        Ok(Page {
            items: Vec::new(),
            next: None,
        })
    }

    /// The first instant of which the provider still knows all events: `now`, where it keeps none.
    fn events_known_since(&self, now: DateTime<Utc>) -> DateTime<Utc>;

    /// Subscriptions, ended ones included, newest first; `page` is what the page before named.
    async fn subscriptions(
        &self,
        page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError>;

    /// An event as the provider would send it, of its own making, that asks to look at this subscription: for what happened longer ago
    /// than the provider's events reach. `event_id` is chosen by the caller.
    fn event_about(&self, subscription_id: &str, event_id: &str) -> PastEvent;
}
