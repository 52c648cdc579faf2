//! What was paid, what went back of it, and giving it back.

use serde::Deserialize;
use stripe_billing::invoice::{ListInvoice, RetrieveInvoice};
use stripe_billing::invoice_payment::{
    ListInvoicePayment, ListInvoicePaymentPayment, ListInvoicePaymentPaymentType,
    ListInvoicePaymentStatus,
};
use stripe_core::charge::RetrieveCharge;
use stripe_core::dispute::ListDispute;
use stripe_core::refund::{CreateRefund, ListRefund};
use stripe_shared::InvoiceStatus;

use super::Stripe;
use super::objects::{
    Charge, Dispute, HasId as _, Identified, Invoice, InvoicePayment, List, Payment, PaymentOf,
    Reference, Refund, dispute_state,
};
use super::wire::{PAGE, path_id, read};
use crate::providers::{DisputeState, PaidFor, ProviderCharge, ProviderError};

impl Stripe {
    pub(super) async fn give_latest_payment_back(
        &self,
        subscription_id: &str,
        idempotency_key: &str,
    ) -> Result<bool, ProviderError> {
        let Some(invoice_id) = self.latest_paid_invoice(path_id(subscription_id)?).await? else {
            return Ok(false);
        };
        let payments: Vec<InvoicePayment> = self
            .list(|after| {
                let request = ListInvoicePayment::new()
                    .invoice(invoice_id.clone())
                    .status(ListInvoicePaymentStatus::Paid)
                    .limit(PAGE);
                match after {
                    Some(after) => request.starting_after(after),
                    None => request,
                }
            })
            .await?;
        let payments: Vec<Payment> = payments
            .into_iter()
            .filter_map(|of| of.payment.and_then(PaymentOf::into_payment))
            .collect();
        for (nth, payment) in payments.iter().enumerate() {
            // Nearly always there is one. More of them need a key each, the same ones every time.
            let key = match nth {
                0 => idempotency_key.to_owned(),
                nth => format!("{idempotency_key}:{nth}"),
            };
            self.give_back(payment, &key).await?;
        }
        Ok(!payments.is_empty())
    }

    async fn latest_paid_invoice(
        &self,
        subscription_id: &str,
    ) -> Result<Option<String>, ProviderError> {
        let mut after: Option<String> = None;
        loop {
            let mut request = ListInvoice::new()
                .subscription(subscription_id.to_owned())
                .status(InvoiceStatus::Paid)
                .limit(PAGE);
            if let Some(after) = after.take() {
                request = request.starting_after(after);
            }
            let page: List<Invoice> = self.send(&request, None).await?;
            if let Some(paid) = page.data.iter().find(|invoice| invoice.amount_paid > 0) {
                return Ok(Some(paid.id().to_owned()));
            }
            match page.data.last().filter(|_| page.has_more) {
                Some(last) => after = Some(last.id().to_owned()),
                None => return Ok(None),
            }
        }
    }

    /// All that is left of the payment.
    async fn give_back(&self, payment: &Payment, key: &str) -> Result<(), ProviderError> {
        let request = match payment {
            Payment::Intent(id) => CreateRefund::new().payment_intent(id.clone()),
            Payment::Charge(id) => CreateRefund::new().charge(id.clone()),
        };
        match self.send::<Identified>(&request, Some(key)).await {
            Err(ProviderError::Rejected {
                code: Some(code), ..
            }) if code == "charge_already_refunded" => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    pub(super) async fn look_at_charge(&self, id: &str) -> Result<ProviderCharge, ProviderError> {
        let charge: Charge = self.send(&RetrieveCharge::new(path_id(id)?), None).await?;
        let refunds = self.list::<Refund, _>(|after| {
            let request = ListRefund::new().charge(charge.id.clone()).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        });
        let amount_refunded = match refunds.await {
            Ok(refunds) => refunds
                .iter()
                .map(Refund::amount_back)
                .fold(0, i64::saturating_add),
            Err(ProviderError::NotFound) => charge.amount_refunded,
            Err(error) => return Err(error),
        };
        let dispute = if charge.disputed {
            let disputes: Vec<Dispute> = self
                .list(|after| {
                    let request = ListDispute::new().charge(charge.id.clone()).limit(PAGE);
                    match after {
                        Some(after) => request.starting_after(after),
                        None => request,
                    }
                })
                .await?;
            Some(dispute_state(&disputes))
        } else {
            None
        };
        let paid_for = match self
            .paid_with(charge.invoice.as_ref(), charge.payment_intent.as_ref())
            .await
        {
            Err(ProviderError::NotFound) => PaidFor::Unknown,
            outcome => outcome?,
        };
        Ok(ProviderCharge {
            paid_for,
            amount_refunded,
            dispute,
            ..charge.normalize()
        })
    }

    async fn paid_with(
        &self,
        invoice: Option<&Reference<Identified>>,
        intent: Option<&Reference<Identified>>,
    ) -> Result<PaidFor, ProviderError> {
        let invoice_id = match (invoice, intent) {
            (Some(invoice), _) => Some(invoice.id().to_owned()),
            (None, Some(intent)) => self.invoice_paid_by(intent.id().to_owned()).await?,
            (None, None) => None,
        };
        let Some(invoice_id) = invoice_id else {
            return Ok(PaidFor::Other);
        };
        let request = RetrieveInvoice::new(path_id(&invoice_id)?);
        let invoice: Invoice = self.send(&request, None).await?;
        let subscription = invoice.into_subscription_id();
        Ok(subscription.map_or(PaidFor::Other, PaidFor::Subscription))
    }

    async fn invoice_paid_by(&self, intent_id: String) -> Result<Option<String>, ProviderError> {
        let mut payment =
            ListInvoicePaymentPayment::new(ListInvoicePaymentPaymentType::PaymentIntent);
        payment.payment_intent = Some(intent_id);
        let request = ListInvoicePayment::new().payment(payment).limit(1);
        let found: List<InvoicePayment> = self.send(&request, None).await?;
        let first = found.data.into_iter().next();
        Ok(first.and_then(|of| of.invoice).map(Reference::into_id))
    }
}

/// The payment that an event is about, as it was then.
pub(super) fn charge_in(body: &[u8]) -> Option<ProviderCharge> {
    let event: ChargeEvent = read(body).ok()?;
    let charge = event.data.object;
    (charge.object == "charge").then(|| charge.charge.normalize())
}

#[derive(Deserialize)]
struct ChargeEvent {
    data: ChargeEventData,
}

#[derive(Deserialize)]
struct ChargeEventData {
    object: ShownCharge,
}

#[derive(Deserialize)]
struct ShownCharge {
    object: String,
    #[serde(flatten)]
    charge: Charge,
}

impl Charge {
    /// In the core's words, as far as it tells by itself.
    fn normalize(self) -> ProviderCharge {
        ProviderCharge {
            id: self.id,
            provider_customer_id: self.customer.map(Reference::into_id),
            paid_for: PaidFor::Unknown,
            amount: self.amount,
            amount_refunded: self.amount_refunded,
            currency: self.currency.to_ascii_lowercase(),
            dispute: self.disputed.then_some(DisputeState::UnderReview),
        }
    }
}
