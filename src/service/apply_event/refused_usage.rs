//! Usage that a provider took and could not use afterwards: it is not billed, so it is kept, and an operator is told. Nothing of it is
//! told again by itself, since only a person can put right what was in the way.

use std::sync::Arc;

use diesel::prelude::*;

use super::{NotApplied, settle};
use crate::domain::overage::identified;
use crate::service::context::{Context, Storefront};
use crate::store::clock::deciding_time;
use crate::store::inbox::{Claim, Status};
use crate::store::pool;
use crate::store::usage_reports;

/// Notes what the event says of reports that could not be used.
pub(super) async fn note(
    context: &Context,
    storefront: &Storefront,
    claim: Claim,
) -> Result<(), NotApplied> {
    let mut refused = storefront.provider.refused_usage(&claim.event_id).await?;
    // Always in the same order: two workers that mark the same reports must not wait for each other.
    refused.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    let provider = storefront.provider.name().as_str();
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let noted = conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            let mut noted = Vec::new();
            for refusal in &refused {
                let report = refusal.identifier.as_deref().and_then(identified);
                let report = match report {
                    Some(id) => {
                        usage_reports::mark_refused(conn, provider, id, &refusal.reason, now)?
                    }
                    None => None,
                };
                noted.push(report);
            }
            settle(conn, &claim, Status::Processed, now)?;
            Ok::<_, NotApplied>(noted)
        })?;
        for (refusal, report) in refused.iter().zip(noted) {
            let (identifier, reason) = (&refusal.identifier, &refusal.reason);
            if let Some(report) = report {
                tracing::error!(provider, customer_id = report.customer_id, report_id = %report.report_id,
                    quantity = report.quantity, reason,
                    "the provider could not use a usage report: put it right, then reconcile usage with repair");
            } else {
                tracing::error!(
                    provider,
                    identifier,
                    reason,
                    "the provider could not use usage that is not on record here as told"
                );
            }
        }
        Ok(())
    })
    .await
}
