//! Sealed invoices are asked for, and links of which nothing is heard are looked at.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use super::settling::{Mismatch, settle};
use super::{LOOK_AGAIN, NEEDS_A_PERSON};
use crate::domain::provider_event::ProviderName;
use crate::providers::{LinkStatus, PaymentLink, PaymentLinkRequest, ProviderError};
use crate::service::context::{Context, Storefront};
use crate::store::clock::deciding_time;
use crate::store::customers;
use crate::store::overage_invoices::{self, Invoice, Outcome, State};
use crate::store::pool::{self, StoreError};

/// How long a claim holds; longer than the provider's calls may take with their retries.
const CLAIMED_FOR: TimeDelta = TimeDelta::minutes(2);
/// Longest wait between two attempts where the provider is away.
const LONGEST_ABSENCE: TimeDelta = TimeDelta::minutes(5);
/// Longest wait that a provider can ask for.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// Why there is nothing new of an invoice.
#[derive(Debug, thiserror::Error)]
enum NotAttended {
    #[error("{0}")]
    Provider(#[from] ProviderError),
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
}

impl NotAttended {
    /// Whether waiting alone does not help.
    const fn needs_a_person(&self) -> bool {
        match self {
            Self::Provider(error) => matches!(
                error,
                ProviderError::NotFound
                    | ProviderError::Rejected { .. }
                    | ProviderError::Unsupported { .. }
            ),
            Self::Mismatch(_) => true,
        }
    }
}

/// An invoice that a worker holds, with who pays it.
struct Claimed {
    invoice: Invoice,
    name: Option<String>,
    email: Option<String>,
}

/// Attends to the invoice that is due first. Returns `false` where none is.
pub(super) async fn attend_next(context: &Context) -> Result<bool, StoreError> {
    let Some(claimed) = claim(context).await? else {
        return Ok(false);
    };
    let provider = claimed.invoice.provider.parse::<ProviderName>().ok();
    let Some(storefront) = provider.and_then(|name| context.storefront(name)) else {
        // Only what a storefront takes was claimed.
        return Ok(false);
    };
    match link_of(context, storefront, &claimed).await {
        Ok(link) => note(context, claimed.invoice, link).await?,
        Err(error) => postpone(context, claimed.invoice, error.into()).await?,
    }
    Ok(true)
}

async fn claim(context: &Context) -> Result<Option<Claimed>, StoreError> {
    let billers = context.link_billers();
    if billers.is_empty() {
        return Ok(None);
    }
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let names: Vec<&str> = billers.iter().map(|biller| biller.name.as_str()).collect();
            let now = deciding_time(conn, clock.as_ref())?;
            let claimed = overage_invoices::claim(conn, &names, now, now + CLAIMED_FOR)?;
            let Some(invoice) = claimed else {
                return Ok(None);
            };
            let customer = customers::find(conn, &invoice.customer_id)?;
            let (name, email) = customer
                .map(|customer| (customer.name, customer.email))
                .unwrap_or_default();
            Ok(Some(Claimed {
                invoice,
                name,
                email,
            }))
        })
    })
    .await
}

/// The invoice's link as it is now; the first time it is made.
async fn link_of(
    context: &Context,
    storefront: &Storefront,
    claimed: &Claimed,
) -> Result<PaymentLink, ProviderError> {
    let invoice = &claimed.invoice;
    if let Some(id) = &invoice.provider_link_id {
        return storefront.provider.payment_link(id).await;
    }
    let return_url = context.return_urls.success_url.as_ref();
    let request = PaymentLinkRequest {
        reference: invoice.reference.clone(),
        amount: invoice.amount,
        currency: invoice.currency.clone(),
        description: invoice.description.clone(),
        customer_id: invoice.customer_id.clone(),
        name: claimed.name.clone(),
        email: claimed.email.clone(),
        return_url: return_url.map(ToString::to_string),
    };
    storefront.provider.create_payment_link(&request).await
}

/// Writes down what the provider says of the link.
async fn note(context: &Context, invoice: Invoice, link: PaymentLink) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    let noted = pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            match settle(conn, &invoice, &link, now)? {
                Err(mismatch) => return Ok(Err((invoice, mismatch))),
                Ok(()) if link.status != LinkStatus::Open => return Ok(Ok(())),
                Ok(()) => {}
            }
            let is_new = invoice.is(State::Sealed);
            let outcome = if is_new {
                Outcome::Asked {
                    link_id: &link.id,
                    url: &link.url,
                }
            } else {
                Outcome::Postponed(None)
            };
            let look_at = now + LOOK_AGAIN + jitter(&invoice);
            let held = overage_invoices::put_down(conn, &invoice, outcome, look_at, now)?;
            if held && is_new {
                let (customer_id, invoice_id) = (&invoice.customer_id, invoice.invoice_id);
                tracing::info!(customer_id, %invoice_id, amount = invoice.amount, link = link.id,
                    "overage is asked for with a payment link");
            }
            Ok::<_, StoreError>(Ok(()))
        })
    })
    .await?;
    match noted {
        Ok(()) => Ok(()),
        Err((invoice, mismatch)) => postpone(context, invoice, mismatch.into()).await,
    }
}

/// Keeps an invoice for later, with the reason.
async fn postpone(
    context: &Context,
    invoice: Invoice,
    error: NotAttended,
) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let reason = error.to_string();
        let outcome = Outcome::Postponed(Some(&reason));
        let next: DateTime<Utc> = now + patience(&invoice, &error);
        let (customer_id, invoice_id, attempts) = (
            &invoice.customer_id,
            invoice.invoice_id,
            invoice.attempts,
        );
        if !overage_invoices::put_down(conn, &invoice, outcome, next, now)? {
            tracing::debug!(customer_id, %invoice_id, "another worker is at the invoice, or news was quicker");
        } else if error.needs_a_person() {
            tracing::error!(customer_id, %invoice_id, attempts, %error,
                "overage cannot be asked for: an operator must see to it; it is kept and tried again");
        } else {
            tracing::warn!(customer_id, %invoice_id, attempts, %error, "overage was not asked for");
        }
        Ok(())
    })
    .await
}

/// How long to wait after an attempt.
fn patience(invoice: &Invoice, error: &NotAttended) -> TimeDelta {
    let wait = if error.needs_a_person() {
        NEEDS_A_PERSON
    } else {
        let exponent = u32::try_from(invoice.attempts).unwrap_or(0).min(12);
        TimeDelta::seconds(1i64 << exponent).min(LONGEST_ABSENCE)
    };
    let asked = match error {
        NotAttended::Provider(ProviderError::Unavailable {
            retry_after: Some(asked),
            ..
        }) => TimeDelta::from_std(*asked)
            .unwrap_or(LONGEST_WAIT)
            .min(LONGEST_WAIT),
        _ => TimeDelta::zero(),
    };
    wait.max(asked) + jitter(invoice)
}

/// Spread by the invoice's own id and the attempt, so that what failed together does not come back together.
fn jitter(invoice: &Invoice) -> TimeDelta {
    let spread = crc32fast::hash(invoice.invoice_id.as_bytes())
        ^ crc32fast::hash(&invoice.attempts.to_le_bytes());
    TimeDelta::milliseconds(i64::from(spread % 1000))
}
