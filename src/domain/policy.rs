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
