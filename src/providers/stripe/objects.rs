//! Stripe's objects, read tolerantly: only the fields in use, each optional where some API version leaves it out, every
//! reference an id or the whole object, statuses as words that are understood late.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

use crate::domain::provider_event::{ProviderStatus, ProviderSubscription};
use crate::domain::subscription::{PlanRef, SubscriptionStatus};
use crate::providers::{CheckoutSession, CheckoutStatus, ProviderError, ProviderPrice};

/// A reference that Stripe sends as an id, or as the object where it was expanded.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Reference<T> {
    /// The id alone.
    Id(String),
    /// The object.
    Object(T),
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
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Metadata(HashMap<String, String>);

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

/// `subscription`.
#[derive(Debug, Deserialize)]
pub(super) struct Subscription {
    id: String,
    status: String,
    customer: Option<Reference<Identified>>,
    #[serde(default, deserialize_with = "null_as_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    items: Items,
    pause_collection: Option<serde_json::Value>,
    /// Before API version 2025-03-31 the period stood here, since then on the items.
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    billing_cycle_anchor: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    cancel_at_period_end: bool,
    cancel_at: Option<i64>,
    ended_at: Option<i64>,
    trial_end: Option<i64>,
    start_date: Option<i64>,
    created: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
struct Items {
    #[serde(default, deserialize_with = "null_as_default")]
    data: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    price: Option<Reference<ItemPrice>>,
    /// What a price was called before 2020; still sent beside it.
    plan: Option<Reference<ItemPlan>>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct ItemPrice {
    id: String,
    recurring: Option<Recurring>,
}

#[derive(Debug, Deserialize)]
struct ItemPlan {
    id: String,
    usage_type: Option<String>,
}

impl Item {
    fn price_id(&self) -> Option<&str> {
        match (&self.price, &self.plan) {
            (Some(Reference::Id(id) | Reference::Object(ItemPrice { id, .. })), _)
            | (None, Some(Reference::Id(id) | Reference::Object(ItemPlan { id, .. }))) => Some(id),
            (None, None) => None,
        }
    }

    fn is_metered(&self) -> bool {
        let by_price = match &self.price {
            Some(Reference::Object(price)) => price
                .recurring
                .as_ref()
                .and_then(|r| r.usage_type.as_deref()),
            _ => None,
        };
        let by_plan = match &self.plan {
            Some(Reference::Object(plan)) => plan.usage_type.as_deref(),
            _ => None,
        };
        by_price.or(by_plan) == Some("metered")
    }

    fn period(&self) -> Option<(i64, i64)> {
        self.current_period_start.zip(self.current_period_end)
    }
}

impl Subscription {
    /// The period of the first item that is charged flat; failing that of any item; failing that the subscription's.
    fn period(&self) -> Option<(i64, i64)> {
        let flat = self
            .items
            .data
            .iter()
            .filter(|item| !item.is_metered())
            .find_map(Item::period);
        flat.or_else(|| self.items.data.iter().find_map(Item::period))
            .or_else(|| self.current_period_start.zip(self.current_period_end))
    }

    /// Paused collection leaves Stripe's status as it was, and here counts as a pause while anything is left to pause.
    fn normalized_status(&self) -> ProviderStatus {
        let status = match self.status.as_str() {
            // A word of ours that Stripe does not use: coming from there it would mean something unknown.
            "expired" => ProviderStatus::Unknown("expired".to_owned()),
            word => ProviderStatus::parse(word),
        };
        match status {
            ProviderStatus::Known(
                SubscriptionStatus::Trialing
                | SubscriptionStatus::Active
                | SubscriptionStatus::PastDue
                | SubscriptionStatus::Unpaid,
            ) if self.pause_collection.is_some() => {
                ProviderStatus::Known(SubscriptionStatus::Paused)
            }
            status => status,
        }
    }

    /// In the core's words.
    pub(super) fn normalize(self) -> ProviderSubscription {
        let (start, end) = self.period().unzip();
        ProviderSubscription {
            status: self.normalized_status(),
            customer_id: self.metadata.get("customer_id").map(str::to_owned),
            sold_as: self.metadata.sold_as(),
            price_ids: self
                .items
                .data
                .iter()
                .filter_map(Item::price_id)
                .map(str::to_owned)
                .collect(),
            current_period_start: instant(start),
            current_period_end: instant(end),
            anchor: instant(self.billing_cycle_anchor),
            cancel_at_period_end: self.cancel_at_period_end,
            cancel_at: instant(self.cancel_at),
            ended_at: instant(self.ended_at),
            trial_end: instant(self.trial_end),
            started_at: instant(self.start_date.or(self.created)),
            planned: None,
            change_unpaid: false,
            provider_customer_id: self.customer.map(Reference::into_id),
            id: self.id,
        }
    }
}

/// `price`.
#[derive(Debug, Deserialize)]
pub(super) struct Price {
    id: String,
    active: bool,
    currency: String,
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
    recurring: Option<Recurring>,
}

#[derive(Debug, Deserialize)]
struct Recurring {
    interval: Option<String>,
    interval_count: Option<u32>,
    usage_type: Option<String>,
}

impl Price {
    /// In the core's words.
    pub(super) fn normalize(self) -> ProviderPrice {
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
pub(super) struct Session {
    /// Its id.
    pub(super) id: String,
    status: Option<String>,
    url: Option<String>,
    expires_at: Option<i64>,
    /// `payment`, `setup` or `subscription`.
    pub(super) mode: Option<String>,
    /// What it made.
    pub(super) subscription: Option<Reference<Identified>>,
    /// Our id for it. A payment link's visitor can set this, so the metadata goes before it.
    pub(super) client_reference_id: Option<String>,
    /// Our own marks.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) metadata: Metadata,
}

impl Session {
    /// In the core's words.
    pub(super) fn normalize(self) -> Result<CheckoutSession, ProviderError> {
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
