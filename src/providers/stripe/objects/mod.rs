//! Stripe's objects, read tolerantly: only the fields in use, each optional where some API version leaves it out, every
//! reference an id or the whole object, statuses as words that are understood late.

mod payment;
mod sale;
mod schedule;
mod subscription;
mod usage;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

pub(super) use payment::{
    Charge, Dispute, Invoice, InvoicePayment, Payment, PaymentOf, Refund, dispute_state,
};
pub(super) use sale::{Portal, Price, Session};
pub(super) use schedule::{Phase, PhaseDiscount, PhaseItem, Schedule};
pub(super) use subscription::{Cancellation, Item, Subscription};
pub(super) use usage::{Meter, MeterErrorReport, Summary};

use crate::domain::subscription::PlanRef;

/// A reference that Stripe sends as an id, or as the object where it was expanded.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Reference<T> {
    /// The id alone.
    Id(String),
    /// The object.
    Object(T),
}

impl<T> Reference<T> {
    /// The object, where it was expanded.
    pub(super) const fn object(&self) -> Option<&T> {
        match self {
            Self::Id(_) => None,
            Self::Object(object) => Some(object),
        }
    }
}

impl<T: HasId> Reference<T> {
    /// The id, however it came.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Object(object) => object.id(),
        }
    }
}

/// One page of any list.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    /// The items.
    pub(super) data: Vec<T>,
    /// Whether there are items after these.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) has_more: bool,
}

/// What a list is paged by.
pub(super) trait HasId {
    /// The id.
    fn id(&self) -> &str;
}

impl HasId for Identified {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Any object of which only the id matters.
#[derive(Debug, Deserialize)]
pub(super) struct Identified {
    /// Its id.
    pub(super) id: String,
}

impl Reference<Identified> {
    /// The id, however it came.
    pub(super) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object(Identified { id }) => id,
        }
    }
}

/// Our own marks on Stripe's objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Metadata(pub(super) HashMap<String, String>);

impl Metadata {
    /// The value of our mark, unless blank.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The plan that our marks name.
    fn sold_as(&self) -> Option<PlanRef> {
        Some(PlanRef {
            tier: self.get("plan_tier")?.to_owned(),
            version: self.get("plan_version")?.parse().ok()?,
        })
    }
}

/// `null` for a list or a map means an empty one.
pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Unix seconds as Stripe writes all its times.
pub(super) fn instant(seconds: Option<i64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds?, 0)
}

/// The body of every refusal.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    /// What was wrong.
    #[serde(default)]
    pub(super) error: ErrorDetail,
}

/// Stripe's account of what was wrong.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorDetail {
    /// A finer reason than the type, where there is one.
    pub(super) code: Option<String>,
    /// Such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// For people.
    pub(super) message: Option<String>,
    /// The parameter at fault.
    pub(super) param: Option<String>,
}
