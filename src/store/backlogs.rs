//! What waits for a job, all of it in one look.

use diesel::prelude::*;

use super::{inbox, overage_invoices, subscription_endings, usage_reports};

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlogs {
    /// Events to be applied.
    pub inbox: inbox::Backlog,
    /// Usage that a provider is to be told.
    pub usage: usage_reports::Backlog,
    /// Invoices that a provider is to make payment links for.
    pub invoices: overage_invoices::Backlog,
    /// Subscriptions that are to be ended at their provider.
    pub endings: subscription_endings::Backlog,
}

/// How much of each waits. Providers `billed_by_link` are told no usage.
pub fn read(conn: &mut PgConnection, billed_by_link: &[&str]) -> QueryResult<Backlogs> {
    Ok(Backlogs {
        inbox: inbox::backlog(conn)?,
        usage: usage_reports::backlog(conn, billed_by_link)?,
        invoices: overage_invoices::backlog(conn)?,
        endings: subscription_endings::backlog(conn)?,
    })
}
