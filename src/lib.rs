//! Plangate: plan gating over PostgreSQL.

pub mod config;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod meter;
pub mod providers;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
