//! Corrections of usage, and the proof that the counters are the ledger's sums.

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::decision::Decision;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::permission::Permission;
use crate::domain::quantity::Delta;
use crate::http::decisions::told;
use crate::http::extract::{Json, idempotency_key};
use crate::http::problem::{Problem, ProblemDocument};
use crate::http::responses::{AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors};
use crate::meter::Adjust;
use crate::service::context::Context;
use crate::service::reconcile::{self, Finding};

/// A correction.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "attribution_runs", "delta": -3, "reason": "three runs failed on our side",
    "idempotency_key": "ticket-4711"}))]
pub struct AdjustRequest {
    /// Whose.
    #[schema(value_type = String)]
    customer_id: CustomerId,
    /// Key of a metered or allocated feature.
    feature: String,
    /// Units to add; negative: to take away.
    delta: Delta,
    /// Why, for the audit log.
    reason: String,
    /// Makes a repetition safe. Required here or as the header `Idempotency-Key`.
    #[schema(value_type = Option<String>, max_length = 255)]
    idempotency_key: Option<IdempotencyKey>,
}

/// Corrects a counter of the current period by an entry in the ledger.
///
/// Never denied: above the limit nothing more is admitted then. What was counted is never changed, only added to; below zero is
/// refused. The same key gives an equal answer with `Idempotency-Replayed: true`.
#[utoipa::path(
    tag = "Admin",
    operation_id = "adjustUsage",
    request_body = AdjustRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same as `idempotency_key` in the body")),
    responses((status = 200, description = "Corrected and committed; where that leaves the customer", body = Decision,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              (status = 409, description = "`below-zero`: less was counted; or `conflict`: the count would not fit into 64 bits", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[post("/admin/usage/adjust")]
pub(crate) async fn adjust_usage(
    actor: Actor,
    context: web::Data<Context>,
    request: HttpRequest,
    body: Json<AdjustRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let body = body.0;
    super::text("reason", &body.reason)?;
    let key = idempotency_key(&request, body.idempotency_key)?.ok_or_else(|| {
        Problem::validation("/idempotency_key", "missing field `idempotency_key`")
    })?;
    let command = Adjust {
        customer: body.customer_id,
        feature: body.feature,
        delta: body.delta.get(),
        reason: body.reason,
        actor: actor.label(),
        key,
    };
    let adjusted = context.meter.adjust(command).await?;
    Ok(told(
        HttpResponse::Ok(),
        adjusted.replayed,
        &adjusted.decision,
    ))
}

/// What to compare, and whether to mend it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "repair": false}))]
pub struct ReconcileRequest {
    /// Whose counters; everybody's by default.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Set each counter that differs to its ledger's sum, and tell the provider anew what it refused.
    #[serde(default)]
    repair: bool,
}

/// The period of a counter.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CountedPeriod {
    /// First instant.
    start: DateTime<Utc>,
    /// First instant after it; null: the counter is missing, and where its period ended is not on record.
    #[schema(required = true)]
    end: Option<DateTime<Utc>>,
}

/// A counter that is not its ledger's sum, or of which the payment provider does not have what it was told.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageDrift {
    /// Whose.
    #[schema(example = "acme")]
    customer_id: String,
    /// Feature key.
    #[schema(example = "attribution_runs")]
    feature: String,
    /// Of which period; null: a gauge, which never resets.
    #[schema(required = true)]
    period: Option<CountedPeriod>,
    /// Sum of the ledger, exact even where it is no count (below zero, or past 64 bits).
    ledger: i128,
    /// What the counter said; 0 where there was none.
    counter: i64,
    /// Units of overage that the payment provider was told and did not refuse; null where it was told nothing.
    #[schema(required = true)]
    reported_to_provider: Option<i64>,
    /// Units that the payment provider counts of it; null where it was told nothing, does not answer, or something is still on its way
    /// (its sums lag by minutes).
    #[schema(required = true)]
    provider_total: Option<i64>,
    /// The counter was set to the ledger's sum, or overage that the provider refused is told anew. Not done where the sum is no count, nor
    /// for a counter that is missing and whose period cannot be told any more, nor about overage that the provider merely counts otherwise.
    repaired: bool,
}

impl From<Finding> for UsageDrift {
    fn from(finding: Finding) -> Self {
        let Finding {
            drift,
            reported,
            counted,
            repaired,
        } = finding;
        Self {
            period: (!drift.is_gauge()).then_some(CountedPeriod {
                start: drift.period_start,
                end: drift.period_end,
            }),
            customer_id: drift.customer_id,
            feature: drift.feature,
            ledger: drift.ledger,
            counter: drift.counter,
            reported_to_provider: reported,
            provider_total: counted,
            repaired,
        }
    }
}

/// What the comparison found.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"checked": 120, "drifts": [{"customer_id": "acme", "feature": "attribution_runs",
    "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"}, "ledger": 151, "counter": 150,
    "reported_to_provider": null, "provider_total": null, "repaired": true}]}))]
pub struct ReconcileResponse {
    /// How many counters were compared.
    #[schema(minimum = 0)]
    checked: i64,
    /// Those that differ, by customer, feature and period: the first 1000 that are not their ledger's sum, and up to 1000 of which the
    /// provider does not have what it was told.
    drifts: Vec<UsageDrift>,
}

/// Compares every counter with the sum of its ledger entries, and what was reported with what the provider has.
///
/// There is nothing to find unless somebody wrote into the database by hand. The ledger is what counts and is never changed. Each
/// repair is a transaction of its own, which keeps every other writer of that customer out, and leaves a row in the audit log.
///
/// Overage that the payment provider was told is compared with what it counts: of the customer, or of everybody of whom it was told
/// within the last 35 days (1000 counters at most).
#[utoipa::path(
    tag = "Admin",
    operation_id = "reconcileUsage",
    request_body = ReconcileRequest,
    responses((status = 200, description = "What was found, and what was repaired", body = ReconcileResponse),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/admin/reconcile-usage")]
pub(crate) async fn reconcile_usage(
    actor: Actor,
    context: web::Data<Context>,
    body: Json<ReconcileRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let ReconcileRequest {
        customer_id,
        repair,
    } = body.0;
    let found = reconcile::reconcile(&context, actor.label(), customer_id, repair).await?;
    Ok(HttpResponse::Ok().json(ReconcileResponse {
        checked: found.checked,
        drifts: found.findings.into_iter().map(UsageDrift::from).collect(),
    }))
}
