//! The plan context: all that a frontend shows of a plan, in one answer.

mod billing_warnings;

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::billing_warnings::{billing_warnings, overage_warnings};
use super::entitlements::{CustomerQuery, known_snapshot};
use super::etag::{Keep, tagged};
use super::extract::Query;
use super::payment_provider::PaymentProvider;
use super::problem::Problem;
use super::responses::{AuthErrors, CustomerErrors, DatabaseErrors, QueryErrors};
use super::subscription_view::{GraceView, SubscriptionView};
use super::usage::UsageMetric;
use crate::domain::actor::Actor;
use crate::domain::billed::Billed;
use crate::domain::catalogue::Price;
use crate::domain::decision::{Decision, Limit, Reason};
use crate::domain::permission::Permission;
use crate::domain::provider_event::ProviderName;
use crate::domain::subscription::Subscription;
use crate::meter::{self, Snapshot};
use crate::service::billing::has_pages;
use crate::service::checkout::is_mere_session;
use crate::service::context::Context;
use crate::store::pool::{self, StoreError};
use crate::store::{checkout_sessions, denials, overage_invoices, provider_customers};

/// The route that sells to who has nothing.
const CREATE_CHECKOUT: &str = "/billing/create-checkout";
/// How long a denial keeps up the call to action.
const DENIALS_COUNT_FOR: TimeDelta = TimeDelta::days(7);

/// The plan in force.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ContextPlan {
    /// Key.
    #[schema(example = "free")]
    tier: String,
    /// For people.
    #[schema(example = "Free")]
    name: String,
    /// A word to show beside the name.
    #[schema(required = true)]
    badge: Option<String>,
    /// Version in force.
    #[schema(example = 1)]
    version: i32,
    /// What it costs.
    prices: Vec<Price>,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// A limit is near, or passed.
    Usage,
    /// Something was not paid.
    PaymentFailed,
    /// A former plan's limits still stand for a while.
    Grace,
    /// The subscription is paused.
    Paused,
    /// The subscription was cancelled and ends.
    Ends,
    /// The trial ends within three days.
    TrialEnds,
    /// Usage above a limit is to be paid for.
    OverageDue,
}

/// What the customer should be told.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Warning {
    /// What it is about.
    kind: WarningKind,
    /// Feature key; null where it is about the subscription.
    #[schema(required = true, example = "attribution_runs")]
    feature: Option<String>,
    /// 80, 90 or 100; null where it is about the subscription.
    #[schema(required = true, example = 80)]
    level: Option<u8>,
    /// For people.
    #[schema(example = "80% of Attribution runs used: 82 of 100.")]
    message: String,
    /// Where what is due is paid, where the provider has a page for that alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uri")]
    url: Option<String>,
}

/// A feature that cannot be used now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Locked {
    /// Feature key.
    feature: String,
    /// Why.
    reason: Reason,
    /// The lowest tier in which it could be; null: in none.
    #[schema(required = true, example = "pro")]
    available_in: Option<String>,
}

/// A request for the frontend to send.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Action {
    /// HTTP method.
    #[schema(example = "POST")]
    method: &'static str,
    /// Path.
    #[schema(example = "/billing/create-checkout")]
    href: &'static str,
    /// Body to send.
    #[schema(value_type = Object)]
    body: Value,
}

/// A request for the frontend to send, with `{"customer_id": …}` as JSON; with a customer token `{}` will do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Link {
    /// HTTP method.
    #[schema(example = "POST")]
    method: &'static str,
    /// Path.
    href: &'static str,
}

/// The tier to move to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ContextUpgrade {
    /// Key.
    #[schema(example = "pro")]
    tier: String,
    /// For people.
    #[schema(example = "Pro")]
    name: String,
    /// What to tell the customer; null while there is no occasion.
    #[schema(required = true, example = "Upgrade to Pro for more Attribution runs.")]
    call_to_action: Option<String>,
    /// How to buy it: a checkout, or a change of the subscription that is paid; null while a payment is due.
    #[schema(required = true)]
    checkout: Option<Action>,
}

