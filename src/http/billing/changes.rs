//! A subscription is put on another plan, cancelled, and resumed.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::{CustomerId, TierKey};
use crate::domain::permission::Permission;
use crate::http::extract::{Json, idempotency_key};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, ProviderErrors};
use crate::http::subscription_view::SubscriptionView;
use crate::service::billing::{self, CancelWhen, ChangeWhen, NewPlan};
use crate::service::context::Context;

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// With the end of the period that is paid.
    PeriodEnd,
}

/// Another plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "plan_tier": "scale"}))]
pub struct ChangePlan {
    /// Whose subscription. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
    /// The tier to move to.
    pub plan_tier: TierKey,
    /// From when on. Left out: a higher tier at once, a lower one with the next period.
    pub when: Option<When>,
}

/// A subscription whose plan was changed, or is to be replaced by one on another plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    as = ChangedSubscription,
    example = json!({
        "provider": "razorpay",
        "provider_subscription_id": "sub_R2mYc8Qk3vXwZp",
        "status": "active",
        "plan_tier": "pro",
        "plan_version": 1,
        "current_period_start": "2026-01-12T00:00:00Z",
        "current_period_end": "2026-02-12T00:00:00Z",
        "cancel_at_period_end": false,
        "trial_end": null,
        "planned_change": null,
        "grace": null,
        "checkout_url": "https://rzp.io/i/h1k9LmQ2x"
    })
)]
pub struct ChangedSubscriptionView {
    /// The subscription as it is now.
    #[serde(flatten)]
    pub subscription: SubscriptionView,
    /// Send the customer's browser there to pay what takes the subscription's place. Absent where the provider has changed the plan, or
    /// nothing is left to be agreed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub checkout_url: Option<String>,
}

/// An end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "when": "period_end"}))]
pub struct Cancel {
    /// Whose subscription. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
    /// From when on.
    #[serde(default = "with_the_period")]
    #[schema(default = "period_end")]
    pub when: When,
}

/// A cancellation or pause to be taken back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme"}))]
pub struct Resume {
    /// Whose subscription. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
}

const fn with_the_period() -> When {
    When::PeriodEnd
}

