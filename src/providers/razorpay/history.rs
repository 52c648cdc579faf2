//! What Razorpay remembers: all subscriptions. It keeps no list of its events.

use serde_json::json;
use serde_json::value::RawValue;

use super::objects::Subscription;
use super::wire::PAGE;
use super::{Razorpay, event};
use crate::domain::provider_event::{Hint, IncomingEvent, ProviderSubscription};
use crate::providers::wire::{each_readable, read};
use crate::providers::{Page, PastEvent, ProviderError};

/// What events that are made here are called.
const ABOUT: &str = "subscription.updated";

impl Razorpay {
    /// A page is named by how many come before it. What is made meanwhile moves them on, so that some are seen twice and none is missed.
    pub(super) async fn all_subscriptions(
        &self,
        page: Option<&str>,
    ) -> Result<Page<ProviderSubscription>, ProviderError> {
        let skip: usize = page.map_or(Ok(0), |page| {
            page.parse().map_err(|_| ProviderError::NotFound)
        })?;
        let list: Vec<Box<RawValue>> = self.page("/subscriptions", &[], skip).await?;
        let is_last = list.len() < PAGE;
        Ok(Page {
            items: each_readable("Razorpay subscriptions", &list, |body| {
                let read = read::<Subscription>(body).map_err(|error| error.to_string())?;
                Ok(read.normalize())
            }),
            next: (!is_last).then(|| skip.saturating_add(PAGE).to_string()),
        })
    }

    pub(super) fn made_event(&self, subscription_id: &str, event_id: &str) -> PastEvent {
        let body = json!({
            "entity": "event",
            "event": ABOUT,
            "contains": ["subscription"],
            "payload": {"subscription": {"entity": {"id": subscription_id, "entity": "subscription"}}},
        });
        let body = body.to_string().into_bytes();
        PastEvent {
            event: IncomingEvent {
                event_id: event::id(Some(event_id.to_owned()), &body),
                event_type: ABOUT.to_owned(),
                livemode: self.livemode,
                hint: Hint::Subscription {
                    provider_subscription_id: subscription_id.to_owned(),
                },
            },
            body,
        }
    }
}
