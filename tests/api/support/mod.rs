//! What the tests stand on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod scratch;
pub(crate) mod sdk;
pub(crate) mod shop;
pub(crate) mod steps;
