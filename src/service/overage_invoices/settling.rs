//! What the provider says of a link is written down, whoever heard it: once, and never back from paid.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::providers::{LinkStatus, PaymentLink};
use crate::store::overage_invoices::{self, Invoice, Settled};

/// The link under an invoice's reference asks for something else: it was not made for this invoice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the link {link_id} asks for {asked} and not for the invoice's {amount}")]
pub(in crate::service) struct Mismatch {
    link_id: String,
    asked: i64,
    amount: i64,
}

/// Settles or closes the invoice where its link was paid, or can no longer be; a link that is open changes nothing.
pub(in crate::service) fn settle(
    conn: &mut PgConnection,
    invoice: &Invoice,
    link: &PaymentLink,
    now: DateTime<Utc>,
) -> QueryResult<Result<(), Mismatch>> {
    if link.amount != invoice.amount {
        return Ok(Err(Mismatch {
            link_id: link.id.clone(),
            asked: link.amount,
            amount: invoice.amount,
        }));
    }
    let settled = Settled {
        link_id: &link.id,
        url: &link.url,
        payment_id: link.payment_id.as_deref(),
    };
    let (customer_id, invoice_id) = (&invoice.customer_id, invoice.invoice_id);
    match link.status {
        LinkStatus::Open => {}
        LinkStatus::Paid => {
            if overage_invoices::pay(conn, invoice, settled, now)? {
                tracing::info!(customer_id, %invoice_id, amount = invoice.amount, link = link.id, "overage was paid");
            }
        }
        LinkStatus::Closed => {
            if overage_invoices::close(conn, invoice, settled, now)? {
                tracing::error!(customer_id, %invoice_id, amount = invoice.amount, link = link.id,
                    "overage was not paid, and its link is closed: an operator must see to it");
            }
        }
    }
    Ok(Ok(()))
}
