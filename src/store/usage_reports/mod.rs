//! Usage above limits on its way to the providers that bill it (`usage_reports`).
//!
//! One open row for each counter gathers what is owed. A worker seals it, so that its quantity is fixed, tells it, and keeps it.
//! All rows of a counter but the retracting and the retracted ones add up to what is owed; only accrual changes that sum, every
//! other step moves quantities between rows in one transaction.

mod accrual;
mod claims;
mod figures;
mod invoicing;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::usage_reports;
use crate::domain::overage::Owed;
use crate::domain::provider_event::ProviderName;

pub use accrual::{accrue_all, put_back};
pub use claims::{
    begin_anew, begin_retraction, drop_empty, due_to_leave, give_up_open, has_pending, hurry,
    lock_claims, newest_sent, note_telling, park_open, seal, settle, take_due,
};
pub use figures::{
    Backlog, Told, ToldCounter, backlog, mark_refused, refused_of, straddling, told_between,
    told_counters,
};
pub use invoicing::{Closing, carry_forward, closed_of, closing, invoice, invoiced_periods, leave};

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Gathers.
    Open,
    /// To be told; its quantity is fixed.
    Sealed,
    /// The provider has it.
    Sent,
    /// To be taken back.
    Retracting,
    /// Was taken back, or is told anew by another report.
    Retracted,
    /// The provider took it and could not use it.
    Refused,
    /// Needs a person.
    Doubtful,
}

impl State {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sealed => "sealed",
            Self::Sent => "sent",
            Self::Retracting => "retracting",
            Self::Retracted => "retracted",
            Self::Refused => "refused",
            Self::Doubtful => "doubtful",
        }
    }
}

/// What changes of one counter add to what is owed.
#[derive(Debug, Clone, Copy)]
pub struct Accrual<'a> {
    /// Whose.
    pub customer: &'a str,
    /// Who bills it.
    pub provider: ProviderName,
    /// Of which feature.
    pub metric: &'a str,
    /// First instant of the counter's period.
    pub period_start: DateTime<Utc>,
    /// First instant after it.
    pub period_end: Option<DateTime<Utc>>,
    /// How much.
    pub owed: Owed,
    /// When it was counted.
    pub used_at: DateTime<Utc>,
    /// When the provider is to be told, if not before.
    pub due_at: DateTime<Utc>,
}

/// A report as stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = usage_reports, check_for_backend(diesel::pg::Pg))]
pub struct Report {
    /// Whose.
    pub customer_id: String,
    /// Its id.
    pub report_id: Uuid,
    /// Who bills it.
    pub provider: String,
    /// Of which feature.
    pub metric_name: String,
    /// First instant of the counter's period.
    pub period_start: DateTime<Utc>,
    /// First instant after it.
    pub period_end: Option<DateTime<Utc>>,
    /// A [`State`].
    pub state: String,
    /// Units; of an open one also fewer than none.
    pub quantity: i64,
    /// The latest use that it accounts for.
    pub used_at: DateTime<Utc>,
    /// Of whom the provider is told, by its own id.
    pub provider_customer_id: Option<String>,
    /// The instant under which it was last told.
    pub told_at: Option<DateTime<Utc>>,
    /// The earliest instant under which it may have been told.
    pub told_since: Option<DateTime<Utc>>,
    /// When the provider may first have heard of it.
    pub first_tried_at: Option<DateTime<Utc>>,
    /// Whether the provider would not take it back.
    pub is_final: bool,
    /// Attempts to tell it, or to take it back.
    pub attempts: i32,
    /// From then on others may claim it.
    pub claimed_until: Option<DateTime<Utc>>,
}

impl Report {
    /// Whether it stands there.
    pub fn is(&self, state: State) -> bool {
        self.state == state.as_str()
    }

    /// Units for its counter's open row, due at once.
    pub fn returned(&self, quantity: i64, now: DateTime<Utc>) -> Returned<'_> {
        Returned {
            report: self,
            quantity,
            now,
        }
    }
}

/// Units that go back to where they gathered.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    report: &'a Report,
    quantity: i64,
    now: DateTime<Utc>,
}

/// What becomes of a report; what is `None` stays.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = usage_reports)]
pub struct Change<'a> {
    /// Where it stands now.
    pub state: Option<&'a str>,
    /// The earliest instant under which it may have been told.
    pub told_since: Option<DateTime<Utc>>,
    /// When the provider may first have heard of it; `Some(None)`: it has not.
    pub first_tried_at: Option<Option<DateTime<Utc>>>,
    /// When the provider was known to have it.
    pub sent_at: Option<DateTime<Utc>>,
    /// Whether the provider would not take it back.
    pub is_final: Option<bool>,
    /// When to go on with it.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why it is not done; `Some(None)`: nothing is in the way.
    pub error: Option<Option<String>>,
}

/// Whose reports, and by which providers, a worker looks for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Providers that can be told.
    pub providers: &'a [&'a str],
    /// One customer's only.
    pub customer: Option<&'a str>,
    /// At this time.
    pub now: DateTime<Utc>,
}
