//! What orchestrators and monitoring ask: is it alive, may it get traffic, how does it do. No credential.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};

use super::extract::Query;
use super::problem::{Problem, ProblemDocument, ProblemKind};
use crate::service::context::Context;
use crate::store::backlogs::{self, Backlogs};
use crate::store::migrations;
use crate::store::pool::{self, StoreError};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// From this age on an event that was not applied deserves a look.
const LATE_AFTER: TimeDelta = TimeDelta::minutes(5);
/// By then overage is told to the provider, unless something is wrong.
const TOLD_WITHIN: TimeDelta = TimeDelta::seconds(60);

/// How long figures from the database may hold up a scrape, which has figures of its own to tell.
const BACKLOG_PATIENCE: Duration = Duration::from_secs(1);
/// How long readiness waits for the database: longer than the pool takes to find out that it is away, shorter than those who
/// ask wait. No answer by then means that it is busy.
const READINESS_PATIENCE: Duration = Duration::from_millis(2500);

/// Whether this process wants traffic. Shared by every worker.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
    /// Migrations are only ever added, so what was seen applied stays so and is not asked for again.
    migrated: AtomicBool,
}

impl Readiness {
    /// From now on `/readyz` sends load balancers elsewhere; requests are still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `alive`.
    #[schema(example = "alive")]
    pub status: &'static str,
}

/// The process wants traffic.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// What was looked at; with `verbose` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub checks: Option<Checks>,
}

/// What readiness depends on, and what waits, on which it does not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checks {
    /// `ok`, `busy` (every connection is in use; it is there) or `unreachable`.
    #[schema(example = "ok")]
    pub database: &'static str,
    /// `ok`, `pending` or `unknown`.
    #[schema(example = "ok")]
    pub migrations: &'static str,
    /// `ok`, or `draining` before the end.
    #[schema(example = "ok")]
    pub traffic: &'static str,
    /// The webhooks that wait; null where the database did not tell.
    #[schema(required = true)]
    pub inbox: Option<InboxCheck>,
    /// The overage that a provider is to be told; null where the database did not tell.
    #[schema(required = true)]
    pub usage_reports: Option<UsageReportsCheck>,
    /// The overage that a provider is to make payment links for; null where the database did not tell.
    #[schema(required = true)]
    pub overage_invoices: Option<OverageInvoicesCheck>,
    /// The subscriptions that are to be ended at their provider; null where the database did not tell.
    #[schema(required = true)]
    pub endings: Option<EndingsCheck>,
}

/// The webhooks that wait to be applied.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboxCheck {
    /// How many.
    #[schema(example = 0)]
    pub unprocessed: i64,
    /// When the oldest of them came.
    #[schema(required = true)]
    pub oldest_received_at: Option<DateTime<Utc>>,
    /// Whether the oldest has waited for five minutes: an operator should look at it.
    #[schema(example = false)]
    pub late: bool,
    /// How many were given up and wait for an operator.
    #[schema(example = 0)]
    pub failed: i64,
}

/// The overage that waits to be told to the provider that bills it.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageReportsCheck {
    /// How many reports.
    #[schema(example = 0)]
    pub pending: i64,
    /// Since when the oldest of them has had something to tell.
    #[schema(required = true)]
    pub oldest_at: Option<DateTime<Utc>>,
    /// Whether the oldest has waited for a minute: the provider does not answer, or refuses it.
    #[schema(example = false)]
    pub late: bool,
    /// How many the provider refused or may not have: they wait for an operator.
    #[schema(example = 0)]
    pub doubtful: i64,
}

/// The overage of closed periods that waits for its payment links.
#[derive(Debug, Serialize, ToSchema)]
pub struct OverageInvoicesCheck {
    /// How many invoices.
    #[schema(example = 0)]
    pub due: i64,
    /// When the oldest of them was sealed.
    #[schema(required = true)]
    pub oldest_at: Option<DateTime<Utc>>,
    /// Whether the oldest has waited for five minutes: the provider does not answer, or refuses it.
    #[schema(example = false)]
    pub late: bool,
}

/// The subscriptions that are to be ended at their provider: refunded, lost to a dispute, or sold twice.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndingsCheck {
    /// How many.
    #[schema(example = 0)]
    pub due: i64,
    /// When the oldest of them was found out.
    #[schema(required = true)]
    pub oldest_at: Option<DateTime<Utc>>,
    /// Whether the oldest has waited for five minutes: somebody is billed who should not be.
    #[schema(example = false)]
    pub late: bool,
}

/// How much to tell.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadyQuery {
    /// Show each check, the oldest unprocessed webhook among them. `?verbose` alone means true.
    #[serde(default, deserialize_with = "flag")]
    #[param(required = false, example = true)]
    verbose: bool,
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        other => Err(de::Error::invalid_value(
            de::Unexpected::Str(other),
            &"true or false",
        )),
    }
}

/// Answers as long as the process can answer at all. Restart it where this fails.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getLiveness",
    responses((status = 200, description = "The process answers", body = Alive)),
    security(())
)]
#[get("/livez")]
pub(crate) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(Alive { status: "alive" })
}

