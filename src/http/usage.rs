//! Usage: what was used, and recording what was used elsewhere.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::entitlements::{CustomerQuery, known_snapshot};
use super::extract::{BODY_LIMIT, Cursor, Listing, PageLimit, Query, media_type, read_body};
use super::problem::Problem;
use super::responses::{AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors, QueryErrors};
use super::usage_events::{self, RecordRequest, RecordResponse};
use crate::domain::actor::Actor;
use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::{Decision, DecisionOverage, DecisionPlan};
use crate::domain::event_id::EventId;
use crate::domain::ids::CustomerId;
use crate::domain::period::Period;
use crate::domain::permission::Permission;
use crate::domain::timestamp::Timestamp;
use crate::meter::{self, MeterError};
use crate::service::context::Context;
use crate::store::ledger::{self, Shown};
use crate::store::pool::{self, StoreError};

/// Most spans in one history.
const SPANS_MAX: i64 = 10_000;

/// One counter, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"feature": "attribution_runs", "kind": "metered", "used": 151, "held": 0, "limit": 5000,
    "hard_limit": 5500, "remaining": 4849, "percent_used": 3.02, "warning_level": null, "overage": null,
    "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"}, "resets_at": "2026-02-12T00:00:00Z"}))]
pub struct UsageMetric {
    /// Feature key.
    pub feature: String,
    /// `metered` or `allocated`.
    pub kind: FeatureKind,
    /// Recorded in the period, or existing now.
    pub used: i64,
    /// Held by live reservations.
    pub held: i64,
    /// The limit in force; null: unlimited.
    #[schema(required = true)]
    pub limit: Option<i64>,
    /// End of the soft zone; null: unlimited, or billed as overage.
    #[schema(required = true)]
    pub hard_limit: Option<i64>,
    /// Left up to the limit; null: unlimited.
    #[schema(required = true)]
    pub remaining: Option<i64>,
    /// Used in percent of the limit, rounded down to two decimals.
    #[schema(required = true)]
    pub percent_used: Option<f64>,
    /// 80, 90 or 100 once that much is used.
    #[schema(required = true)]
    pub warning_level: Option<u8>,
    /// Use above the limit that is billed.
    #[schema(required = true)]
    pub overage: Option<DecisionOverage>,
    /// The usage period; null: a gauge.
    #[schema(required = true)]
    pub period: Option<Period>,
    /// When the counter starts anew; null: never.
    #[schema(required = true)]
    pub resets_at: Option<DateTime<Utc>>,
}

impl UsageMetric {
    fn of(decision: Decision) -> Self {
        Self {
            feature: decision.feature,
            kind: decision.kind,
            used: decision.used.unwrap_or(0),
            held: decision.held.unwrap_or(0),
            limit: match decision.limit {
                Some(crate::domain::decision::Limit::Quantity(limit)) => Some(limit),
                _ => None,
            },
            hard_limit: decision.hard_limit,
            remaining: decision.remaining,
            percent_used: decision.percent_used,
            warning_level: decision.warning_level,
            overage: decision.overage,
            period: decision.period,
            resets_at: decision.period.map(|period| period.end),
        }
    }

    /// Every counter of a customer, in the order of the survey of its features.
    pub fn all(survey: &[Decision]) -> Vec<Self> {
        survey
            .iter()
            .filter(|decision| {
                matches!(decision.kind, FeatureKind::Metered | FeatureKind::Allocated)
            })
            .cloned()
            .map(Self::of)
            .collect()
    }
}

/// What a customer has used.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageResponse {
    /// The customer.
    customer_id: String,
    /// The plan in force.
    plan: DecisionPlan,
    /// Every counter.
    metrics: Vec<UsageMetric>,
    /// When this was true.
    as_of: DateTime<Utc>,
}

/// What a customer has used in the current period.
#[utoipa::path(
    tag = "Usage",
    operation_id = "getUsage",
    params(CustomerQuery),
    responses((status = 200, description = "Every counter", body = UsageResponse),
              AuthErrors, QueryErrors, CustomerErrors, DatabaseErrors)
)]
#[get("/usage")]
pub(crate) async fn get_usage(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<CustomerQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadEntitlements)?;
    let customer = actor.customer_of_query(query.0.customer_id)?;
    let snapshot = known_snapshot(&context, &customer).await?;
    let survey = meter::survey(&snapshot, context.meter.rules().enforcement);
    Ok(HttpResponse::Ok().json(UsageResponse {
        metrics: UsageMetric::all(&survey),
        plan: DecisionPlan::of(&snapshot.standing),
        customer_id: snapshot.customer_id,
        as_of: snapshot.now,
    }))
}

