//! Events that were missed while nobody answered the provider are fetched from it, and go through the inbox as if they had come.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::json;

use super::apply_event::open_here;
use super::context::{Context, Storefront};
use super::ingest_webhook::fate_of;
use crate::domain::provider_event::{Hint, ProviderName, ProviderStatus, ProviderSubscription};
use crate::providers::{PastEvent, ProviderError};
use crate::store::audit::{self, AuditRow};
use crate::store::clock::deciding_time;
use crate::store::inbox::{self, Delivery, Status};
use crate::store::pool::{self, StoreError};

/// What was fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Events that the provider told, those among them that are of no use here.
    pub fetched: u64,
    /// Events that were not known and are applied as soon as possible.
    pub queued: u64,
    /// Events that were known.
    pub duplicates: u64,
}

/// Why nothing, or not everything, was fetched. What was fetched until then is kept; the call may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The provider is not set up.
    #[error("the provider is not configured")]
    NotConfigured,
    /// Nothing has happened since then.
    #[error("must not be in the future")]
    Future,
    /// The provider did not tell. Its words are for operators.
    #[error("the payment provider failed or did not answer in time")]
    ProviderFailed(#[from] ProviderError),
    /// The database did not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fetches what happened since an instant. Where the provider does not remember that far back, every subscription is put into the
/// inbox to be looked at, too. `actor` is named in the audit log.
pub async fn backfill(
    context: &Context,
    actor: String,
    provider: ProviderName,
    since: DateTime<Utc>,
) -> Result<Backfilled, BackfillError> {
    let storefront = context
        .storefront(provider)
        .ok_or(BackfillError::NotConfigured)?;
    let now = context.clock().now();
    if since > now {
        return Err(BackfillError::Future);
    }
    note(context, actor, provider, since).await?;
    let mut all = Backfilled::default();
    let known_since = storefront.provider.events_known_since(now);
    if since < known_since {
        look_at_everything(context, storefront, now, &mut all).await?;
    }
    let mut page = None;
    loop {
        let since = since.max(known_since);
        let events = storefront.provider.events(since, page.as_deref()).await?;
        keep(context, storefront, events.items, &mut all).await?;
        page = events.next;
        if page.is_none() {
            break;
        }
    }
    Ok(all)
}

async fn note(
    context: &Context,
    actor: String,
    provider: ProviderName,
    since: DateTime<Utc>,
) -> Result<(), StoreError> {
    let clock = Arc::clone(context.clock());
    pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let target = provider.as_str().to_owned();
        let details = json!({"since": since});
        let row = AuditRow::new(actor, "webhooks.backfill", None, target, details, now);
        audit::append(conn, &row).map_err(StoreError::from)
    })
    .await
}

/// Whether nothing depends on it any more, unless it is still open here.
fn has_ended(subscription: &ProviderSubscription) -> bool {
    matches!(&subscription.status, ProviderStatus::Known(status) if status.is_terminal())
}

/// Puts an event of our own making about each subscription that is open, here or at the provider, into the inbox, once an hour at most.
async fn look_at_everything(
    context: &Context,
    storefront: &Storefront,
    now: DateTime<Utc>,
    all: &mut Backfilled,
) -> Result<(), BackfillError> {
    let open = open_here(context, storefront.provider.name()).await?;
    let mut page = None;
    loop {
        let subscriptions = storefront.provider.subscriptions(page.as_deref()).await?;
        let hour = now.format("%Y%m%d%H");
        let events = subscriptions
            .items
            .iter()
            .filter(|subscription| open.contains_key(&subscription.id) || !has_ended(subscription))
            .map(|subscription| {
                let event_id = format!("backfill-{hour}-{}", subscription.id);
                storefront.provider.event_about(&subscription.id, &event_id)
            })
            .collect();
        keep(context, storefront, events, all).await?;
        page = subscriptions.next;
        if page.is_none() {
            return Ok(());
        }
    }
}

/// Keeps a page of events in one transaction and lets the workers begin.
async fn keep(
    context: &Context,
    storefront: &Storefront,
    events: Vec<PastEvent>,
    all: &mut Backfilled,
) -> Result<(), StoreError> {
    let (provider, livemode) = (storefront.provider.name(), storefront.provider.livemode());
    let clock = Arc::clone(context.clock());
    let kept = pool::run(&context.pool, move |conn| {
        conn.transaction(|conn| {
            let now = deciding_time(conn, clock.as_ref())?;
            let mut kept = Backfilled::default();
            for PastEvent { event, body } in &events {
                let status = fate_of(event, livemode);
                let delivery = Delivery {
                    refetch_only: matches!(event.hint, Hint::Subscription { .. }),
                    provider,
                    event_id: &event.event_id,
                    event_type: &event.event_type,
                    subject: event.hint.subject(),
                    livemode: event.livemode,
                    status,
                    body,
                };
                kept.fetched += 1;
                let is_new = inbox::keep(conn, &delivery, now)?;
                let is_of_use = status == Status::Queued;
                // What an earlier version had no use for, this one may.
                if is_of_use && (is_new || inbox::revive(conn, &delivery, now)?) {
                    kept.queued += 1;
                } else if !is_new {
                    kept.duplicates += 1;
                }
            }
            Ok::<_, StoreError>(kept)
        })
    })
    .await?;
    if kept.queued > 0 {
        context.bells.inbox.notify_one();
    }
    all.fetched += kept.fetched;
    all.queued += kept.queued;
    all.duplicates += kept.duplicates;
    Ok(())
}
