//! Subscriptions.

use serde::Deserialize;

use super::sale::Recurring;
use super::{HasId, Identified, Invoice, Metadata, Reference, Schedule, instant, null_as_default};
use crate::domain::provider_event::{ProviderStatus, ProviderSubscription};
use crate::domain::subscription::SubscriptionStatus;

/// How an end is foreseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Cancellation {
    /// With the period.
    AtPeriodEnd,
    /// At an instant that was given.
    AtInstant,
}

/// `subscription`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Subscription {
    /// Its id.
    pub(in super::super) id: String,
    status: String,
    customer: Option<Reference<Identified>>,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Our own marks, and others'.
    pub(in super::super) metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    items: Items,
    pause_collection: Option<serde_json::Value>,
    pending_update: Option<PendingUpdate>,
    schedule: Option<Reference<Schedule>>,
    latest_invoice: Option<Reference<Invoice>>,
    collection_method: Option<String>,
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

/// A change that waits for its payment.
#[derive(Debug, Deserialize)]
struct PendingUpdate {
    #[serde(default, deserialize_with = "null_as_default")]
    subscription_items: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
struct Items {
    #[serde(default, deserialize_with = "null_as_default")]
    data: Vec<Item>,
}

/// `subscription_item`.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Item {
    /// Its id.
    pub(in super::super) id: Option<String>,
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
    /// The price's id.
    pub(in super::super) fn price_id(&self) -> Option<&str> {
        match (&self.price, &self.plan) {
            (Some(Reference::Id(id) | Reference::Object(ItemPrice { id, .. })), _)
            | (None, Some(Reference::Id(id) | Reference::Object(ItemPlan { id, .. }))) => Some(id),
            (None, None) => None,
        }
    }

    /// Whether its quantity comes from reported usage.
    pub(in super::super) fn is_metered(&self) -> bool {
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

    /// How often it is due, by the provider's word and the number of these.
    pub(in super::super) fn interval(&self) -> Option<(&str, u32)> {
        let recurring = self.price.as_ref()?.object()?.recurring.as_ref()?;
        Some((
            recurring.interval.as_deref()?,
            recurring.interval_count.unwrap_or(1),
        ))
    }

    fn period(&self) -> Option<(i64, i64)> {
        self.current_period_start.zip(self.current_period_end)
    }
}

impl Subscription {
    /// What is paid for.
    pub(in super::super) fn items(&self) -> &[Item] {
        &self.items.data
    }

    /// The items of a change that waits for its payment.
    pub(in super::super) fn unpaid_items(&self) -> Option<&[Item]> {
        Some(&self.pending_update.as_ref()?.subscription_items)
    }

    /// What rules it.
    pub(in super::super) const fn schedule(&self) -> Option<&Reference<Schedule>> {
        self.schedule.as_ref()
    }

    /// Whether its invoices are charged, instead of being sent to somebody who pays them some time.
    pub(in super::super) fn is_charged(&self) -> bool {
        self.collection_method.as_deref() != Some("send_invoice")
    }

    /// Whether it will end, and by which of the two ways to say so.
    pub(in super::super) fn cancellation(&self) -> Option<Cancellation> {
        if self.cancel_at_period_end {
            Some(Cancellation::AtPeriodEnd)
        } else {
            self.cancel_at.map(|_| Cancellation::AtInstant)
        }
    }

    /// Whether its payments are not collected at present.
    pub(in super::super) const fn is_collection_paused(&self) -> bool {
        self.pause_collection.is_some()
    }

    /// Whether it waits to be resumed: a trial ended without a means of payment.
    pub(in super::super) fn is_paused(&self) -> bool {
        self.status == "paused"
    }

    /// Whether nothing can change it any more.
    pub(in super::super) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }

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
    pub(in super::super) fn normalize(self) -> ProviderSubscription {
        let (start, end) = self.period().unzip();
        let invoice = self.latest_invoice.as_ref().and_then(Reference::object);
        ProviderSubscription {
            was_paid: self.trial_end.is_some() || invoice.is_some_and(Invoice::tells_of_payment),
            // An invoice that is sent has weeks to be paid; only what is charged is late at once.
            unpaid_since: instant(
                invoice
                    .and_then(Invoice::unpaid_since)
                    .filter(|_| self.is_charged()),
            ),
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
            planned: self
                .schedule
                .as_ref()
                .and_then(Reference::object)
                .and_then(Schedule::planned),
            change_unpaid: self.pending_update.is_some(),
            provider_customer_id: self.customer.map(Reference::into_id),
            id: self.id,
        }
    }
}

impl HasId for Subscription {
    fn id(&self) -> &str {
        &self.id
    }
}