/// All that a frontend shows of a plan.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PlanContext {
    /// The customer.
    customer_id: String,
    /// The plan in force.
    plan: ContextPlan,
    /// The limit of each feature in force, overrides included.
    #[schema(value_type = Object, example = json!({"attribution_runs": 100, "models": 1, "lookback_days": 7, "export": false}))]
    limits: BTreeMap<String, Option<Limit>>,
    /// The subscription that counts; null: there never was one.
    #[schema(required = true)]
    subscription: Option<SubscriptionView>,
    /// Each counter.
    usage: BTreeMap<String, UsageMetric>,
    /// What the customer should be told: limits that are near or passed, then what there is to say of the subscription.
    warnings: Vec<Warning>,
    /// What cannot be used now.
    locked: Vec<Locked>,
    /// The tier to move to; null: there is no higher one.
    #[schema(required = true)]
    upgrade: Option<ContextUpgrade>,
    /// How to visit the provider's pages for customers; null for somebody who never paid through a provider, or whose provider has none.
    #[schema(required = true)]
    manage_billing: Option<Link>,
    /// What a former plan still allows.
    #[schema(required = true)]
    grace: Option<GraceView>,
}

/// Tier, limits, usage meter, warnings, locked features, upgrade target: all that a frontend shows of a plan.
///
/// The `ETag` is over the body; ask again with `If-None-Match` to get a 304 while nothing changed.
#[utoipa::path(
    tag = "Plan context",
    operation_id = "getPlanContext",
    params(CustomerQuery),
    responses((status = 200, description = "The plan context", body = PlanContext),
              (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`"),
              AuthErrors, QueryErrors, CustomerErrors, DatabaseErrors)
)]
#[get("/plan-context")]
pub(crate) async fn get_plan_context(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<CustomerQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadEntitlements)?;
    let customer = actor.customer_of_query(query.0.customer_id)?;
    let snapshot = known_snapshot(&context, &customer).await?;
    let since = snapshot.now - DENIALS_COUNT_FOR;
    let (denied, known_at, payable, pages) = pool::run(&context.pool, move |conn| {
        let customer = customer.as_str();
        let denied = denials::features_since(conn, customer, since)?;
        let known_at = provider_customers::known_at(conn, customer)?;
        let payable = overage_invoices::payable_of(conn, customer)?;
        let pages = checkout_sessions::not_gone_through(conn, customer)?;
        Ok::<_, StoreError>((denied, known_at, payable, pages))
    })
    .await?;
    let mut subscriptions = snapshot.subscriptions.clone();
    // A page on which something could have been bought is nothing that is owed.
    subscriptions.retain(|subscription| !is_mere_session(subscription, &pages));
    let has_pages = has_pages(&context, &subscriptions, &known_at);
    let manage_billing = has_pages.then_some(Link {
        method: "POST",
        href: "/billing/portal",
    });
    let mut view = PlanContext {
        manage_billing,
        ..view(&context, &snapshot, &subscriptions, &denied)
    };
    let plan = &snapshot.standing.plan;
    view.plan.prices = context.known_prices.of(&context, plan).await;
    view.warnings.extend(overage_warnings(&payable));
    tagged(&request, &view, Keep::Private)
}

/// All but what only the provider's customer knows.
fn view(
    context: &Context,
    snapshot: &Snapshot,
    subscriptions: &[Subscription],
    denied: &[String],
) -> PlanContext {
    let standing = &snapshot.standing;
    let plan = &standing.plan.plan;
    let decisions = meter::survey(snapshot, context.meter.rules().enforcement);
    let usage = UsageMetric::all(&decisions);
    let name = |key: &str| {
        let features = snapshot.plans.features();
        features
            .iter()
            .find(|feature| feature.key == key)
            .map_or_else(|| key.to_owned(), |feature| feature.name.clone())
    };
    let mut warnings: Vec<Warning> = usage
        .iter()
        .filter_map(|metric| {
            let (level, limit) = metric.warning_level.zip(metric.limit)?;
            let message = format!(
                "{level}% of {} used: {} of {limit}.",
                name(&metric.feature),
                metric.used
            );
            Some(Warning {
                kind: WarningKind::Usage,
                feature: Some(metric.feature.clone()),
                level: Some(level),
                message,
                url: None,
            })
        })
        .collect();
    let locked: Vec<Locked> = decisions
        .iter()
        .filter(|decision| !decision.reason.allows())
        .map(|decision| Locked {
            feature: decision.feature.clone(),
            reason: decision.reason,
            available_in: decision
                .upgrade
                .as_ref()
                .map(|upgrade| upgrade.tier.clone()),
        })
        .collect();
    let subscription = standing
        .subscription
        .and_then(|index| snapshot.subscriptions.get(index))
        .filter(|counts| subscriptions.iter().any(|known| known.id == counts.id));
    let ends = subscription.is_some_and(|subscription| {
        subscription
            .access_ends_at
            .is_some_and(|end| snapshot.now < end)
    });
    let missing = |feature: &String| {
        locked
            .iter()
            .any(|locked| locked.feature == *feature && locked.reason == Reason::FeatureNotInPlan)
    };
    let occasion = warnings
        .iter()
        .filter_map(|warning| warning.feature.as_ref())
        .chain(denied)
        .chain(locked.iter().map(|locked| &locked.feature))
        .next()
        .map(|feature| {
            format!(
                "{} {}",
                if missing(feature) {
                    "to get"
                } else {
                    "for more"
                },
                name(feature)
            )
        });
    warnings.extend(billing_warnings(subscription, standing, snapshot.now));
    PlanContext {
        customer_id: snapshot.customer_id.clone(),
        plan: ContextPlan {
            tier: plan.tier.clone(),
            name: plan.name.clone(),
            badge: plan.badge.clone(),
            version: standing.plan.version,
            prices: plan.prices.clone(),
        },
        limits: limits(&decisions),
        upgrade: upgrade(context, snapshot, subscriptions, (occasion, ends)),
        subscription: subscription
            .map(|subscription| SubscriptionView::of(subscription, standing.grace.as_ref())),
        usage: usage
            .into_iter()
            .map(|metric| (metric.feature.clone(), metric))
            .collect(),
        warnings,
        locked,
        manage_billing: None,
        grace: standing.grace.as_ref().map(GraceView::of),
    }
}

fn limits(decisions: &[Decision]) -> BTreeMap<String, Option<Limit>> {
    decisions
        .iter()
        .map(|decision| (decision.feature.clone(), decision.limit))
        .collect()
}

fn upgrade(
    context: &Context,
    snapshot: &Snapshot,
    subscriptions: &[Subscription],
    (occasion, ends): (Option<String>, bool),
) -> Option<ContextUpgrade> {
    let tier = snapshot.standing.plan.plan.upgrade_to.as_ref()?;
    let plan = &snapshot.plans.of_tier(tier)?.plan;
    let call_to_action = match occasion {
        Some(reason) => Some(format!("Upgrade to {} {reason}.", plan.name)),
        None if ends => Some(format!(
            "Your subscription ends soon. Stay with us on {}.",
            plan.name
        )),
        None => None,
    };
    let checkout = way_to_buy(subscriptions, snapshot.now).map(|href| {
        let mut body = json!({"customer_id": snapshot.customer_id, "plan_tier": plan.tier});
        let seller = seller(context, subscriptions, tier);
        if href == CREATE_CHECKOUT
            && let Some(provider) = seller.filter(|name| *name != PaymentProvider::default().0)
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("provider".to_owned(), provider.as_str().into());
        }
        Action {
            method: "POST",
            href,
            body,
        }
    });
    Some(ContextUpgrade {
        tier: plan.tier.clone(),
        name: plan.name.clone(),
        call_to_action,
        checkout,
    })
}

/// Who sells the tier: whoever the customer paid last, else the first that has it.
fn seller(context: &Context, subscriptions: &[Subscription], tier: &str) -> Option<ProviderName> {
    let sells = |name: &ProviderName| {
        let storefront = context.storefront(*name);
        let prices = storefront.and_then(|storefront| storefront.prices.get(tier));
        prices.is_some_and(|prices| prices.base.is_some())
    };
    let paid = subscriptions.iter().rev().map(|s| s.provider);
    let all = context.storefronts.iter().map(|s| s.provider.name());
    paid.chain(all).find(sells)
}

/// Where another plan is bought: as a change of the subscription that is paid, else by a checkout. `None`: something is due first.
fn way_to_buy(subscriptions: &[Subscription], now: DateTime<Utc>) -> Option<&'static str> {
    let Billed { live, due } = Billed::of(subscriptions, now);
    match (live.is_empty(), due) {
        (false, _) => Some("/billing/change-plan"),
        (true, Some(_)) => None,
        (true, None) => Some(CREATE_CHECKOUT),
    }
}
