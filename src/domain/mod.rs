//! The rules, pure.

pub mod catalogue;
pub mod money;
