//! What Stripe remembers: its events of the last weeks, and all subscriptions.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use serde_json::value::RawValue;
use stripe_billing::subscription::{ListSubscription, ListSubscriptionStatus};
use stripe_core::event::ListEvent;
use stripe_types::RangeQueryTs;

use super::objects::{List, Subscription};
use super::wire::{PAGE, read};
use super::{Stripe, event};
use crate::domain::provider_event::{Hint, IncomingEvent, ProviderSubscription};
use crate::providers::wire::{each_readable, id_of};
use crate::providers::{Page, PastEvent, ProviderError};

/// How long Stripe keeps its events.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(30);

/// What events that are made here are called.
const ABOUT: &str = "customer.subscription.updated";

/// The events that give hints. Stripe takes at most twenty names: those are left out that never come without one of these.
pub(super) const TELLING: [&str; 20] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "invoice.created",
    "invoice.paid",
    "invoice.payment_failed",
    "charge.refunded",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.closed",
    "customer.deleted",
];

impl Stripe {
    pub(super) async fn past_events(
        &self,
        since: DateTime<Utc>,
        page: Option<&str>,
    ) -> Result<Page<PastEvent>, ProviderError> {
        let mut request = ListEvent::new()
            .created(RangeQueryTs::gte(since.timestamp()))
            .types(TELLING.map(str::to_owned))
            .limit(PAGE);
        if let Some(page) = page {
            request = request.starting_after(page);
        }
        let list: List<Box<RawValue>> = self.send(&request, None).await?;
        Ok(one_by_one("Stripe events", list, |body| {
            let event = event::parse(body).map_err(|error| error.to_string())?;
            Ok(PastEvent {
                event,
                body: body.to_vec(),
            })
        }))
    }

    pub(super) async fn all_subscriptions(
        &self,
        page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError> {
        let mut request = ListSubscription::new()
            .status(ListSubscriptionStatus::All)
            .expand(["data.schedule", "data.latest_invoice"].map(str::to_owned))
            .limit(PAGE);
        if let Some(page) = page {
            request = request.starting_after(page);
        }
        let list: List<Box<RawValue>> = self.send(&request, None).await?;
        Ok(one_by_one("Stripe subscriptions", list, |body| {
            let read = read::<Subscription>(body).map_err(|error| error.to_string())?;
            Ok(read.normalize())
        }))
    }

    pub(super) fn made_event(&self, subscription_id: &str, event_id: &str) -> PastEvent {
        let body = json!({
            "id": event_id,
            "object": "event",
            "type": ABOUT,
            "livemode": self.livemode,
            "data": {"object": {"id": subscription_id, "object": "subscription"}},
        });
        PastEvent {
            event: IncomingEvent {
                event_id: event_id.to_owned(),
                event_type: ABOUT.to_owned(),
                livemode: self.livemode,
                hint: Hint::Subscription {
                    provider_subscription_id: subscription_id.to_owned(),
                },
            },
            body: body.to_string().into_bytes(),
        }
    }
}

/// The first instant of which all events are still known.
pub(super) fn events_known_since(now: DateTime<Utc>) -> DateTime<Utc> {
    now - EVENTS_KEPT
}

/// What of a list can be read, and where it goes on.
fn one_by_one<T>(
    what: &'static str,
    list: List<Box<RawValue>>,
    read_one: impl Fn(&[u8]) -> Result<T, String>,
) -> Page<T> {
    let mut ids = list.data.iter().rev().filter_map(|item| id_of(item));
    Page {
        items: each_readable(what, &list.data, read_one),
        next: ids.next().filter(|_| list.has_more),
    }
}
