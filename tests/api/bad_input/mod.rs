//! What the service refuses, and that nothing breaks it.

mod refusals;
mod requests;
