//! The rules, pure.

pub mod actor;
pub mod api_key;
pub mod billed;
pub mod catalogue;
pub mod decision;
pub mod duplicates;
pub mod event_id;
#[cfg(test)]
mod fixtures;
pub mod ids;
pub mod money;
pub mod overage;
pub mod overage_invoice;
pub mod payment;
pub mod period;
pub mod permission;
pub mod plans;
pub mod policy;
pub mod provider_event;
pub mod quantity;
pub mod reservation;
pub mod standing;
pub mod subscription;
pub mod terms;
pub mod timestamp;
pub mod usage;
