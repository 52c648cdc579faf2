//! Reservations: hold a quantity, do the work, then settle what it took.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::decisions::{denial, told};
use super::entitlements::CustomerQuery;
use super::extract::{Json, Path, Query, idempotency_key};
use super::problem::{Problem, ProblemDocument, ProblemKind};
use super::responses::{
    AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors, DenialErrors, QueryErrors,
};
use crate::domain::actor::Actor;
use crate::domain::decision::Decision;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::permission::Permission;
use crate::domain::quantity::{HoldSeconds, Level, Quantity};
use crate::domain::reservation::{
    InvalidReservationId, Reservation, ReservationId, ReservationState,
};
use crate::meter::{CommitReservation, MeterError, ReleaseReservation, Reserve};
use crate::service::context::Context;
use crate::telemetry::metrics::Metrics;

/// A reservation, and the decision that was made on it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Reservation, example = json!({"id": "res_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7", "customer_id": "acme",
    "feature": "attribution_runs", "state": "held", "quantity": 10, "committed_quantity": null,
    "created_at": "2026-01-20T10:00:00Z", "expires_at": "2026-01-20T10:05:00Z", "settled_at": null, "decision": {
    "customer_id": "acme", "feature": "attribution_runs", "kind": "metered", "allowed": true, "enforced": true,
    "reason": "within_limit", "requested": 10, "limit": 5000, "limit_source": "plan", "hard_limit": 5500, "used": 151,
    "held": 10, "remaining": 4839, "percent_used": 3.02, "warning_level": null, "warnings_crossed": [], "overage": null,
    "plan": {"tier": "pro", "version": 1, "status": "active", "source": "subscription"},
    "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"}, "grace": null,
    "upgrade": {"tier": "scale", "reason": "higher_limit"}, "event_id": null, "as_of": "2026-01-20T10:00:00Z"}}))]
pub struct ReservationView {
    /// To settle it by: `res_` and 32 hexadecimal digits.
    id: String,
    /// Whose.
    customer_id: String,
    /// Feature key.
    feature: String,
    /// What has become of it. Only what is `held` counts against the limit.
    state: ReservationState,
    /// Units that were reserved.
    quantity: i64,
    /// Units that the commit recorded; null until then.
    #[schema(required = true)]
    committed_quantity: Option<i64>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// First instant at which it holds nothing any more.
    expires_at: DateTime<Utc>,
    /// When it was committed or released; null until then.
    #[schema(required = true)]
    settled_at: Option<DateTime<Utc>>,
    /// What was decided by this call; null where nothing was (release, GET).
    #[schema(required = true)]
    decision: Option<Decision>,
}

impl ReservationView {
    fn of(reservation: Reservation, decision: Option<Decision>) -> Self {
        Self {
            id: reservation.id.to_string(),
            customer_id: reservation.customer_id,
            feature: reservation.feature,
            state: reservation.state,
            quantity: reservation.quantity,
            committed_quantity: reservation.committed_quantity,
            created_at: reservation.created_at,
            expires_at: reservation.expires_at,
            settled_at: reservation.settled_at,
            decision,
        }
    }
}

/// Hold.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": 10, "ttl_seconds": 300,
    "idempotency_key": "batch-2026-01-20-0001"}))]
pub struct ReserveRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Key of a metered or allocated feature.
    feature: String,
    /// Units; held whole or not at all.
    #[serde(default)]
    #[schema(default = 1)]
    quantity: Quantity,
    /// For how long.
    #[serde(default)]
    #[schema(default = 300)]
    ttl_seconds: HoldSeconds,
    /// Makes a repetition safe; may come as the header `Idempotency-Key` as well.
    #[schema(value_type = Option<String>, max_length = 255)]
    idempotency_key: Option<IdempotencyKey>,
}

