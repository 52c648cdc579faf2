//! A sealed report is told.

use super::resolving::{Resolution, resolve};
use super::{Outcome, postpone};
use crate::providers::{Reported, UsageReport};
use crate::service::context::{Context, Storefront};
use crate::store::pool::StoreError;
use crate::store::usage_reports::Report;

/// Tells the provider and writes down that it has the report.
pub(super) async fn tell(
    context: &Context,
    storefront: &Storefront,
    report: Report,
    usage: UsageReport,
) -> Result<Outcome, StoreError> {
    match storefront.provider.report_usage(&usage).await {
        Ok(Reported::Taken) => {
            let under = Some(usage.at);
            resolve(context, report, Resolution::Sent { under }).await
        }
        // An earlier attempt, whose answer was lost, was taken.
        Ok(Reported::Known) => resolve(context, report, Resolution::Sent { under: None }).await,
        Err(error) => postpone(context, report, error).await,
    }
}
