//! The subscription that counts is looked at.

use actix_web::{HttpResponse, get, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::permission::Permission;
use crate::http::extract::Query;
use crate::http::problem::{Problem, ProblemDocument, ProblemKind};
use crate::http::responses::{AuthErrors, DatabaseErrors, QueryErrors};
use crate::http::subscription_view::SubscriptionView;
use crate::service::context::Context;

/// Whose subscription.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubscriptionQuery {
    /// The customer. May be left out with a customer token.
    pub customer_id: Option<CustomerId>,
}

/// Look at a subscription
///
/// The subscription that counts for the customer now: the one in force, else the one whose grace runs, else the latest.
#[utoipa::path(
    tag = "Billing",
    operation_id = "getSubscription",
    params(SubscriptionQuery),
    responses(
        (status = 200, description = "The subscription that counts", body = SubscriptionView),
        (status = 404, description = "There never was one", body = ProblemDocument, content_type = "application/problem+json",
            example = json!({"type": "/problems/not-found", "title": "Not found", "status": 404,
                "detail": "The customer never had a subscription.", "instance": "/billing/subscription",
                "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d"})),
        AuthErrors,
        QueryErrors,
        DatabaseErrors,
    )
)]
#[get("/billing/subscription")]
pub(crate) async fn get_subscription(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<SubscriptionQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadSubscription)?;
    let customer = actor.customer_of_query(query.0.customer_id)?;
    let snapshot = context.meter.snapshot(customer.as_str()).await?;
    let standing = &snapshot.standing;
    standing
        .subscription
        .and_then(|counting| snapshot.subscriptions.get(counting))
        .map(|counting| {
            HttpResponse::Ok().json(SubscriptionView::of(counting, standing.grace.as_ref()))
        })
        .ok_or_else(|| ProblemKind::NotFound.with_detail("The customer never had a subscription."))
}