/// Records usage that already happened, whatever the limit: never denied.
///
/// Takes up to 1000 events of metered features. `id` is the idempotency key (for CloudEvents `source` and `id` together), so
/// repeating the whole call after an error is safe. One bad event does not fail the others. The same route takes
/// CloudEvents 1.0 in structured mode, single or as a batch: `subject` is the customer, `type` the feature, `data.quantity` the
/// quantity (1 where it is missing).
#[utoipa::path(
    tag = "Usage",
    operation_id = "recordUsage",
    request_body(content((RecordRequest = "application/json"),
                         (usage_events::CloudEvent = "application/cloudevents+json"),
                         (Vec<usage_events::CloudEvent> = "application/cloudevents-batch+json"))),
    responses((status = 200, description = "What became of each event, in order; what is `recorded` is committed", body = RecordResponse),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/usage")]
pub(crate) async fn record_usage(
    actor: Actor,
    context: web::Data<Context>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let media_type = media_type(&request)?;
    let body = read_body(&request, &mut payload.into_inner(), BODY_LIMIT).await?;
    let events = usage_events::read(media_type.essence_str(), &body)?;
    let response = usage_events::record(&context, events).await?;
    Ok(HttpResponse::Ok().json(response))
}

/// How usage is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// By the hour.
    Hour,
    /// By the day.
    Day,
    /// By the month.
    Month,
}

impl Granularity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    fn shortest(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Month => TimeDelta::days(28),
        }
    }
}

/// An instant in a query: RFC 3339, or a date that stands for its midnight in UTC.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let midnight = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text
    };
    Timestamp::parse(&midnight)
        .map(|instant| Some(instant.get()))
        .map_err(|rule| serde::de::Error::custom(format!("{rule}, or a date")))
}

/// Which usage to sum up.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The customer.
    #[param(value_type = Option<String>, example = "acme")]
    customer_id: Option<CustomerId>,
    /// Feature key.
    #[param(example = "attribution_runs")]
    feature: String,
    /// Length of the spans; `day` by default.
    granularity: Option<Granularity>,
    /// First instant; the start of the current usage period by default.
    #[serde(default, deserialize_with = "instant")]
    from: Option<DateTime<Utc>>,
    /// First instant after; the end of the current usage period by default.
    #[serde(default, deserialize_with = "instant")]
    to: Option<DateTime<Utc>>,
}

/// Usage in one span of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HistoryPoint {
    /// First instant of the span, UTC.
    start: DateTime<Utc>,
    /// Sum of what was used, less what was given back.
    quantity: i64,
    /// Number of ledger entries.
    events: i64,
}

/// Usage over time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct HistoryResponse {
    /// The customer.
    customer_id: String,
    /// Feature key.
    feature: String,
    /// Length of the spans.
    granularity: Granularity,
    /// First instant.
    from: DateTime<Utc>,
    /// First instant after.
    to: DateTime<Utc>,
    /// Oldest first; spans without usage are left out.
    data: Vec<HistoryPoint>,
}

