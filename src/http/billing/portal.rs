//! The provider's pages for customers are opened.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::url_of_sane_length;
use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::permission::Permission;
use crate::http::extract::{Json, idempotency_key};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, ProviderErrors};
use crate::service::billing::{self, Visit};
use crate::service::context::Context;

/// A visit to the provider's pages for customers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "return_url": "https://app.example.com/billing"}))]
pub struct OpenPortal {
    /// Who visits. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
    /// Where the browser goes afterwards; its origin must be one of `PLANGATE_RETURN_ORIGINS`. Left out:
    /// `PLANGATE_SUCCESS_URL`.
    #[schema(format = "uri", max_length = 2048)]
    pub return_url: Option<String>,
}

/// The provider's pages for one customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Portal, example = json!({"portal_url": "https://billing.stripe.com/p/session/test_a1b2c3"}))]
pub struct PortalView {
    /// Send the customer's browser there at once: it is good for minutes.
    pub portal_url: String,
}

/// Open the billing portal
///
/// The provider's own pages, on which the customer looks after cards, addresses and invoices. Each call gives a new address; keep
/// none. `Idempotency-Key` is accepted (bare or quoted) and checked for its form, and changes nothing.
#[utoipa::path(
    tag = "Billing",
    operation_id = "openPortal",
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted; the call is safe to repeat without it")),
    request_body = OpenPortal,
    responses(
        (status = 201, description = "The pages to send the customer to", body = PortalView),
        (status = 409, description = "`no-provider-customer`: the customer has never paid through a provider. \
            `no-portal`: the provider that bills the customer has no such pages. `provider-not-configured`", body = ProblemDocument,
            content_type = "application/problem+json",
            example = json!({"type": "/problems/no-provider-customer", "title": "No provider customer", "status": 409,
                "detail": "the customer has never paid through a provider", "instance": "/billing/portal",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        AuthErrors,
        BodyErrors,
        ProviderErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/portal")]
pub(crate) async fn open_portal(
    actor: Actor,
    request: HttpRequest,
    context: web::Data<Context>,
    body: Json<OpenPortal>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    idempotency_key(&request, None)?;
    let body = body.0;
    let customer = actor.customer_of_body(body.customer_id)?;
    url_of_sane_length("/return_url", body.return_url.as_deref())?;
    let visit = Visit {
        customer,
        return_url: body.return_url,
    };
    let portal_url = billing::open_portal(&context, visit).await?;
    Ok(HttpResponse::Created().json(PortalView { portal_url }))
}
