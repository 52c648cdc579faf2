//! What is sold, and where it is paid.

use serde::Deserialize;

use super::{Identified, Metadata, Reference, instant, null_as_default};
use crate::providers::{CheckoutSession, CheckoutStatus, ProviderError, ProviderPrice};

/// `price`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Price {
    id: String,
    active: bool,
    currency: String,
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
    recurring: Option<Recurring>,
}

/// How often a price is due.
#[derive(Debug, Deserialize)]
pub(super) struct Recurring {
    /// `day`, `week`, `month` or `year`.
    pub(super) interval: Option<String>,
    /// How many of them.
    pub(super) interval_count: Option<u32>,
    /// `licensed` or `metered`.
    pub(super) usage_type: Option<String>,
}

impl Price {
    /// In the core's words.
    pub(in super::super) fn normalize(self) -> ProviderPrice {
        let (interval, interval_count, usage_type) =
            self.recurring.map_or((None, None, None), |r| {
                (r.interval, r.interval_count, r.usage_type)
            });
        ProviderPrice {
            id: self.id,
            unit_amount: self.unit_amount,
            unit_amount_decimal: self.unit_amount_decimal,
            currency: self.currency.to_ascii_lowercase(),
            interval,
            interval_count,
            metered: usage_type.as_deref() == Some("metered"),
            active: self.active,
        }
    }
}

/// `checkout.session`, in answers and in events.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Session {
    /// Its id.
    pub(in super::super) id: String,
    status: Option<String>,
    url: Option<String>,
    expires_at: Option<i64>,
    /// `payment`, `setup` or `subscription`.
    pub(in super::super) mode: Option<String>,
    /// What it made.
    pub(in super::super) subscription: Option<Reference<Identified>>,
    /// Our id for it. A payment link's visitor can set this, so the metadata goes before it.
    pub(in super::super) client_reference_id: Option<String>,
    /// Our own marks.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(in super::super) metadata: Metadata,
}

impl Session {
    /// In the core's words.
    pub(in super::super) fn normalize(self) -> Result<CheckoutSession, ProviderError> {
        let status = match self.status.as_deref() {
            Some("open") => CheckoutStatus::Open,
            Some("complete") => CheckoutStatus::Complete,
            Some("expired") => CheckoutStatus::Expired,
            other => {
                let reason = format!("checkout session with status {other:?}");
                return Err(ProviderError::Unreadable { reason });
            }
        };
        Ok(CheckoutSession {
            id: self.id,
            url: self.url,
            status,
            expires_at: instant(self.expires_at),
            provider_subscription_id: self.subscription.map(Reference::into_id),
        })
    }
}

/// `billing_portal.session`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Portal {
    /// Where the customer goes.
    pub(in super::super) url: String,
}
