//! A subscription as the API shows it, wherever it is shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::provider_event::ProviderName;
use crate::domain::standing::RunningGrace;
use crate::domain::subscription::{PlannedChange, Subscription, SubscriptionStatus};

/// A subscription as its provider last reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(
    as = Subscription,
    example = json!({
        "provider": "stripe",
        "provider_subscription_id": "sub_1QkPz2L8XfVbTn",
        "status": "active",
        "plan_tier": "pro",
        "plan_version": 1,
        "current_period_start": "2026-01-12T00:00:00Z",
        "current_period_end": "2026-02-12T00:00:00Z",
        "cancel_at_period_end": false,
        "trial_end": null,
        "planned_change": null,
        "grace": null
    })
)]
pub struct SubscriptionView {
    /// Who bills it.
    pub provider: ProviderName,
    /// The provider's id of it.
    pub provider_subscription_id: String,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// Tier that it was sold as.
    pub plan_tier: String,
    /// Version of the tier that it was sold as.
    pub plan_version: i32,
    /// Start of the provider's billing period.
    #[schema(required = true)]
    pub current_period_start: Option<DateTime<Utc>>,
    /// End of the provider's billing period. Null: it runs until it is ended.
    #[schema(required = true)]
    pub current_period_end: Option<DateTime<Utc>>,
    /// Cancelled, but in force until the period's end.
    pub cancel_at_period_end: bool,
    /// End of the trial.
    #[schema(required = true)]
    pub trial_end: Option<DateTime<Utc>>,
    /// The change of plan that is planned.
    #[schema(required = true)]
    pub planned_change: Option<PlannedChangeView>,
    /// The grace that runs for the customer now.
    #[schema(required = true)]
    pub grace: Option<GraceView>,
}

/// A change of plan that is planned: until then the present plan stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(
    as = PlannedChange,
    example = json!({"plan_tier": "pro", "plan_version": 1, "at": "2026-02-12T00:00:00Z"})
)]
pub struct PlannedChangeView {
    /// The tier to come.
    pub plan_tier: String,
    /// Version of the tier to come.
    pub plan_version: i32,
    /// From when on.
    pub at: DateTime<Utc>,
}

/// A grace that runs: what the former plan allowed stays allowed for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SubscriptionGrace, example = json!({"tier": "pro", "ends_at": "2026-02-19T00:00:00Z"}))]
pub struct GraceView {
    /// The former tier.
    pub tier: String,
    /// First instant at which it allows nothing more.
    pub ends_at: DateTime<Utc>,
}

impl SubscriptionView {
    /// The view of one subscription; `grace` is the one that runs for its customer.
    pub fn of(subscription: &Subscription, grace: Option<&RunningGrace>) -> Self {
        Self {
            provider: subscription.provider,
            provider_subscription_id: subscription.provider_subscription_id.clone(),
            status: subscription.status,
            plan_tier: subscription.plan.tier.clone(),
            plan_version: subscription.plan.version,
            current_period_start: subscription.current_period_start,
            current_period_end: subscription.current_period_end,
            cancel_at_period_end: subscription.cancel_at_period_end,
            trial_end: subscription.trial_end,
            planned_change: subscription.planned.as_ref().map(PlannedChangeView::of),
            grace: grace.map(GraceView::of),
        }
    }
}

impl PlannedChangeView {
    fn of(planned: &PlannedChange) -> Self {
        Self {
            plan_tier: planned.plan.tier.clone(),
            plan_version: planned.plan.version,
            at: planned.at,
        }
    }
}

impl GraceView {
    /// The view of a grace that runs.
    pub fn of(grace: &RunningGrace) -> Self {
        Self {
            tier: grace.plan.plan.tier.clone(),
            ends_at: grace.ends_at,
        }
    }
}
