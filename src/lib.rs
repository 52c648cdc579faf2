//! Plangate: plan gating over PostgreSQL.

pub mod domain;
pub mod http;
pub mod providers;
pub mod store;
