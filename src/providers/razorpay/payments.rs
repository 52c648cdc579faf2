//! What was paid, what it paid for, and whether it is disputed.

use super::Razorpay;
use super::event::borne_by;
use super::objects::{Dispute, Invoice, Payment, dispute_state};
use super::wire::PAGE;
use crate::providers::wire::path_id;
use crate::providers::{DisputeState, PaidFor, ProviderCharge, ProviderError};

/// How many pages of disputes are looked through, newest first: no list can be had of one payment's, and a payment that is asked about is
/// rarely older than this.
const PAGES_OF_DISPUTES: usize = 10;

impl Razorpay {
    pub(super) async fn look_at_one_payment(&self, id: &str) -> Result<Payment, ProviderError> {
        self.get(&format!("/payments/{}", path_id(id)?), &[]).await
    }

    pub(super) async fn look_at_payment(
        &self,
        id: &str,
        told_by: &[u8],
    ) -> Result<ProviderCharge, ProviderError> {
        let payment = match self.look_at_one_payment(id).await {
            Err(ProviderError::NotFound) => borne_by(told_by, "payment")
                .filter(|payment: &Payment| payment.id == id)
                .ok_or(ProviderError::NotFound)?,
            outcome => outcome?,
        };
        let paid_for = self.paid_for(payment.invoice_id.as_deref()).await?;
        let dispute = self.dispute_of(id, told_by).await?;
        payment.normalize(paid_for, dispute)
    }

    async fn paid_for(&self, invoice_id: Option<&str>) -> Result<PaidFor, ProviderError> {
        let Some(invoice_id) = invoice_id else {
            return Ok(PaidFor::Other);
        };
        let path = format!("/invoices/{}", path_id(invoice_id)?);
        match self.get::<Invoice>(&path, &[]).await {
            Err(ProviderError::NotFound) => Ok(PaidFor::Unknown),
            outcome => outcome.map(Invoice::paid_for),
        }
    }

    /// Where all disputes of the payment leave it. An event that came late tells of one that others have followed, so all are looked
    /// for; and the one it tells of is asked for by its id where the list does not reach back to it.
    async fn dispute_of(
        &self,
        payment_id: &str,
        told_by: &[u8],
    ) -> Result<Option<DisputeState>, ProviderError> {
        let is_its = |dispute: &Dispute| dispute.payment_id.as_deref() == Some(payment_id);
        let told = borne_by(told_by, "dispute").filter(is_its);
        let mut found = shown(self.disputes_of(payment_id).await)?.unwrap_or_default();
        if let Some(told) = told.filter(|told| found.iter().all(|other| other.id != told.id)) {
            let now = shown(self.look_at_dispute(&told.id).await)?;
            found.push(now.unwrap_or(told));
        }
        Ok(dispute_state(&found))
    }

    async fn disputes_of(&self, payment_id: &str) -> Result<Vec<Dispute>, ProviderError> {
        let mut found = Vec::new();
        for nth in 0..PAGES_OF_DISPUTES {
            let page: Vec<Dispute> = self.page("/disputes", &[], nth * PAGE).await?;
            let is_last = page.len() < PAGE;
            let its = |dispute: &Dispute| dispute.payment_id.as_deref() == Some(payment_id);
            found.extend(page.into_iter().filter(its));
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn look_at_dispute(&self, id: &str) -> Result<Dispute, ProviderError> {
        self.get(&format!("/disputes/{}", path_id(id)?), &[]).await
    }
}

/// `None` where the account is not shown its disputes: then the event's word is all there is.
fn shown<T>(outcome: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match outcome {
        Err(ProviderError::NotFound | ProviderError::Rejected { status: 403, .. }) => Ok(None),
        outcome => outcome.map(Some),
    }
}
