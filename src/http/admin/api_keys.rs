//! API keys.

use actix_web::{HttpResponse, delete, get, post, web};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::api_key::{KeyRecord, Scope};
use crate::domain::permission::Permission;
use crate::domain::timestamp::Timestamp;
use crate::http::extract::{Json, Listing, PageQuery, Path, Query};
use crate::http::problem::{Problem, ProblemDocument, ProblemKind};
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, QueryErrors};
use crate::service::api_keys::{ApiKeys, CreateKeyError};
use crate::service::context::Context;

/// A key to make.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "attribution-service", "scopes": ["entitlements"]}))]
pub struct ApiKeyRequest {
    /// For people.
    name: String,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// From when on it is refused; never by default.
    expires_at: Option<Timestamp>,
}

/// A key just made.
#[derive(Serialize, ToSchema)]
pub struct CreatedApiKey {
    /// The key. It is not shown again.
    #[schema(example = "pg_test_<id>_<secret and checksum>")]
    key: String,
    /// What is kept of it.
    #[serde(flatten)]
    record: KeyRecord,
}

/// Makes an API key, which is shown this once.
#[utoipa::path(
    tag = "Admin",
    operation_id = "createApiKey",
    request_body = ApiKeyRequest,
    responses((status = 201, description = "The key", body = CreatedApiKey), AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/admin/api-keys")]
pub(crate) async fn create_api_key(
    actor: Actor,
    context: web::Data<Context>,
    keys: web::Data<ApiKeys>,
    body: Json<ApiKeyRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let ApiKeyRequest {
        name,
        mut scopes,
        expires_at,
    } = body.0;
    super::text("name", &name)?;
    let expires_at = expires_at.map(Timestamp::get);
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Problem::validation(
            "/scopes",
            "must name at least one scope",
        ));
    }
    let now = context.clock().now();
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::validation("/expires_at", "must be in the future"));
    }
    let created = keys
        .create(actor.label(), name, scopes, expires_at, now)
        .await
        .map_err(|error| match error {
            CreateKeyError::Entropy(_) => Problem::internal(error),
            CreateKeyError::Store(error) => error.into(),
        })?;
    let key = created.key.expose_secret().to_owned();
    Ok(HttpResponse::Created().json(CreatedApiKey {
        key,
        record: created.record,
    }))
}

/// The API keys, newest first, without their secrets.
#[utoipa::path(
    tag = "Admin",
    operation_id = "listApiKeys",
    params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Listing<KeyRecord>), AuthErrors, QueryErrors, DatabaseErrors)
)]
#[get("/admin/api-keys")]
pub(crate) async fn list_api_keys(
    actor: Actor,
    keys: web::Data<ApiKeys>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let after: Option<(Timestamp, String)> = query.0.after()?;
    let rows = keys
        .list(
            after.map(|(created_at, id)| (created_at.get(), id)),
            query.0.limit.rows(),
        )
        .await?;
    Ok(
        HttpResponse::Ok().json(Listing::new(rows, query.0.limit, |key| {
            (key.created_at, key.id.clone())
        })?),
    )
}

/// Revokes an API key: at once here, within a second on other replicas.
#[utoipa::path(
    tag = "Admin",
    operation_id = "revokeApiKey",
    params(("id" = String, Path, description = "The key's id", example = "4fT0aZ81bQxK")),
    responses((status = 204, description = "Revoked, now or before"),
              (status = 404, description = "`not-found`: no such key", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, DatabaseErrors)
)]
#[delete("/admin/api-keys/{id}")]
pub(crate) async fn revoke_api_key(
    actor: Actor,
    context: web::Data<Context>,
    keys: web::Data<ApiKeys>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    if keys
        .revoke(actor.label(), &id.0, context.clock().now())
        .await?
    {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(ProblemKind::NotFound.with_detail("There is no such key."))
    }
}