/// A feature's usage over time, by the hour, day or month (UTC).
#[utoipa::path(
    tag = "Usage",
    operation_id = "getUsageHistory",
    params(HistoryQuery),
    responses((status = 200, description = "The sums", body = HistoryResponse),
              AuthErrors, QueryErrors, CustomerErrors, DatabaseErrors)
)]
#[get("/usage/history")]
pub(crate) async fn usage_history(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<HistoryQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadUsageDetail)?;
    let HistoryQuery {
        customer_id,
        feature,
        granularity,
        from,
        to,
    } = query.0;
    let customer = actor.customer_of_query(customer_id)?;
    let snapshot = known_snapshot(&context, &customer).await?;
    match snapshot.kind(&feature)? {
        FeatureKind::Metered | FeatureKind::Allocated => {}
        FeatureKind::Static | FeatureKind::Boolean => {
            return Err(Problem::malformed_parameter(
                "feature",
                "names a feature that is not counted",
            ));
        }
    }
    let granularity = granularity.unwrap_or(Granularity::Day);
    let (from, to) = (
        from.unwrap_or(snapshot.standing.period.start),
        to.unwrap_or(snapshot.standing.period.end),
    );
    if from >= to {
        return Err(Problem::malformed_parameter("from", "must lie before `to`"));
    }
    if (to - from).num_seconds() / granularity.shortest().num_seconds() > SPANS_MAX {
        return Err(Problem::malformed_parameter(
            "from",
            format!("asks for more than {SPANS_MAX} spans"),
        ));
    }
    // A whole period, and then as long as a closed one takes usage.
    let latest = TimeDelta::days(32 + i64::from(snapshot.plans.late_usage_days));
    let buckets = {
        let (customer, feature) = (customer.clone(), feature.clone());
        pool::run(&context.pool, move |conn| {
            ledger::history(
                conn,
                customer.as_str(),
                &feature,
                granularity.as_str(),
                from,
                to,
                latest,
            )
            .map_err(StoreError::from)
        })
        .await?
    };
    let data = buckets
        .into_iter()
        .map(|bucket| HistoryPoint {
            start: bucket.start,
            quantity: bucket.quantity,
            events: bucket.events,
        })
        .collect();
    Ok(HttpResponse::Ok().json(HistoryResponse {
        customer_id: customer.as_str().to_owned(),
        feature,
        granularity,
        from,
        to,
        data,
    }))
}

/// Which ledger entries to list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// The customer.
    #[param(value_type = Option<String>, example = "acme")]
    customer_id: Option<CustomerId>,
    /// Feature key; every feature by default.
    #[param(example = "attribution_runs")]
    feature: Option<String>,
    /// Most items to return.
    #[serde(default)]
    #[param(inline, required = false)]
    limit: PageLimit,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// A ledger entry.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LedgerEntry {
    /// Its id.
    #[schema(example = "evt_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7")]
    event_id: String,
    /// Feature key.
    feature: String,
    /// What wrote it: `consume`, `record`, `release`, `set`, `commit` or `adjust`.
    operation: String,
    /// What it added to the counter.
    quantity: i64,
    /// The caller's id of it.
    #[schema(required = true)]
    idempotency_key: Option<String>,
    /// `source` of a CloudEvent.
    #[schema(required = true)]
    source: Option<String>,
    /// The caller's own notes.
    #[schema(required = true, value_type = Option<Object>)]
    properties: Option<Value>,
    /// When it happened.
    occurred_at: DateTime<Utc>,
    /// When it was recorded.
    recorded_at: DateTime<Utc>,
}

impl From<Shown> for LedgerEntry {
    fn from(shown: Shown) -> Self {
        Self {
            event_id: EventId(shown.event_id).to_string(),
            feature: shown.metric_name,
            operation: shown.operation,
            quantity: shown.quantity,
            idempotency_key: shown.idempotency_key,
            source: Some(shown.source).filter(|source| !source.is_empty()),
            properties: shown.properties,
            occurred_at: shown.occurred_at,
            recorded_at: shown.recorded_at,
        }
    }
}

/// A customer's ledger, newest entry first.
#[utoipa::path(
    tag = "Usage",
    operation_id = "listUsageEvents",
    params(EventsQuery),
    responses((status = 200, description = "A page of the ledger", body = Listing<LedgerEntry>),
              AuthErrors, QueryErrors, CustomerErrors, DatabaseErrors)
)]
#[get("/usage/events")]
pub(crate) async fn list_usage_events(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadUsageDetail)?;
    let EventsQuery {
        customer_id,
        feature,
        limit,
        cursor,
    } = query.0;
    let customer = actor.customer_of_query(customer_id)?;
    if let Some(feature) = &feature
        && context.book().plans().kind(feature).is_none()
    {
        return Err(MeterError::UnknownFeature(feature.clone()).into());
    }
    known_snapshot(&context, &customer).await?;
    let before: Option<Uuid> = cursor.as_ref().map(Cursor::key).transpose()?;
    let rows = pool::run(&context.pool, move |conn| {
        ledger::page(
            conn,
            customer.as_str(),
            feature.as_deref(),
            before,
            limit.rows(),
        )
        .map_err(StoreError::from)
    })
    .await?;
    let page = Listing::new(rows, limit, |row| row.event_id)?;
    Ok(HttpResponse::Ok().json(Listing {
        data: page.data.into_iter().map(LedgerEntry::from).collect(),
        next_cursor: page.next_cursor,
    }))
}
