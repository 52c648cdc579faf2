//! Invoices, what paid them, and what went back.

use serde::Deserialize;

use super::{HasId, Identified, Reference, null_as_default};
use crate::providers::DisputeState;

/// `invoice`, in answers and in events.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Invoice {
    /// Absent for one that was only previewed.
    id: Option<String>,
    /// In minor units.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) amount_paid: i64,
    created: Option<i64>,
    status: Option<String>,
    billing_reason: Option<String>,
    /// Before API version 2025-03-31.
    subscription: Option<Reference<Identified>>,
    parent: Option<InvoiceParent>,
}

#[derive(Debug, Deserialize)]
struct InvoiceParent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Debug, Deserialize)]
struct SubscriptionDetails {
    subscription: Option<Reference<Identified>>,
}

impl Invoice {
    /// Since when a renewal is unpaid, in Unix seconds: from the invoice of it on.
    pub(super) fn unpaid_since(&self) -> Option<i64> {
        let renews = self.billing_reason.as_deref() == Some("subscription_cycle");
        let unpaid = matches!(self.status.as_deref(), Some("open" | "uncollectible"));
        self.created.filter(|_| renews && unpaid)
    }

    /// Whether it tells that something was paid, now or before: there is a later invoice only of what was paid once.
    pub(super) fn tells_of_payment(&self) -> bool {
        self.status.as_deref() == Some("paid")
            || self.billing_reason.as_deref() == Some("subscription_cycle")
    }
    /// The subscription it bills.
    pub(in super::super) fn into_subscription_id(self) -> Option<String> {
        self.parent
            .and_then(|parent| parent.subscription_details)
            .and_then(|details| details.subscription)
            .or(self.subscription)
            .map(Reference::into_id)
    }
}

impl HasId for Invoice {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

/// `invoice_payment`: which payment paid which invoice.
#[derive(Debug, Deserialize)]
pub(in super::super) struct InvoicePayment {
    id: String,
    /// What was paid.
    pub(in super::super) invoice: Option<Reference<Identified>>,
    /// What paid it.
    pub(in super::super) payment: Option<PaymentOf>,
}

/// A payment by its kind. Money that came some other way has neither, and cannot be given back from here.
#[derive(Debug, Deserialize)]
pub(in super::super) struct PaymentOf {
    payment_intent: Option<Reference<Identified>>,
    charge: Option<Reference<Identified>>,
}

/// A payment that can be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Payment {
    /// `pi_…`
    Intent(String),
    /// `ch_…`
    Charge(String),
}

impl PaymentOf {
    /// The intent before the charge, which is its part.
    pub(in super::super) fn into_payment(self) -> Option<Payment> {
        match (self.payment_intent, self.charge) {
            (Some(intent), _) => Some(Payment::Intent(intent.into_id())),
            (None, Some(charge)) => Some(Payment::Charge(charge.into_id())),
            (None, None) => None,
        }
    }
}

impl HasId for InvoicePayment {
    fn id(&self) -> &str {
        &self.id
    }
}

/// `charge`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Charge {
    /// Its id.
    pub(in super::super) id: String,
    /// In minor units.
    pub(in super::super) amount: i64,
    /// What went back or is on its way back, in minor units.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) amount_refunded: i64,
    /// ISO 4217 code.
    pub(in super::super) currency: String,
    /// Who paid.
    pub(in super::super) customer: Option<Reference<Identified>>,
    /// Whether the payer's bank ever asked for it back.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) disputed: bool,
    /// Before API version 2025-03-31: what it paid.
    pub(in super::super) invoice: Option<Reference<Identified>>,
    /// What it is a part of.
    pub(in super::super) payment_intent: Option<Reference<Identified>>,
}

/// `refund`, in answers and in events.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Refund {
    id: String,
    amount: i64,
    status: Option<String>,
}

impl Refund {
    /// What went back or is on its way, in minor units.
    pub(in super::super) fn amount_back(&self) -> i64 {
        match self.status.as_deref() {
            Some("failed" | "canceled") => 0,
            _ => self.amount,
        }
    }
}

impl HasId for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

/// `dispute`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Dispute {
    id: String,
    status: Option<String>,
}

impl Dispute {
    fn state(&self) -> DisputeState {
        match self.status.as_deref() {
            Some("lost") => DisputeState::Lost,
            // An inquiry that ended without becoming a dispute.
            Some("won" | "warning_closed") => DisputeState::Won,
            _ => DisputeState::UnderReview,
        }
    }
}

impl HasId for Dispute {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Where several disputes of one payment leave it. Stripe says that there are some, so an empty list is one that it does not show yet.
pub(in super::super) fn dispute_state(disputes: &[Dispute]) -> DisputeState {
    let any = |state| disputes.iter().any(|dispute| dispute.state() == state);
    if any(DisputeState::Lost) {
        DisputeState::Lost
    } else if disputes.is_empty() || any(DisputeState::UnderReview) {
        DisputeState::UnderReview
    } else {
        DisputeState::Won
    }
}