/// Change the plan
///
/// Puts the customer's subscription on another plan. With `now` the difference for the rest of the period is charged or credited; where
/// the charge fails, the answer is 409 `payment-due` and the change waits at the provider until it is paid or given up. With
/// `period_end` the present plan stays in force until then and `planned_change` shows what follows. One change is planned at a
/// time: the next replaces it, and asking for the plan that the subscription is on takes it back. Changing a subscription that was
/// cancelled at its period's end lets it go on.
///
/// Razorpay cannot put a subscription on another plan: there the answer has a `checkout_url`, where the customer pays a new subscription,
/// and until then nothing changes. Once it is paid it takes the present one's place, which is ended, and what is left of its period is
/// given back; with `period_end` the customer agrees to it now and pays when the period is over. The same change asked for again has the
/// same `checkout_url` while that can be paid, and none once the customer has agreed.
///
/// The call is safe to repeat. After an answer that was lost it is answered with the subscription, or with `already-subscribed` where
/// the change is known here by then. `Idempotency-Key` is accepted (bare or quoted) and checked for its form, and changes nothing.
#[utoipa::path(
    tag = "Billing",
    operation_id = "changePlan",
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted; the call is safe to repeat without it")),
    request_body = ChangePlan,
    responses(
        (status = 200, description = "The subscription as it is now", body = ChangedSubscriptionView),
        (status = 404, description = "`unknown-plan`: the catalogue has no such tier. `not-found`: no provider bills the customer anything",
            body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/not-found", "title": "Not found", "status": 404,
                "detail": "the customer has no subscription at a provider", "instance": "/billing/change-plan",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 409, description = "`already-subscribed`: it is on this plan and nothing else is planned. `payment-due` (`portal` \
            says where it is settled, where the provider has pages for that): it is unpaid or paused, or the change waits for its payment. `provider-not-configured`. \
            `conflict`: the plan was granted by an operator, another call is changing the subscription, or its end was sent to a provider \
            that cannot take it back",
            body = ProblemDocument, content_type = "application/problem+json",
            examples(
                ("payment-due" = (value = json!({"type": "/problems/payment-due", "title": "Payment due", "status": 409,
                    "detail": "the change of plan waits for its payment; until then the present plan stays in force",
                    "instance": "/billing/change-plan", "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d",
                    "portal": "/billing/portal"}))),
                ("already-subscribed" = (value = json!({"type": "/problems/already-subscribed", "title": "Already subscribed",
                    "status": 409, "detail": "the customer has a live subscription on this plan",
                    "instance": "/billing/change-plan", "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})))
            )),
        AuthErrors,
        BodyErrors,
        ProviderErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/change-plan")]
pub(crate) async fn change_plan(
    actor: Actor,
    request: HttpRequest,
    context: web::Data<Context>,
    body: Json<ChangePlan>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    idempotency_key(&request, None)?;
    let body = body.0;
    let customer = actor.customer_of_body(body.customer_id)?;
    let wanted = NewPlan {
        customer: customer.clone(),
        plan_tier: body.plan_tier,
        when: body.when.map(|when| match when {
            When::Now => ChangeWhen::Now,
            When::PeriodEnd => ChangeWhen::PeriodEnd,
        }),
    };
    let changed = billing::change_plan(&context, wanted).await?;
    let subscription = view(&context, &customer, changed.subscription).await?;
    Ok(HttpResponse::Ok().json(ChangedSubscriptionView {
        subscription,
        checkout_url: changed.checkout_url,
    }))
}

/// Cancel a subscription
///
/// With `period_end` the plan stays in force until the period ends; a change that was planned is dropped. With `now` it ends at once: what is
/// paid is not given back, usage that is not billed yet is, and what the plan allowed is left for the days of grace. The call is safe to
/// repeat: a subscription that is cancelled, or was, is answered as it is. `Idempotency-Key` is accepted (bare or quoted) and
/// checked for its form, and changes nothing.
#[utoipa::path(
    tag = "Billing",
    operation_id = "cancelSubscription",
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted; the call is safe to repeat without it")),
    request_body = Cancel,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionView),
        (status = 404, description = "`not-found`: no provider ever billed the customer anything", body = ProblemDocument,
            content_type = "application/problem+json",
            example = json!({"type": "/problems/not-found", "title": "Not found", "status": 404,
                "detail": "the customer has no subscription at a provider", "instance": "/billing/cancel",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 409, description = "`conflict`: the plan was granted by an operator, or another call is changing the subscription. \
            `provider-not-configured`", body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/conflict", "title": "Conflict", "status": 409,
                "detail": "the customer's plan was granted by an operator, who can also end it", "instance": "/billing/cancel",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        AuthErrors,
        BodyErrors,
        ProviderErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/cancel")]
pub(crate) async fn cancel(
    actor: Actor,
    request: HttpRequest,
    context: web::Data<Context>,
    body: Json<Cancel>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    idempotency_key(&request, None)?;
    let body = body.0;
    let customer = actor.customer_of_body(body.customer_id)?;
    let when = match body.when {
        When::Now => CancelWhen::Now,
        When::PeriodEnd => CancelWhen::PeriodEnd,
    };
    let cancelled = billing::cancel(&context, customer.clone(), when).await?;
    shown(&context, &customer, cancelled).await
}

/// Resume a subscription
///
/// Takes a cancellation at the period's end back, and ends a pause. The call is safe to repeat. After an answer that was lost it is answered
/// with the subscription, or with `conflict` where nothing is left to be taken back. `Idempotency-Key` is accepted (bare or quoted)
/// and checked for its form, and changes nothing.
#[utoipa::path(
    tag = "Billing",
    operation_id = "resumeSubscription",
    params(("Idempotency-Key" = Option<String>, Header, description = "Accepted; the call is safe to repeat without it")),
    request_body = Resume,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionView),
        (status = 404, description = "`not-found`: no provider ever billed the customer anything", body = ProblemDocument,
            content_type = "application/problem+json",
            example = json!({"type": "/problems/not-found", "title": "Not found", "status": 404,
                "detail": "the customer has no subscription at a provider", "instance": "/billing/resume",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        (status = 409, description = "`conflict`: the subscription is neither cancelled nor paused, or has ended and must be bought \
            again, or was granted by an operator, or another call is changing it, or its end was sent to a provider that cannot take it back. `provider-not-configured`",
            body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/conflict", "title": "Conflict", "status": 409,
                "detail": "the subscription is neither cancelled nor paused", "instance": "/billing/resume",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        AuthErrors,
        BodyErrors,
        ProviderErrors,
        DatabaseErrors,
    )
)]
#[post("/billing/resume")]
pub(crate) async fn resume(
    actor: Actor,
    request: HttpRequest,
    context: web::Data<Context>,
    body: Json<Resume>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ManageBilling)?;
    idempotency_key(&request, None)?;
    let customer = actor.customer_of_body(body.0.customer_id)?;
    let resumed = billing::resume(&context, customer.clone()).await?;
    shown(&context, &customer, resumed).await
}

async fn shown(
    context: &Context,
    customer: &CustomerId,
    subscription: Uuid,
) -> Result<HttpResponse, Problem> {
    let subscription = view(context, customer, subscription).await?;
    Ok(HttpResponse::Ok().json(subscription))
}

async fn view(
    context: &Context,
    customer: &CustomerId,
    subscription: Uuid,
) -> Result<SubscriptionView, Problem> {
    let snapshot = context.meter.snapshot(customer.as_str()).await?;
    let changed = snapshot
        .subscriptions
        .iter()
        .find(|candidate| candidate.id == subscription)
        .ok_or_else(|| Problem::internal("a subscription that was just changed is gone"))?;
    let grace = snapshot.standing.grace.as_ref();
    Ok(SubscriptionView::of(changed, grace))
}
