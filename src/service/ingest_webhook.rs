//! A webhook arrives: verify, keep, acknowledge. What it means is worked out later.

use std::sync::Arc;

use crate::domain::provider_event::{Hint, IncomingEvent, ProviderName};
use crate::providers::WebhookError;
use crate::store::clock::deciding_time;
use crate::store::inbox::{self, Delivery, Status};
use crate::store::pool::{self, StoreError};

use super::context::Context;

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id of the event.
    pub event_id: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Kept; applied as soon as possible.
    Queued,
    /// Known already.
    Duplicate,
    /// Kept, and of no use here: an unknown type, or the other mode.
    Ignored,
}

/// Why a delivery was not kept.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The provider is not set up.
    #[error("the provider is not configured")]
    NotConfigured,
    /// Nothing proves that the provider sent it.
    #[error("webhook signature refused: {fault}")]
    BadSignature {
        /// What is wrong with the signature; no part of it.
        fault: String,
    },
    /// The provider signed it, but it is not an event.
    #[error("signed webhook body is no event: {reason}")]
    NotAnEvent {
        /// What is missing or wrong.
        reason: String,
    },
    /// The database did not keep it: the provider must send it again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WebhookError> for IngestError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::BadSignature(fault) => Self::BadSignature {
                fault: fault.to_string(),
            },
            WebhookError::NotAnEvent { reason } => Self::NotAnEvent { reason },
        }
    }
}

/// Verifies a delivery on its raw bytes and keeps it. `header` looks a request header up by its lower-case name.
pub async fn ingest(
    context: &Context,
    provider: ProviderName,
    header: &dyn Fn(&str) -> Option<String>,
    body: Vec<u8>,
) -> Result<Receipt, IngestError> {
    let storefront = context
        .storefront(provider)
        .ok_or(IngestError::NotConfigured)?;
    let now = context.clock().now();
    let event = storefront.provider.verify_webhook(header, &body, now)?;
    let status = fate_of(&event, storefront.provider.livemode());
    let event_id = event.event_id.clone();
    let clock = Arc::clone(context.clock());
    let is_new = pool::run(&context.pool, move |conn| {
        let now = deciding_time(conn, clock.as_ref())?;
        let delivery = Delivery {
            provider,
            event_id: &event.event_id,
            event_type: &event.event_type,
            subject: event.hint.subject(),
            refetch_only: matches!(event.hint, Hint::Subscription { .. }),
            livemode: event.livemode,
            status,
            body: &body,
        };
        inbox::keep(conn, &delivery, now).map_err(StoreError::from)
    })
    .await?;
    let fate = match (is_new, status) {
        (false, _) => Fate::Duplicate,
        (true, Status::Ignored) => Fate::Ignored,
        (true, _) => Fate::Queued,
    };
    if fate == Fate::Queued {
        context.bells.inbox.notify_one();
    }
    Ok(Receipt { event_id, fate })
}

/// What happens to an event that is kept: an unknown type, or one of the other mode, is of no use.
pub(super) fn fate_of(event: &IncomingEvent, livemode: bool) -> Status {
    if event.livemode != livemode {
        tracing::warn!(
            event_id = event.event_id,
            livemode = event.livemode,
            "an event of the other mode is ignored"
        );
        return Status::Ignored;
    }
    if event.hint == Hint::Ignored {
        Status::Ignored
    } else {
        Status::Queued
    }
}
