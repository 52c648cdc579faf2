//! The catalogue's plans, for price lists.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::etag::{Keep, tagged};
use super::extract::Path;
use super::problem::{Problem, ProblemKind};
use super::responses::DatabaseErrors;
use crate::domain::catalogue::{Feature, FeatureKind, Grant, Price};
use crate::domain::decision::Limit;
use crate::domain::plans::PlanVersion;
use crate::domain::terms::percent_of;
use crate::service::context::Context;

/// A plan, with what it costs and grants.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// Key.
    #[schema(example = "pro")]
    pub tier: String,
    /// For people.
    #[schema(example = "Pro")]
    pub name: String,
    /// Version of this content.
    #[schema(example = 1)]
    pub version: i32,
    /// For people.
    pub description: String,
    /// What it costs; empty: not sold. Of a provider that sets its own price (Razorpay, in INR), what that says.
    pub prices: Vec<Price>,
    /// The limit of each feature: a number, null for unlimited, or on/off.
    #[schema(value_type = Object, example = json!({"attribution_runs": 5000, "models": 3, "lookback_days": 60, "export": true}))]
    pub limits: BTreeMap<String, Option<Limit>>,
    /// The features in full.
    pub features: Vec<FeatureView>,
    /// The tier to propose next.
    #[schema(required = true, example = "scale")]
    pub upgrade_to: Option<String>,
}

/// One feature of a plan.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PlanFeature)]
pub struct FeatureView {
    /// Key.
    #[schema(example = "attribution_runs")]
    pub key: String,
    /// For people.
    #[schema(example = "Attribution runs")]
    pub name: String,
    /// How it is counted.
    pub kind: FeatureKind,
    /// A number, null for unlimited, or on/off.
    #[schema(required = true)]
    pub limit: Option<Limit>,
    /// `month` for a metered feature: the counter starts anew each usage period.
    #[schema(required = true, example = "month")]
    pub period: Option<&'static str>,
    /// End of the soft zone in percent of the limit.
    #[schema(required = true, example = 110)]
    pub hard_limit_percent: Option<u32>,
    /// End of the soft zone.
    #[schema(required = true, example = 5500)]
    pub hard_limit: Option<i64>,
    /// What use above the limit costs.
    #[schema(required = true)]
    pub overage: Option<OverageView>,
}

/// What use above a limit costs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PlanOverage)]
pub struct OverageView {
    /// Minor units for one unit of use, exact.
    #[schema(example = "1")]
    pub unit_amount_decimal: String,
    /// ISO 4217, lowercase.
    #[schema(example = "usd")]
    pub currency: String,
    /// Most that is sold above the limit in a period; null: no cap.
    #[schema(required = true)]
    pub max_quantity: Option<i64>,
}

/// All plans.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PlanList {
    /// The tier of everyone without a subscription.
    #[schema(example = "free")]
    pub default_tier: String,
    /// Lowest first.
    pub data: Vec<PlanView>,
}

impl PlanView {
    /// What the API shows of a version.
    pub async fn of(context: &Context, version: &PlanVersion) -> Self {
        let plan = &version.plan;
        Self {
            tier: plan.tier.clone(),
            name: plan.name.clone(),
            version: version.version,
            description: plan.description.clone(),
            prices: context.known_prices.of(context, version).await,
            limits: plan
                .features
                .iter()
                .map(|feature| (feature.key.clone(), limit_of(&feature.grant)))
                .collect(),
            features: plan.features.iter().map(FeatureView::of).collect(),
            upgrade_to: plan.upgrade_to.clone(),
        }
    }
}

impl FeatureView {
    fn of(feature: &Feature) -> Self {
        let (hard_limit_percent, hard_limit, overage) = match &feature.grant {
            Grant::Metered {
                overage: Some(overage),
                ..
            } => (None, None, overage.prices.first().zip(Some(overage))),
            Grant::Metered {
                limit,
                hard_limit_percent,
                overage: None,
            } => {
                let percent = hard_limit_percent.filter(|_| limit.is_some());
                (
                    percent,
                    limit
                        .zip(percent)
                        .map(|(limit, percent)| percent_of(limit, percent)),
                    None,
                )
            }
            Grant::Allocated { limit } => (None, *limit, None),
            Grant::Static { .. } | Grant::Boolean { .. } => (None, None, None),
        };
        Self {
            key: feature.key.clone(),
            name: feature.name.clone(),
            kind: feature.grant.kind(),
            limit: limit_of(&feature.grant),
            period: (feature.grant.kind() == FeatureKind::Metered).then_some("month"),
            hard_limit_percent,
            hard_limit,
            overage: overage.map(|(price, overage)| OverageView {
                unit_amount_decimal: price.unit_amount_decimal.to_string(),
                currency: price.currency.as_str().to_owned(),
                max_quantity: overage.max_quantity,
            }),
        }
    }
}

fn limit_of(grant: &Grant) -> Option<Limit> {
    match grant {
        Grant::Metered { limit, .. } | Grant::Allocated { limit } | Grant::Static { limit } => {
            limit.map(Limit::Quantity)
        }
        Grant::Boolean { enabled } => Some(Limit::Enabled(*enabled)),
    }
}

/// The plans on sale.
///
/// No credential is needed, so that a price list can be rendered anywhere. The answer carries an `ETag`.
#[utoipa::path(
    tag = "Plans",
    operation_id = "listPlans",
    responses((status = 200, description = "Every plan, lowest tier first", body = PlanList),
              (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`"), DatabaseErrors),
    security(())
)]
#[get("/plans")]
pub(crate) async fn list_plans(
    context: web::Data<Context>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let plans = context.book().plans();
    let views = plans.current().iter();
    let body = PlanList {
        default_tier: plans.default_tier().to_owned(),
        data: join_all(views.map(|version| PlanView::of(&context, version))).await,
    };
    tagged(&request, &body, Keep::Public)
}

/// One plan.
#[utoipa::path(
    tag = "Plans",
    operation_id = "getPlan",
    params(("tier" = String, Path, description = "Key of the tier", example = "pro")),
    responses((status = 200, description = "The plan in its current version", body = PlanView),
              (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`"),
              (status = 404, description = "`unknown-plan`", body = super::problem::ProblemDocument,
               content_type = "application/problem+json"), DatabaseErrors),
    security(())
)]
#[get("/plans/{tier}")]
pub(crate) async fn get_plan(
    context: web::Data<Context>,
    tier: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let plans = context.book().plans();
    let version = plans
        .of_tier(&tier.0)
        .ok_or_else(|| ProblemKind::UnknownPlan.with_detail("The catalogue has no such tier."))?;
    tagged(
        &request,
        &PlanView::of(&context, version).await,
        Keep::Public,
    )
}
