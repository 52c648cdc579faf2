//! Usage above a plan's limit, as it is told to a provider that bills it.

use chrono::{DateTime, Utc};

/// Usage to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Who used it, by the provider's id.
    pub provider_customer_id: String,
    /// Units; more than zero.
    pub quantity: i64,
    /// The provider counts what it is told under one identifier once, for at least a day.
    pub identifier: String,
    /// When it was used: decides which invoice it is on.
    pub at: DateTime<Utc>,
}

/// What the provider made of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Counted.
    Taken,
    /// It was counted before under this identifier.
    Known,
}

/// What the provider made of the wish to take a report back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retracted {
    /// It does not count any more.
    Done,
    /// It counts, and can no longer be taken back.
    TooLate,
}

/// A report that the provider took and could not use afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedUsage {
    /// The report's identifier, where the provider names it.
    pub identifier: Option<String>,
    /// The provider's reason, for operators.
    pub reason: String,
}
