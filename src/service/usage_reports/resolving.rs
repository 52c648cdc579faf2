//! What became of a report is written down, with what follows from it, if the claim still holds.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::Outcome;
use crate::service::context::Context;
use crate::store::clock::deciding_time;
use crate::store::customers;
use crate::store::pool::{self, StoreError};
use crate::store::usage_reports::{self, Change, Report, State, put_back};

/// What became of a report.
pub(super) enum Resolution {
    /// The provider has it, under that instant if that is known.
    Sent { under: Option<DateTime<Utc>> },
    /// The provider never received it: it is told as if for the first time.
    NotReceived,
    /// It was taken back.
    Retracted,
    /// It could not be taken back: its units are not owed anew.
    Kept,
    /// Nobody can tell whether the provider has it.
    Doubtful(String),
}

impl Resolution {
    fn change(&self, now: DateTime<Utc>) -> Change<'static> {
        let at = |state: State| Change {
            state: Some(state.as_str()),
            error: Some(None),
            ..Change::default()
        };
        match self {
            Self::Sent { under } => Change {
                told_since: *under,
                sent_at: Some(now),
                ..at(State::Sent)
            },
            Self::NotReceived => Change {
                first_tried_at: Some(None),
                next_attempt_at: Some(now),
                ..Change::default()
            },
            Self::Retracted => at(State::Retracted),
            Self::Kept => Change {
                is_final: Some(true),
                ..at(State::Sent)
            },
            Self::Doubtful(reason) => Change {
                error: Some(Some(reason.clone())),
                ..at(State::Doubtful)
            },
        }
    }
}

/// Writes it down.
pub(super) async fn resolve(
    context: &Context,
    report: Report,
    resolution: Resolution,
) -> Result<Outcome, StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let held = conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            write_down(conn, &report, &resolution, now)
        })?;
        let (customer_id, report_id) = (&report.customer_id, report.report_id);
        match &resolution {
            _ if !held => {
                tracing::debug!(customer_id, %report_id, "another worker is at the usage report");
            }
            Resolution::Doubtful(reason) => tracing::error!(customer_id, %report_id, reason,
                "whether the provider has this usage is not known: an operator must look at it"),
            _ => tracing::debug!(customer_id, %report_id, quantity = report.quantity, "usage report settled"),
        }
        Ok(Outcome::Settled)
    })
    .await
}

fn write_down(
    conn: &mut PgConnection,
    report: &Report,
    resolution: &Resolution,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let stays = matches!(resolution, Resolution::Kept | Resolution::Doubtful(_));
    let puts_back = report.is(State::Retracting) && stays;
    if puts_back {
        // Two reports are written: whoever else writes several of a customer holds this lock first.
        customers::lock(conn, &report.customer_id)?;
    }
    if !usage_reports::settle(conn, report, &resolution.change(now), now)? {
        return Ok(false);
    }
    if puts_back {
        put_back(conn, report.returned(report.quantity.saturating_neg(), now))?;
    }
    Ok(true)
}
