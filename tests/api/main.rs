//! The service as a whole, over real sockets and a real PostgreSQL.

// Clippy's own exception for tests ends at the functions marked as tests; helpers may fail loudly as well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod admin;
mod architecture;
mod authorization;
mod bad_input;
mod billing;
mod binary;
mod checkout;
mod checkout_trouble;
mod customers;
mod durability;
mod embedded_cluster;
mod endings;
mod entitlements;
mod fake_razorpay;
mod fake_razorpay_contract;
mod fake_stripe;
mod fake_stripe_contract;
mod generated;
mod jobs;
mod lifecycle;
mod meter;
mod operations;
mod overage;
mod overage_links;
mod plan_context;
mod plans;
mod provider_contract;
mod razorpay;
mod razorpay_provider;
mod razorpay_sdk;
mod reservations;
mod stripe_provider;
mod stripe_sdk;
mod support;
mod usage;
mod webhooks;
mod whole_life;
