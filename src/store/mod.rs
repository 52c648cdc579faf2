//! PostgreSQL: rows, queries and transactions. Functions take `&mut PgConnection`; no decision is taken here.

pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod backlogs;
pub mod change_turns;
pub mod charges;
pub mod checkout_sessions;
pub mod clock;
pub mod counters;
pub mod customers;
pub mod denials;
pub mod embedded;
pub mod inbox;
pub mod intended_ends;
pub mod ledger;
pub mod migrations;
pub mod overage_invoices;
pub mod overrides;
pub mod plan_book;
pub mod plan_versions;
pub mod pool;
pub mod provider_customers;
pub mod reservations;
#[allow(missing_docs, reason = "columns are described in the migrations")]
pub mod schema;
mod statement;
pub mod subscription_endings;
pub mod subscriptions;
pub mod transaction;
pub mod usage_reports;

/// A stored value that this version cannot read.
fn unreadable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> diesel::result::Error {
    diesel::result::Error::DeserializationError(what.into())
}
