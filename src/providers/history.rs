//! What a provider remembers: payments, and lists of events and subscriptions.

pub use crate::domain::payment::DisputeState;
use crate::domain::provider_event::IncomingEvent;

/// A payment, with what went back of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderCharge {
    /// The provider's id.
    pub id: String,
    /// Who paid, by the provider's id.
    pub provider_customer_id: Option<String>,
    /// What it paid.
    pub paid_for: PaidFor,
    /// What was paid, in minor units.
    pub amount: i64,
    /// What went back or is on its way back, in minor units; a refund that failed does not count.
    pub amount_refunded: i64,
    /// ISO 4217 code in lower case.
    pub currency: String,
    /// Whether the payer's bank claims it back.
    pub dispute: Option<DisputeState>,
}

/// What a payment paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaidFor {
    /// An invoice of the subscription of that id.
    Subscription(String),
    /// Nothing that a subscription bills.
    Other,
    /// The provider does not show it.
    Unknown,
}

/// An event as the provider keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEvent {
    /// What it says.
    pub event: IncomingEvent,
    /// The body that a webhook would have had.
    pub body: Vec<u8>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the provider's order.
    pub items: Vec<T>,
    /// What to ask for the next page with; `None`: this is the last.
    pub next: Option<String>,
}
