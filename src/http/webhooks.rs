//! Webhooks of payment providers. The signature is the credential.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Path, read_body};
use super::problem::{Problem, ProblemDocument};
use super::responses::DatabaseErrors;
use crate::domain::provider_event::ProviderName;
use crate::service::context::Context;
use crate::service::ingest_webhook::{Fate, IngestError, ingest};
use crate::telemetry::metrics::Metrics;

/// Largest body of a webhook, in bytes.
const WEBHOOK_LIMIT: usize = 1024 * 1024;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Stored; applied as soon as possible.
    Queued,
    /// Stored before.
    Duplicate,
    /// Stored, and of no use here: an unknown type, or the other mode.
    Ignored,
}

impl DeliveryStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }
}

/// An acknowledgement.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"received": true, "event_id": "evt_1QkPz2L8XfVbTn", "status": "queued"}))]
pub struct WebhookResponse {
    /// True: it is stored.
    received: bool,
    /// The provider's id of the event.
    event_id: String,
    /// What becomes of it.
    status: DeliveryStatus,
}

/// A provider's deliveries: verified on the raw bytes, stored, acknowledged, then applied by a worker.
///
/// A 200 means that the event is stored and never needs to be sent again. Duplicates and events in any order are expected. The signature
/// is the credential: Stripe's in `Stripe-Signature`, Razorpay's in `X-Razorpay-Signature`, with the event's id in `x-razorpay-event-id`.
#[utoipa::path(
    tag = "Webhooks",
    operation_id = "receiveWebhook",
    params(
        ("Stripe-Signature" = String, Header, description = "`t=…,v1=…` as Stripe makes it"),
        ("X-Razorpay-Signature" = String, Header, description = "HMAC-SHA256 of the body in hex, as Razorpay makes it"),
        ("X-Razorpay-Event-Id" = Option<String>, Header, description = "The event's id; absent: the body's SHA-256 stands for it"),
    ),
    request_body(content = Object, description = "An event, as the provider sent it", content_type = "application/json"),
    responses((status = 200, description = "Stored", body = WebhookResponse),
              (status = 400, description = "`bad-signature` or `not-an-event`: nothing is stored", body = ProblemDocument,
               content_type = "application/problem+json"),
              (status = 404, description = "`not-found`: the provider is not configured", body = ProblemDocument,
               content_type = "application/problem+json"),
              (status = 413, description = "`payload-too-large`: over 1 MiB", body = ProblemDocument,
               content_type = "application/problem+json"),
              DatabaseErrors),
    security(())
)]
#[post("/webhook/{provider}")]
pub(crate) async fn receive_webhook(
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    provider: Path<ProviderName>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let provider = provider.0;
    if context.storefront(provider).is_none() {
        return Err(IngestError::NotConfigured.into());
    }
    let body = read_body(&request, &mut payload.into_inner(), WEBHOOK_LIMIT).await?;
    let header = |name: &str| {
        request
            .headers()
            .get(name)?
            .to_str()
            .ok()
            .map(str::to_owned)
    };
    let receipt = ingest(&context, provider, &header, body.to_vec()).await.inspect_err(|error| {
        if let IngestError::BadSignature { fault } = error {
            metrics.webhook_signature_failure(provider.as_str());
            tracing::warn!(security = true, %provider, %fault, "a webhook with a bad signature was refused");
        }
    })?;
    let status = match receipt.fate {
        Fate::Queued => DeliveryStatus::Queued,
        Fate::Duplicate => DeliveryStatus::Duplicate,
        Fate::Ignored => DeliveryStatus::Ignored,
    };
    metrics.webhook(provider.as_str(), status.as_str());
    Ok(HttpResponse::Ok().json(WebhookResponse {
        received: true,
        event_id: receipt.event_id,
        status,
    }))
}
