//! Subscriptions that an operator grants.

use actix_web::{HttpResponse, delete, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::money::Currency;
use crate::domain::permission::Permission;
use crate::domain::quantity::Level;
use crate::domain::subscription::Subscription;
use crate::domain::timestamp::Timestamp;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors};
use crate::http::subscription_view::SubscriptionView;
use crate::service::context::Context;
use crate::service::grants::{self, Grant};

/// A subscription to grant.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "plan_tier": "pro", "reason": "invoiced by hand"}))]
pub struct GrantRequest {
    /// To whom; a customer never seen is made.
    #[schema(value_type = String)]
    customer_id: CustomerId,
    /// Which tier; its current version is pinned.
    plan_tier: String,
    /// When it ends; by default only when it is ended.
    until: Option<Timestamp>,
    /// Paid each month, in minor units; 0 by default.
    unit_amount: Option<Level>,
    /// ISO 4217; by default the currency of the plan's first price.
    #[schema(value_type = Option<String>)]
    currency: Option<Currency>,
    /// Why, for the audit log.
    reason: String,
}

/// A granted subscription.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GrantedSubscription {
    /// To end it by.
    #[schema(example = "man_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7")]
    id: String,
    /// Whose.
    #[schema(example = "acme")]
    customer_id: String,
    /// Paid each month, in minor units.
    unit_amount: i64,
    /// ISO 4217, lowercase.
    #[schema(required = true)]
    currency: Option<String>,
    /// The subscription.
    #[serde(flatten)]
    subscription: SubscriptionView,
}

impl GrantedSubscription {
    fn of(customer_id: String, subscription: &Subscription) -> Self {
        Self {
            id: subscription.provider_subscription_id.clone(),
            customer_id,
            unit_amount: subscription.unit_amount.unwrap_or(0),
            currency: subscription.currency.clone(),
            subscription: SubscriptionView::of(subscription, None),
        }
    }
}

/// Grants a subscription (provider `manual`): invoiced elsewhere, complimentary, or a trial. Also the way to try an upgrade
/// without a provider's account. It is in force at once.
#[utoipa::path(
    tag = "Admin",
    operation_id = "grantSubscription",
    request_body = GrantRequest,
    responses((status = 201, description = "In force", body = GrantedSubscription),
              (status = 404, description = "`unknown-plan`, or `unknown-customer` where those are rejected",
               body = ProblemDocument, content_type = "application/problem+json"),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/admin/subscriptions")]
pub(crate) async fn grant_subscription(
    actor: Actor,
    context: web::Data<Context>,
    body: Json<GrantRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let body = body.0;
    super::text("reason", &body.reason)?;
    let customer_id = body.customer_id.as_str().to_owned();
    let grant = Grant {
        customer: body.customer_id,
        plan_tier: body.plan_tier,
        until: body.until.map(Timestamp::get),
        unit_amount: body.unit_amount.map_or(0, Level::get),
        currency: body.currency,
        reason: body.reason,
    };
    let granted = grants::grant(&context, actor.label(), grant).await?;
    Ok(HttpResponse::Created().json(GrantedSubscription::of(customer_id, &granted)))
}

/// Ends a granted subscription at once, without grace.
#[utoipa::path(
    tag = "Admin",
    operation_id = "endSubscription",
    params(("id" = String, Path, description = "`id` of the granted subscription")),
    responses((status = 200, description = "Ended", body = GrantedSubscription),
              (status = 404, description = "`not-found`: no granted subscription has this id", body = ProblemDocument,
               content_type = "application/problem+json"),
              (status = 409, description = "`conflict`: it has ended already", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, DatabaseErrors)
)]
#[delete("/admin/subscriptions/{id}")]
pub(crate) async fn end_subscription(
    actor: Actor,
    context: web::Data<Context>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let (customer, ended) = grants::end(&context, actor.label(), id.0).await?;
    Ok(HttpResponse::Ok().json(GrantedSubscription::of(customer, &ended)))
}
