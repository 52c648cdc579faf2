//! What Razorpay's Checkout.js hands to a browser after a payment is checked.

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::permission::Permission;
use crate::domain::provider_event::ProviderName;
use crate::http::extract::Json;
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors};
use crate::http::subscription_view::SubscriptionView;
use crate::service::billing::{self, BillingError, PaymentProof};
use crate::service::context::Context;

/// Longest id and longest signature, in characters; Razorpay's have 18 and 64.
const TEXT_MAX: usize = 255;

/// What Checkout.js handed to the browser.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "customer_id": "acme",
    "razorpay_payment_id": "pay_IDZNwZZFtnjyym",
    "razorpay_subscription_id": "sub_ID6MOhgkcoHj9I",
    "razorpay_signature": "601f383334975c714c91a7d97dd723eb56520318355863dcf3821c0d07a17693"
}))]
pub struct VerifyPayment {
    /// Who paid. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
    /// Razorpay's id of the payment.
    #[schema(min_length = 1, max_length = 255)]
    pub razorpay_payment_id: String,
    /// Razorpay's id of the subscription: the `session_id` of the checkout.
    #[schema(min_length = 1, max_length = 255)]
    pub razorpay_subscription_id: String,
    /// Razorpay's signature over both.
    #[schema(min_length = 1, max_length = 255)]
    pub razorpay_signature: String,
}

/// A payment that Razorpay vouches for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VerifiedPayment, example = json!({
    "verified": true,
    "subscription": {
        "provider": "razorpay",
        "provider_subscription_id": "sub_ID6MOhgkcoHj9I",
        "status": "active",
        "plan_tier": "pro",
        "plan_version": 1,
        "current_period_start": "2026-01-12T00:00:00Z",
        "current_period_end": "2026-02-12T00:00:00Z",
        "cancel_at_period_end": false,
        "trial_end": null,
        "planned_change": null,
        "grace": null
    }
}))]
pub struct VerifiedPaymentView {
    /// True: the signature is Razorpay's. Which plan is in force is the subscription's word alone.
    pub verified: bool,
    /// The subscription that was paid for; null: not known here yet, its webhook is on the way.
    #[schema(required = true)]
    pub subscription: Option<SubscriptionView>,
}

/// Verify a payment
///
/// Checks what Razorpay's Checkout.js handed to a browser after a payment, and looks at the subscription at once, so that the page after
/// the payment need not wait for the webhook. The call itself grants nothing: the plan is in force when the subscription is active.
/// It is safe to repeat.
#[utoipa::path(
    tag = "Billing",
    operation_id = "verifyPayment",
    request_body = VerifyPayment,
    responses(
        (status = 200, description = "The signature is Razorpay's", body = VerifiedPaymentView),
        (status = 400, description = "`bad-signature`: nothing proves that Razorpay took the payment. `malformed-json` or \
            `malformed-request`: the request cannot be read", body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/bad-signature", "title": "Bad signature", "status": 400,
                "detail": "the signature is not the payment provider's for this payment and subscription",
                "instance": "/billing/verify-payment", "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 404, description = "`not-found`: the customer neither has nor is buying that subscription", body = ProblemDocument,
            content_type = "application/problem+json",
            example = json!({"type": "/problems/not-found", "title": "Not found", "status": 404,
                "detail": "the customer neither has nor is buying that subscription", "instance": "/billing/verify-payment",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 409, description = "`provider-not-configured`: Razorpay is not set up here", body = ProblemDocument,
            content_type = "application/problem+json",
            example = json!({"type": "/problems/provider-not-configured", "title": "Provider not configured", "status": 409,
                "detail": "the provider is not configured, or not for this tier", "instance": "/billing/verify-payment",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        AuthErrors,
        BodyErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/verify-payment")]
pub(crate) async fn verify_payment(
    actor: Actor,
    context: web::Data<Context>,
    body: Json<VerifyPayment>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    let body = body.0;
    let customer = actor.customer_of_body(body.customer_id)?;
    for (pointer, text) in [
        ("/razorpay_payment_id", &body.razorpay_payment_id),
        ("/razorpay_subscription_id", &body.razorpay_subscription_id),
        ("/razorpay_signature", &body.razorpay_signature),
    ] {
        sane(pointer, text)?;
    }
    let provider = ProviderName::Razorpay;
    let proof = PaymentProof {
        customer: customer.clone(),
        provider,
        payment_id: body.razorpay_payment_id,
        subscription_id: body.razorpay_subscription_id,
        signature: body.razorpay_signature,
    };
    let paid_for = billing::verify_payment(&context, proof)
        .await
        .inspect_err(|error| {
            if matches!(error, BillingError::BadSignature) {
                tracing::warn!(
                    security = true,
                    %provider,
                    %customer,
                    "a payment with a bad signature was refused"
                );
            }
        })?;
    let snapshot = context.meter.snapshot(customer.as_str()).await?;
    let subscription = snapshot
        .subscriptions
        .iter()
        .find(|candidate| Some(candidate.id) == paid_for)
        .map(|found| SubscriptionView::of(found, snapshot.standing.grace.as_ref()));
    Ok(HttpResponse::Ok().json(VerifiedPaymentView {
        verified: true,
        subscription,
    }))
}

fn sane(pointer: &'static str, text: &str) -> Result<(), Problem> {
    let fits =
        (1..=TEXT_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let rule = format!("must be 1 to {TEXT_MAX} characters without control characters");
    Err(Problem::validation(pointer, rule))
}