/// Whether to send traffic here.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getReadiness",
    params(ReadyQuery),
    responses(
        (status = 200, description = "Ready", body = Ready),
        (status = 400, description = "`malformed-request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`not-ready`: `detail` names what is missing", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(())
)]
#[get("/readyz")]
pub(crate) async fn readyz(
    query: Query<ReadyQuery>,
    readiness: web::Data<Readiness>,
    context: web::Data<Context>,
) -> Result<HttpResponse, Problem> {
    let (checks, missing) = look(&readiness, &context).await;
    if missing.is_empty() {
        return Ok(HttpResponse::Ok().json(Ready {
            status: "ready",
            checks: query.0.verbose.then_some(checks),
        }));
    }
    let problem = ProblemKind::NotReady.with_detail(format!("Not ready: {}.", missing.join("; ")));
    if !query.0.verbose {
        return Err(problem);
    }
    let checks = serde_json::to_value(checks).map_err(Problem::internal)?;
    Err(problem.with_member("checks", checks))
}

/// Makes the checks and names what is missing.
async fn look(readiness: &web::Data<Readiness>, context: &Context) -> (Checks, Vec<&'static str>) {
    let mut missing = Vec::new();
    let draining = readiness.draining.load(Ordering::SeqCst);
    if draining {
        missing.push("this instance is shutting down");
    }
    let now = context.clock().now();
    let billed_by_link = billed_by_link(context);
    let known = readiness.clone();
    let asked = pool::run(&context.pool, move |conn| {
        // Asked always: that it is answered shows that the database is there.
        let backlog = backlogs::read(conn, &billed_by_link)?;
        if !known.migrated.load(Ordering::Relaxed) {
            let pending = migrations::pending(conn)
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            known.migrated.store(!pending, Ordering::Relaxed);
        }
        Ok::<_, StoreError>((backlog, known.migrated.load(Ordering::Relaxed)))
    });
    let answer = tokio::time::timeout(READINESS_PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(StoreError::Busy("no answer in time".to_owned())));
    let (database, migrations, backlog) = match answer {
        Ok((backlog, true)) => ("ok", "ok", Some(backlog)),
        Ok((backlog, false)) => {
            missing.push("the database schema is not up to date");
            ("ok", "pending", Some(backlog))
        }
        // Taking a replica away because it is busy would only move its load to the next one.
        Err(StoreError::Busy(_)) => ("busy", "unknown", None),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            missing.push("the database cannot be reached");
            ("unreachable", "unknown", None)
        }
    };
    let waiting = |oldest: Option<DateTime<Utc>>, patience| {
        oldest.is_some_and(|oldest| now - oldest >= patience)
    };
    let checks = Checks {
        database,
        migrations,
        traffic: if draining { "draining" } else { "ok" },
        inbox: backlog.as_ref().map(|Backlogs { inbox, .. }| InboxCheck {
            unprocessed: inbox.unprocessed,
            oldest_received_at: inbox.oldest_received_at,
            late: waiting(inbox.oldest_received_at, LATE_AFTER),
            failed: inbox.failed,
        }),
        usage_reports: backlog
            .as_ref()
            .map(|Backlogs { usage, .. }| UsageReportsCheck {
                pending: usage.pending,
                oldest_at: usage.oldest_at,
                late: waiting(usage.oldest_at, TOLD_WITHIN),
                doubtful: usage.doubtful,
            }),
        overage_invoices: backlog
            .as_ref()
            .map(|Backlogs { invoices, .. }| OverageInvoicesCheck {
                due: invoices.due,
                oldest_at: invoices.oldest_at,
                late: waiting(invoices.oldest_at, LATE_AFTER),
            }),
        endings: backlog
            .as_ref()
            .map(|Backlogs { endings, .. }| EndingsCheck {
                due: endings.due,
                oldest_at: endings.oldest_at,
                late: waiting(endings.oldest_at, LATE_AFTER),
            }),
    };
    (checks, missing)
}

/// Providers that are told no usage, so that nothing of theirs can be late.
fn billed_by_link(context: &Context) -> Vec<&'static str> {
    let billers = context.link_billers().into_iter();
    billers.map(|biller| biller.name.as_str()).collect()
}

/// Figures in the `OpenMetrics` text format.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getMetrics",
    responses((
        status = 200, description = "Figures for Prometheus", body = String,
        content_type = "application/openmetrics-text",
        example = "# HELP plangate_decisions Decisions made.\n# TYPE plangate_decisions counter\n# EOF\n"
    )),
    security(())
)]
#[get("/metrics")]
pub(crate) async fn metrics(
    metrics: web::Data<Metrics>,
    context: web::Data<Context>,
) -> Result<HttpResponse, Problem> {
    let now = context.clock().now();
    let billed_by_link = billed_by_link(&context);
    let backlog = pool::run(&context.pool, move |conn| {
        backlogs::read(conn, &billed_by_link).map_err(StoreError::from)
    });
    // The rest matters most when the database is away, so it is told without these.
    if let Ok(Ok(Backlogs {
        inbox,
        usage,
        invoices,
        endings,
    })) = tokio::time::timeout(BACKLOG_PATIENCE, backlog).await
    {
        let age = |oldest: Option<DateTime<Utc>>| {
            oldest.map_or(0, |oldest| (now - oldest).num_seconds().max(0))
        };
        metrics.inbox(
            inbox.unprocessed,
            age(inbox.oldest_received_at),
            inbox.failed,
        );
        metrics.usage_reports(usage.pending, age(usage.oldest_at), usage.doubtful);
        metrics.overage_invoices(invoices.due, age(invoices.oldest_at));
        metrics.endings(endings.due, age(endings.oldest_at));
    }
    let text = metrics.encode().map_err(Problem::internal)?;
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}