/// Holds a quantity: nobody else can use it up until it is committed, released, or expires.
///
/// Admitted by the same rule as `consume`. A hold neither bills nor warns, and counts from one instant to `expires_at` by the
/// database's clock, whatever else runs or does not. With an idempotency key a repetition returns an equal answer, with
/// `Idempotency-Replayed: true`, even after the reservation was settled; `GET` tells what has become of it. A denial holds
/// nothing, and the same key is judged anew. **Without a key a call is not safe to repeat after a 503**: what it may hold is
/// free again only when it expires.
#[utoipa::path(
    tag = "Reservations",
    operation_id = "reserve",
    request_body = ReserveRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same as `idempotency_key` in the body")),
    responses((status = 201, description = "Held and committed to disk", body = ReservationView,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              DenialErrors, AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[post("/reservations")]
pub(crate) async fn reserve(
    actor: Actor,
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    request: HttpRequest,
    body: Json<ReserveRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let body = body.0;
    let command = Reserve {
        customer: actor.customer_of_body(body.customer_id)?,
        feature: body.feature,
        quantity: body.quantity.get(),
        ttl: TimeDelta::seconds(body.ttl_seconds.get()),
        key: idempotency_key(&request, body.idempotency_key)?,
    };
    let reserved = context.meter.reserve(command).await?;
    metrics.decision("reserve", reserved.decision.reason.as_str());
    let Some(reservation) = reserved.reservation else {
        return Err(denial(&reserved.decision)?);
    };
    let view = ReservationView::of(reservation, Some(reserved.decision));
    Ok(told(HttpResponse::Created(), reserved.replayed, view))
}

/// Settle.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "quantity": 7}))]
pub struct CommitRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Units that were used, 0 to what is held; all of it by default. The rest is freed.
    quantity: Option<Level>,
}

/// Records what was used of a reservation, and frees the rest.
///
/// Before `expires_at` this is always honoured, and counts in the period in which the reservation was made. Later it is admitted
/// again if it still fits, and if that period closed less than `late_usage_days` ago. It may be repeated for ever: the same
/// quantity gives an equal answer with `Idempotency-Replayed: true`. A quantity of 0 records nothing (`event_id` is null).
#[utoipa::path(
    tag = "Reservations",
    operation_id = "commitReservation",
    params(("id" = String, Path, description = "The reservation", example = "res_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7")),
    request_body = CommitRequest,
    responses((status = 200, description = "Counted and committed to disk", body = ReservationView,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              (status = 404, description = "`not-found`: the customer has no such reservation", body = ProblemDocument,
               content_type = "application/problem+json"),
              (status = 409, description = "`reservation-expired`: too late, and it does not fit any more; or `conflict`: it was \
               released, committed with another quantity, or the count would not fit into 64 bits", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/reservations/{id}/commit")]
pub(crate) async fn commit_reservation(
    actor: Actor,
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    id: Path<String>,
    body: Json<CommitRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let command = CommitReservation {
        customer: actor.customer_of_body(body.0.customer_id)?,
        id: known(&id.0)?,
        quantity: body.0.quantity.map(Level::get),
    };
    let committed = context.meter.commit(command).await;
    if let Err(MeterError::ReservationExpired(Some(decision))) = &committed {
        metrics.decision("commit", decision.reason.as_str());
    }
    let committed = committed?;
    metrics.decision("commit", committed.decision.reason.as_str());
    let view = ReservationView::of(committed.reservation, Some(committed.decision));
    Ok(told(HttpResponse::Ok(), committed.replayed, view))
}

/// Give up.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme"}))]
pub struct FreeRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
}

/// Gives a reservation up: what it holds is free at once. Expired or not, and however often it is repeated.
#[utoipa::path(
    tag = "Reservations",
    operation_id = "releaseReservation",
    params(("id" = String, Path, description = "The reservation", example = "res_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7")),
    request_body = FreeRequest,
    responses((status = 200, description = "Released; `decision` is null", body = ReservationView,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              (status = 404, description = "`not-found`: the customer has no such reservation", body = ProblemDocument,
               content_type = "application/problem+json"),
              (status = 409, description = "`conflict`: it was committed", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/reservations/{id}/release")]
pub(crate) async fn release_reservation(
    actor: Actor,
    context: web::Data<Context>,
    id: Path<String>,
    body: Json<FreeRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let command = ReleaseReservation {
        customer: actor.customer_of_body(body.0.customer_id)?,
        id: known(&id.0)?,
    };
    let freed = context.meter.free(command).await?;
    let view = ReservationView::of(freed.reservation, None);
    Ok(told(HttpResponse::Ok(), freed.replayed, view))
}

/// A reservation as it stands; `decision` is null.
#[utoipa::path(
    tag = "Reservations",
    operation_id = "getReservation",
    params(("id" = String, Path, description = "The reservation", example = "res_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7"), CustomerQuery),
    responses((status = 200, description = "The reservation", body = ReservationView),
              (status = 404, description = "`not-found`: the customer has no such reservation", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, QueryErrors, DatabaseErrors)
)]
#[get("/reservations/{id}")]
pub(crate) async fn get_reservation(
    actor: Actor,
    context: web::Data<Context>,
    id: Path<String>,
    query: Query<CustomerQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadUsageDetail)?;
    let customer = actor.customer_of_query(query.0.customer_id)?;
    let found = context
        .meter
        .reservation(&customer, known(&id.0)?)
        .await?
        .ok_or(MeterError::UnknownReservation)?;
    Ok(HttpResponse::Ok().json(ReservationView::of(found, None)))
}

/// Reads an id. What is none names nothing.
fn known(id: &str) -> Result<ReservationId, Problem> {
    id.parse().map_err(|why: InvalidReservationId| {
        ProblemKind::NotFound.with_detail(format!("The path names no reservation: {why}."))
    })
}
