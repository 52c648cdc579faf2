//! Payment providers: one module each behind [`Provider`]. The core sees only `domain::provider_event` and the types here.

mod errors;
mod history;
mod orders;
pub mod stripe;
pub mod transport;
mod usage;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use errors::{ProviderError, SignatureFault, WebhookError};
pub use history::{DisputeState, Page, PaidFor, PastEvent, ProviderCharge};
pub use orders::{
    ChangeWhen, CheckoutRequest, CheckoutSession, CheckoutStatus, FinalInvoice, NewCustomer,
    PlanChange, PortalRequest, ProviderPrice,
};
pub use usage::{RefusedUsage, Reported, Retracted, UsageReport};

use crate::domain::provider_event::{IncomingEvent, ProviderName, ProviderSubscription};

/// What the core asks of a payment provider.
///
/// Every call that creates something carries an idempotency key chosen by the caller, who stores it *before* the call:
/// an answer that got lost is then asked for again instead of being bought twice.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which provider this is.
    fn name(&self) -> ProviderName;

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

    /// Reads a body that was verified when it was stored. Gives the same result as the verification did.
    fn parse_event(&self, body: &[u8]) -> Result<IncomingEvent, WebhookError>;

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
    async fn open_portal(&self, request: &PortalRequest) -> Result<String, ProviderError>;

    /// Puts a subscription on another plan. Repeating it changes nothing more. A change that was planned before is dropped.
    async fn change_plan(&self, change: &PlanChange) -> Result<(), ProviderError>;

    /// Drops a change of plan that was planned for the period's end, if there is one.
    async fn drop_planned_change(&self, subscription_id: &str) -> Result<(), ProviderError>;

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

    /// Gives back all of what the subscription's latest payment was, once for each key. `false`: nothing was paid that could be given back.
    async fn refund_latest_payment(
        &self,
        subscription_id: &str,
        idempotency_key: &str,
    ) -> Result<bool, ProviderError>;

    /// The payment as it is now.
    async fn charge(&self, id: &str) -> Result<ProviderCharge, ProviderError>;

    /// The payment as a verified event's body shows it, for a provider that does not show it otherwise: the key may be too small, or
    /// the payment gone. `None`: the body shows none.
    fn charge_in(&self, body: &[u8]) -> Option<ProviderCharge>;

    /// Whether usage above a plan's limit can be told to the provider.
    fn takes_usage(&self) -> bool;

    /// Tells usage.
    async fn report_usage(&self, report: &UsageReport) -> Result<Reported, ProviderError>;

    /// Takes a report back that was told lately.
    async fn retract_usage(&self, identifier: &str) -> Result<Retracted, ProviderError>;

    /// The units that the provider has counted from the minute of `from` (inclusive) to that of `until` (exclusive, rounded up). What
    /// was told in the last minutes may still be missing.
    async fn usage_counted(
        &self,
        provider_customer_id: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<i64, ProviderError>;

    /// What the event of that id says of reports that could not be used.
    async fn refused_usage(&self, event_id: &str) -> Result<Vec<RefusedUsage>, ProviderError>;

    /// Events since that instant, newest first; `page` is what the page before named. The provider forgets old ones (Stripe: after 30 days).
    async fn events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<Page<PastEvent>, ProviderError>;

    /// The first instant of which the provider still knows all events.
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
