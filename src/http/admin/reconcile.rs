//! Stored subscriptions against what their providers say.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::actor::Actor;
use crate::domain::permission::Permission;
use crate::http::extract::Json;
use crate::http::problem::Problem;
use crate::http::responses::{AuthErrors, BodyErrors, DatabaseErrors, ProviderErrors};
use crate::service::apply_event::{self, Shown};
use crate::service::context::Context;

/// Whether to mend what differs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"repair": false}))]
pub struct ReconcileSubscriptionsRequest {
    /// Make each subscription that differs what its provider says.
    #[serde(default)]
    repair: bool,
}

/// A subscription, on one side.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionState {
    /// Where it stands, as that side says it.
    #[schema(example = "active")]
    status: String,
    /// Tier; null: its price is of no plan that was ever sold.
    #[schema(required = true, example = "pro")]
    plan_tier: Option<String>,
    /// Version of the tier.
    #[schema(required = true, example = 1)]
    plan_version: Option<i32>,
    /// Start of the billing period.
    #[schema(required = true)]
    current_period_start: Option<DateTime<Utc>>,
    /// End of the billing period.
    #[schema(required = true)]
    current_period_end: Option<DateTime<Utc>>,
    /// Ends with the period.
    cancel_at_period_end: bool,
    /// When paid access is known to end.
    #[schema(required = true)]
    access_ends_at: Option<DateTime<Utc>>,
    /// End of the trial.
    #[schema(required = true)]
    trial_end: Option<DateTime<Utc>>,
}

impl From<Shown> for SubscriptionState {
    fn from(shown: Shown) -> Self {
        let (plan_tier, plan_version) = shown.plan.map(|plan| (plan.tier, plan.version)).unzip();
        Self {
            status: shown.status,
            plan_tier,
            plan_version,
            current_period_start: shown.current_period_start,
            current_period_end: shown.current_period_end,
            cancel_at_period_end: shown.cancel_at_period_end,
            access_ends_at: shown.access_ends_at,
            trial_end: shown.trial_end,
        }
    }
}

/// A subscription that is not what its provider says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionDrift)]
pub struct SubscriptionDriftView {
    /// Whose.
    #[schema(example = "acme")]
    customer_id: String,
    /// The provider's id.
    #[schema(example = "sub_1QkPz2L8XfVbTn")]
    provider_subscription_id: String,
    /// Here; null: not known here.
    #[schema(required = true)]
    stored: Option<SubscriptionState>,
    /// At the provider; null: not known there, which only a person can clear up.
    #[schema(required = true)]
    provider: Option<SubscriptionState>,
    /// It was made what the provider says.
    repaired: bool,
}

/// What the comparison found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"checked": 2, "drifts": [{"customer_id": "acme",
    "provider_subscription_id": "sub_1QkPz2L8XfVbTn",
    "stored": {"status": "active", "plan_tier": "pro", "plan_version": 1, "current_period_start": "2026-01-12T00:00:00Z",
               "current_period_end": "2026-02-12T00:00:00Z", "cancel_at_period_end": false, "access_ends_at": null, "trial_end": null},
    "provider": {"status": "past_due", "plan_tier": "pro", "plan_version": 1, "current_period_start": "2026-02-12T00:00:00Z",
                 "current_period_end": "2026-03-12T00:00:00Z", "cancel_at_period_end": false, "access_ends_at": null, "trial_end": null},
    "repaired": true}]}))]
pub struct ReconcileSubscriptionsResponse {
    /// How many subscriptions were compared: all that the providers have of our customers, and all that are open here.
    checked: u64,
    /// Those that differ.
    drifts: Vec<SubscriptionDriftView>,
}

/// Compares the stored subscriptions with the providers' own, and mends them where asked to.
///
/// A repair fetches the subscription and writes what the provider says, as a webhook would, and leaves a row in the audit log. What has
/// ended here stays ended. After an error what was repaired until then stays, and the call may be repeated.
#[utoipa::path(
    tag = "Admin",
    operation_id = "reconcileSubscriptions",
    request_body = ReconcileSubscriptionsRequest,
    responses((status = 200, description = "What was found, and what was repaired", body = ReconcileSubscriptionsResponse),
              AuthErrors, BodyErrors, ProviderErrors, DatabaseErrors)
)]
#[post("/admin/reconcile-subscriptions")]
pub(crate) async fn reconcile_subscriptions(
    actor: Actor,
    context: web::Data<Context>,
    body: Json<ReconcileSubscriptionsRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::Administer)?;
    let found =
        apply_event::reconcile_subscriptions(&context, &actor.label(), body.0.repair).await?;
    Ok(HttpResponse::Ok().json(ReconcileSubscriptionsResponse {
        checked: found.checked,
        drifts: found
            .drifts
            .into_iter()
            .map(|drift| SubscriptionDriftView {
                customer_id: drift.customer_id,
                provider_subscription_id: drift.provider_subscription_id,
                stored: drift.stored.map(SubscriptionState::from),
                provider: drift.at_provider.map(SubscriptionState::from),
                repaired: drift.repaired,
            })
            .collect(),
    }))
}
