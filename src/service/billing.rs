//! What customers do with a subscription that a provider bills: change the plan, cancel, resume, visit the provider's pages.
//!
//! Each operation looks, decides, asks the provider for one change, and looks again. Looking means what it means for a webhook: the
//! subscription is fetched and written behind a fence, so what is stored is never older than what somebody else has fetched, and
//! the operation's own webhooks find nothing left to do. Every change at the provider can be repeated and then changes nothing
//! more, so a call whose answer was lost is safe to repeat: it finds either the old state or its own work.
//!
//! **Two at once.** The fence keeps what is stored right, whoever calls. At the provider it is not enough: a change of plan is several
//! requests (read the items, replace them, or make a schedule and fill it), and two changes mixed could leave a subscription with the
//! base price of one plan and the metered price of another. So whoever changes a subscription has its [turn](turn): a row's column,
//! not a lock, since no connection is held while the provider is asked. A turn ends by itself, should its holder die, and is
//! renewed just before the change is asked for; whoever finds it lost asks for nothing. What operators do in the provider's own pages
//! takes no turns; it is single requests, which the look afterwards shows.

mod cancel;
mod change_plan;
mod errors;
mod intended_ends;
mod intending;
mod portal;
mod resume;
mod subject;
mod successor;
mod turn;
mod verify_payment;

pub use cancel::{CancelWhen, cancel};
pub use change_plan::{Changed, NewPlan, change_plan};
pub use errors::BillingError;
pub use intended_ends::send_ends;
pub use portal::{Visit, has_pages, open_portal};
pub use resume::resume;
pub use verify_payment::{PaymentProof, verify_payment};

pub use crate::providers::ChangeWhen;
