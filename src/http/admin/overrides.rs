//! Overrides of a customer's limits.

use actix_web::{HttpResponse, delete, get, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::ids::CustomerId;
use crate::domain::permission::Permission;
use crate::domain::quantity::{Level, Quantity};
use crate::domain::timestamp::Timestamp;
use crate::http::extract::{Json, Path};
use crate::http::problem::{Problem, ProblemDocument, ProblemKind};
use crate::http::responses::{AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors};
use crate::service::context::Context;
use crate::service::overrides::{self, Order};
use crate::store::overrides::OverrideRow;

/// More of a feature for one customer; less only with `cap`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"add": 1000, "expires_at": "2026-03-01T00:00:00Z", "reason": "conference week"}))]
pub struct OverrideRequest {
    /// The limit is at least this; exactly this with `cap`.
    limit: Option<Level>,
    /// Added to the plan's limit.
    add: Option<Quantity>,
    /// Turns a boolean feature on; off only with `cap`.
    enabled: Option<bool>,
    /// May lower, too.
    #[serde(default)]
    cap: bool,
    /// When it ends; never by default.
    expires_at: Option<Timestamp>,
    /// Why, for the audit log.
    reason: String,
}

/// An override.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Override)]
pub struct OverrideView {
    /// Whose.
    customer_id: String,
    /// Of which feature.
    feature: String,
    /// The limit is at least (capped: exactly) this.
    #[schema(required = true)]
    limit: Option<i64>,
    /// Added to the plan's limit.
    #[schema(required = true)]
    add: Option<i64>,
    /// On or off.
    #[schema(required = true)]
    enabled: Option<bool>,
    /// May lower, too.
    cap: bool,
    /// When it ends.
    #[schema(required = true)]
    expires_at: Option<DateTime<Utc>>,
    /// Why.
    reason: String,
    /// Who ordered it.
    created_by: String,
    /// When.
    created_at: DateTime<Utc>,
}

impl From<OverrideRow> for OverrideView {
    fn from(row: OverrideRow) -> Self {
        Self {
            customer_id: row.customer_id,
            feature: row.feature,
            limit: row.limit_value,
            add: row.add_value,
            enabled: row.enabled,
            cap: row.cap,
            expires_at: row.expires_at,
            reason: row.reason,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

/// Orders an override in place of the one that stands. It counts from the next decision on.
#[utoipa::path(
    tag = "Admin",
    operation_id = "putOverride",
    params(("id" = String, Path, description = "The customer"), ("feature" = String, Path, description = "Feature key")),
    request_body = OverrideRequest,
    responses((status = 200, description = "In force", body = OverrideView), AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[put("/admin/customers/{id}/overrides/{feature}")]
pub(crate) async fn put_override(
    actor: Actor,
    context: web::Data<Context>,
    path: Path<(CustomerId, String)>,
    body: Json<OverrideRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let ((customer, feature), body) = (path.0, body.0);
    super::text("reason", &body.reason)?;
    let order = Order {
        customer,
        feature,
        limit: body.limit.map(Level::get),
        add: body.add.map(Quantity::get),
        enabled: body.enabled,
        cap: body.cap,
        expires_at: body.expires_at.map(Timestamp::get),
        reason: body.reason,
    };
    let row = overrides::put(&context, actor.label(), order).await?;
    Ok(HttpResponse::Ok().json(OverrideView::from(row)))
}

/// The override that stands, expired or not.
#[utoipa::path(
    tag = "Admin",
    operation_id = "getOverride",
    params(("id" = String, Path, description = "The customer"), ("feature" = String, Path, description = "Feature key")),
    responses((status = 200, description = "The override", body = OverrideView),
              (status = 404, description = "`not-found`: none stands", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, DatabaseErrors)
)]
#[get("/admin/customers/{id}/overrides/{feature}")]
pub(crate) async fn get_override(
    actor: Actor,
    context: web::Data<Context>,
    path: Path<(CustomerId, String)>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let (customer, feature) = path.0;
    let row = overrides::get(&context, customer, feature)
        .await?
        .ok_or_else(none_stands)?;
    Ok(HttpResponse::Ok().json(OverrideView::from(row)))
}

/// Removes the override: the plan alone counts from the next decision on.
#[utoipa::path(
    tag = "Admin",
    operation_id = "deleteOverride",
    params(("id" = String, Path, description = "The customer"), ("feature" = String, Path, description = "Feature key")),
    responses((status = 204, description = "Removed"),
              (status = 404, description = "`not-found`: none stood", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, DatabaseErrors)
)]
#[delete("/admin/customers/{id}/overrides/{feature}")]
pub(crate) async fn delete_override(
    actor: Actor,
    context: web::Data<Context>,
    path: Path<(CustomerId, String)>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let (customer, feature) = path.0;
    if overrides::delete(&context, actor.label(), customer, feature).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(none_stands())
    }
}

fn none_stands() -> Problem {
    ProblemKind::NotFound.with_detail("No override of this feature stands for this customer.")
}
