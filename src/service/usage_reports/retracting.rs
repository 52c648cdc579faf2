//! A report is taken back, because a correction took from what it accounts for.

use super::resolving::{Resolution, resolve};
use super::{Outcome, comparing, postpone};
use crate::domain::overage::identifier;
use crate::providers::Retracted;
use crate::service::context::{Context, Storefront};
use crate::store::pool::StoreError;
use crate::store::usage_reports::Report;

/// Has the provider take the report back.
pub(super) async fn take_back(
    context: &Context,
    storefront: &Storefront,
    report: Report,
) -> Result<Outcome, StoreError> {
    let answer = storefront
        .provider
        .retract_usage(&identifier(report.report_id))
        .await;
    match answer {
        Ok(Retracted::Done) => resolve(context, report, Resolution::Retracted).await,
        Ok(Retracted::TooLate) if report.attempts > 1 => {
            // An earlier attempt, whose answer was lost, may have been in time.
            comparing::resolve(context, storefront, report).await
        }
        Ok(Retracted::TooLate) => resolve(context, report, Resolution::Kept).await,
        Err(error) => postpone(context, report, error).await,
    }
}
