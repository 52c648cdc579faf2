//! Transaction scripts, shared by HTTP and the jobs.

pub mod apply_event;
pub mod context;
pub mod grants;
pub mod ingest_webhook;
pub mod plans;
pub mod return_urls;
pub mod subscriptions;
