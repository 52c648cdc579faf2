//! Transaction scripts, shared by HTTP and the jobs.

pub mod api_keys;
pub mod apply_event;
pub mod authentication;
pub mod backfill;
pub mod billing;
pub mod checkout;
pub mod context;
pub mod customer_tokens;
pub mod customers;
pub mod grants;
pub mod ingest_webhook;
pub(crate) mod intentions;
pub mod overage_invoices;
pub mod overrides;
pub mod plans;
pub mod prices;
pub mod reconcile;
pub mod return_urls;
pub mod subscriptions;
pub mod usage_reports;
