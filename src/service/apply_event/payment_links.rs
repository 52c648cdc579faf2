//! A payment link was paid, or can no longer be: the invoice that it asks for is settled or closed.

use std::sync::Arc;

use diesel::prelude::*;

use super::{NotApplied, settle as settle_event};
use crate::service::context::{Context, Storefront};
use crate::service::overage_invoices::{Mismatch, settle};
use crate::store::clock::deciding_time;
use crate::store::inbox::{Claim, Status};
use crate::store::overage_invoices;
use crate::store::pool;

impl From<Mismatch> for NotApplied {
    fn from(mismatch: Mismatch) -> Self {
        Self::Never(mismatch.to_string())
    }
}

/// Applies the event that says so. Links that others made at the same account are none of ours.
pub(super) async fn apply(
    context: &Context,
    storefront: &Storefront,
    claim: Claim,
    link_id: &str,
) -> Result<(), NotApplied> {
    let link = storefront.provider.payment_link(link_id).await?;
    let provider = storefront.provider.name().as_str();
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            let reference = link.reference.as_deref();
            let invoice = overage_invoices::of_link(conn, provider, &link.id, reference)?;
            let Some(invoice) = invoice else {
                return settle_event(conn, &claim, Status::Ignored, now);
            };
            settle(conn, &invoice, &link, now)??;
            settle_event(conn, &claim, Status::Processed, now)
        })
    })
    .await
}
