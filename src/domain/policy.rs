//! What an operator decides about decisions.

/// Whether a denial is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// Denials deny.
    Enforce,
    /// Denials are told, and allowed: for rolling out.
    Observe,
}

/// What becomes of a customer never seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownCustomers {
    /// The first use creates the customer.
    Create,
    /// Requests for the customer are answered 404.
    Reject,
}

/// What follows where all of a payment was given back, or a dispute of it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFullRefund {
    /// The subscription ends at once, without grace.
    Cancel,
    /// It is recorded, and that is all.
    Ignore,
}

/// What follows where a customer has two live subscriptions at providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The lower, else the newer one is ended and its payment given back.
    Refund,
    /// An operator is told, and that is all.
    Alert,
}

/// What an operator decides about money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillingPolicy {
    /// On full refunds and lost disputes.
    pub on_full_refund: OnFullRefund,
    /// On a second live subscription.
    pub on_duplicate: OnDuplicate,
}
