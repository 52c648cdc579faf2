//! Webhooks, as operators handle them.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::permission::Permission;
use crate::http::extract::Json;
use crate::http::payment_provider::PaymentProvider;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, ProviderErrors};
use crate::service::backfill::{self, Backfilled};
use crate::service::context::Context;

/// What to fetch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"provider": "stripe", "since": "2026-01-12T00:00:00Z"}))]
pub struct BackfillRequest {
    /// From whom.
    provider: PaymentProvider,
    /// What happened before is left out.
    since: DateTime<Utc>,
}

/// What was fetched.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"fetched": 240, "queued": 12, "duplicates": 203}))]
pub struct BackfillResponse {
    /// Events that the provider told.
    fetched: u64,
    /// Those that were not known, and are applied as soon as possible. What is of no use here is neither queued nor a duplicate.
    queued: u64,
    /// Those that were known.
    duplicates: u64,
}

/// Fetches the events that were missed while the webhook's endpoint was down.
///
/// They go through the same inbox as if they had been delivered: what is known is not applied twice. Where the provider does not
/// remember that far back (Stripe: 30 days), every subscription is fetched anew as well. After an error what was fetched until then is
/// kept, and the call may be repeated.
#[utoipa::path(
    tag = "Admin",
    operation_id = "backfillWebhooks",
    request_body = BackfillRequest,
    responses((status = 202, description = "Fetched and stored; applied as soon as possible", body = BackfillResponse),
              (status = 409, description = "`provider-not-configured`", body = ProblemDocument, content_type = "application/problem+json"),
              AuthErrors, BodyErrors, ProviderErrors, DatabaseErrors)
)]
#[post("/admin/webhooks/backfill")]
pub(crate) async fn backfill_webhooks(
    actor: Actor,
    context: web::Data<Context>,
    body: Json<BackfillRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let BackfillRequest { provider, since } = body.0;
    let Backfilled {
        fetched,
        queued,
        duplicates,
    } = backfill::backfill(&context, actor.label(), provider.0, since).await?;
    Ok(HttpResponse::Accepted().json(BackfillResponse {
        fetched,
        queued,
        duplicates,
    }))
}
