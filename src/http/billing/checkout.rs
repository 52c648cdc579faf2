//! A checkout is opened.

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::url_of_sane_length;
use crate::domain::actor::Actor;
use crate::domain::ids::{CustomerId, TierKey};
use crate::domain::permission::Permission;
use crate::domain::provider_event::ProviderName;
use crate::http::extract::{Json, idempotency_key};
use crate::http::payment_provider::PaymentProvider;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, ProviderErrors};
use crate::service::checkout::{self, CheckoutOrder, OpenCheckout};
use crate::service::context::Context;

/// A plan to be bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "customer_id": "acme",
    "plan_tier": "pro",
    "success_url": "https://app.example.com/billing/done",
    "cancel_url": "https://app.example.com/pricing"
}))]
pub struct CreateCheckout {
    /// Who buys. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
    /// What is bought.
    pub plan_tier: TierKey,
    /// Who takes the money.
    #[serde(default)]
    #[schema(default = "stripe")]
    pub provider: PaymentProvider,
    /// Where the browser goes after the payment; its origin must be one of `PLANGATE_RETURN_ORIGINS`. Left out:
    /// `PLANGATE_SUCCESS_URL`.
    #[schema(format = "uri", max_length = 2048)]
    pub success_url: Option<String>,
    /// Where the browser goes when the customer turns back, likewise. Left out: `PLANGATE_CANCEL_URL`.
    #[schema(format = "uri", max_length = 2048)]
    pub cancel_url: Option<String>,
}

/// A checkout that can be paid.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    as = Checkout,
    example = json!({
        "checkout_url": "https://checkout.stripe.com/c/pay/cs_test_a1b2c3",
        "session_id": "cs_test_a1b2c3",
        "provider": "stripe",
        "expires_at": "2026-01-13T10:00:00Z",
        "publishable_key": "pk_test_51Qk"
    })
)]
pub struct CheckoutView {
    /// Send the customer's browser there.
    pub checkout_url: String,
    /// The provider's id.
    pub session_id: String,
    /// Who takes the money.
    pub provider: ProviderName,
    /// When it stops being payable.
    #[schema(required = true)]
    pub expires_at: Option<DateTime<Utc>>,
    /// The key for the provider's scripts in a browser, where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub publishable_key: Option<String>,
}

impl From<OpenCheckout> for CheckoutView {
    fn from(open: OpenCheckout) -> Self {
        Self {
            checkout_url: open.checkout_url,
            session_id: open.session_id,
            provider: open.provider,
            expires_at: open.expires_at,
            publishable_key: open.publishable_key,
        }
    }
}

/// Open a checkout
///
/// Sends a customer to pay for a plan. The call is safe to repeat whatever became of it: while a session for the same plan is
/// open it is returned again, with the addresses that it was opened with; one for another plan is expired first. `Idempotency-Key`
/// is therefore accepted (bare or quoted) and checked for its form, and changes nothing.
///
/// The plan is in force once the provider's webhook has told of the subscription.
#[utoipa::path(
    tag = "Billing",
    operation_id = "createCheckout",
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted; the call is safe to repeat without it")),
    request_body = CreateCheckout,
    responses(
        (status = 201, description = "The checkout to send the customer to", body = CheckoutView),
        (status = 404, description = "`unknown-plan`: the catalogue has no such tier. `unknown-customer`: the customer was never seen, \
            and unknown customers are rejected", body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/unknown-plan", "title": "Unknown plan", "status": 404,
                "detail": "the catalogue has no tier \"gold\"", "instance": "/billing/create-checkout",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 409, description = "`already-subscribed`, `use-change-plan`, `payment-due` (`portal` says where it is settled, where the provider has pages for that), \
            `checkout-in-progress`, `provider-not-configured`, or `conflict`: the open checkout was completed and its webhook is on \
            the way", body = ProblemDocument, content_type = "application/problem+json",
            examples(
                ("already-subscribed" = (value = json!({"type": "/problems/already-subscribed", "title": "Already subscribed",
                    "status": 409, "detail": "the customer has a live subscription on this plan",
                    "instance": "/billing/create-checkout", "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"}))),
                ("payment-due" = (value = json!({"type": "/problems/payment-due", "title": "Payment due", "status": 409,
                    "detail": "the customer has a subscription that is unpaid or paused", "instance": "/billing/create-checkout",
                    "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d", "portal": "/billing/portal"})))
            )),
        AuthErrors,
        BodyErrors,
        ProviderErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/create-checkout")]
pub(crate) async fn create_checkout(
    actor: Actor,
    request: HttpRequest,
    context: web::Data<Context>,
    body: Json<CreateCheckout>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    idempotency_key(&request, None)?;
    let body = body.0;
    let customer = actor.customer_of_body(body.customer_id)?;
    for (pointer, url) in [
        ("/success_url", &body.success_url),
        ("/cancel_url", &body.cancel_url),
    ] {
        url_of_sane_length(pointer, url.as_deref())?;
    }
    let order = CheckoutOrder {
        customer,
        plan_tier: body.plan_tier,
        provider: body.provider.0,
        success_url: body.success_url,
        cancel_url: body.cancel_url,
    };
    let open = checkout::create_checkout(&context, order).await?;
    Ok(HttpResponse::Created().json(CheckoutView::from(open)))
}
