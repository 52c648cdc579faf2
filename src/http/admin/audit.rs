//! The audit log.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::permission::Permission;
use crate::http::extract::{Listing, PageQuery, Query};
use crate::http::problem::Problem;
use crate::http::responses::{AuthErrors, DatabaseErrors, QueryErrors};
use crate::service::context::Context;
use crate::store::audit::{self, AuditRow};
use crate::store::pool::{self, StoreError};

/// Who did what.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its id.
    id: Uuid,
    /// When.
    occurred_at: DateTime<Utc>,
    /// Who: `admin-key`, or a key's id.
    #[schema(example = "key:4fT0aZ81bQxK")]
    actor: String,
    /// What.
    #[schema(example = "subscription.grant")]
    action: String,
    /// To whom.
    #[schema(required = true)]
    customer_id: Option<String>,
    /// On what.
    target: String,
    /// With which parameters.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        let AuditRow {
            id,
            occurred_at,
            actor,
            action,
            customer_id,
            target,
            details,
        } = row;
        Self {
            id,
            occurred_at,
            actor,
            action,
            customer_id,
            target,
            details,
        }
    }
}

/// Who did what, newest first.
#[utoipa::path(
    tag = "Admin",
    operation_id = "listAudit",
    params(PageQuery),
    responses((status = 200, description = "A page of the audit log", body = Listing<AuditEntry>),
              AuthErrors, QueryErrors, DatabaseErrors)
)]
#[get("/admin/audit")]
pub(crate) async fn list_audit(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let (before, limit) = (query.0.after()?, query.0.limit);
    let rows = pool::run(&context.pool, move |conn| {
        audit::page(conn, before, limit.rows()).map_err(StoreError::from)
    })
    .await?;
    let page = Listing::new(rows, limit, |row| row.id)?;
    Ok(HttpResponse::Ok().json(Listing {
        data: page.data.into_iter().map(AuditEntry::from).collect(),
        next_cursor: page.next_cursor,
    }))
}
