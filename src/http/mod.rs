//! HTTP.

pub mod auth;
pub mod cors;
pub mod extract;
pub mod fallback;
pub mod problem;
pub mod request_id;
