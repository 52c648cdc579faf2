//! Entitlements: may a customer do this, and do it.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, get, post, put, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::decisions::answer;
use super::extract::{Envelope, Json, Query, idempotency_key, parse, refuse_array};
use super::problem::{Problem, ProblemDocument};
use super::responses::{
    AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors, DenialErrors, QueryErrors,
};
use crate::domain::actor::Actor;
use crate::domain::decision::Decision;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::permission::Permission;
use crate::domain::policy::UnknownCustomers;
use crate::domain::quantity::{Level, Quantity};
use crate::meter::{self, Consume, MeterError, Question, Release, SetAllocated};
use crate::service::context::Context;
use crate::telemetry::metrics::Metrics;

/// Most checks in one batch.
const BATCH_MAX: usize = 100;

/// How fresh a check must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// May be up to a second old where another replica or an operator wrote; `as_of` says of when it is.
    #[default]
    Default,
    /// Read from the database for this request.
    Strong,
}

impl From<Consistency> for meter::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Default => Self::Default,
            Consistency::Strong => Self::Strong,
        }
    }
}

/// May a customer do this?
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": 1}))]
pub struct CheckRequest {
    /// Whose; a customer token's own customer by default.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Feature key.
    feature: String,
    /// Units.
    #[serde(default)]
    #[schema(default = 1)]
    quantity: Quantity,
    /// Needed for, and only for, a static feature: the value that is asked for.
    value: Option<Level>,
    /// How fresh the numbers must be.
    consistency: Option<Consistency>,
}

impl CheckRequest {
    fn consistency(&self) -> Consistency {
        self.consistency.unwrap_or_default()
    }

    fn question(&self) -> Question {
        Question {
            feature: self.feature.clone(),
            quantity: self.quantity.get(),
            value: self.value.map(Level::get),
        }
    }
}

/// Whether a customer may do something now. Stores no usage.
///
/// The answer is 200 whether it is allowed or not; `reason` says which rule fired. Use `consume` to admit and count in one
/// atomic step: between a check and what follows it others may use up what is left.
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "checkEntitlement",
    request_body = CheckRequest,
    responses((status = 200, description = "The decision, allowed or not", body = Decision),
              AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[post("/entitlements/check")]
pub(crate) async fn check(
    actor: Actor,
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    body: Json<CheckRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::CheckEntitlements)?;
    let customer = actor.customer_of_body(body.0.customer_id.clone())?;
    let consistency = body.0.consistency().into();
    let question = [body.0.question()];
    let mut answers = context
        .meter
        .check(customer.as_str(), &question, consistency)
        .await?;
    let answer = answers
        .pop()
        .ok_or_else(|| Problem::internal("a check without an answer"))??;
    metrics.decision("check", answer.decision.reason.as_str());
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(answer.json.clone()))
}

/// Several checks at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// 1 to 100 checks, for one or several customers.
    #[schema(value_type = Vec<CheckRequest>, min_items = 1, max_items = 100)]
    checks: Vec<Box<RawValue>>,
}

/// The answer to one check of a batch.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchItem {
    /// It was decided.
    Decided(Box<Decision>),
    /// It could not be.
    Refused {
        /// Why; pointers are relative to the check.
        error: Box<ProblemDocument>,
    },
}

impl From<Result<Decision, Problem>> for BatchItem {
    fn from(result: Result<Decision, Problem>) -> Self {
        match result {
            Ok(decision) => Self::Decided(Box::new(decision)),
            Err(problem) => Self::Refused {
                error: Box::new(problem.into_document()),
            },
        }
    }
}

/// The answers, in the order of the checks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchResponse {
    /// One for each check.
    results: Vec<BatchItem>,
}

/// Up to 100 checks. One bad check does not fail the others.
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "checkEntitlements",
    request_body = BatchRequest,
    responses((status = 200, description = "A decision or an error for each check", body = BatchResponse),
              AuthErrors, BodyErrors, DatabaseErrors)
)]
#[post("/entitlements/check/batch")]
pub(crate) async fn check_batch(
    actor: Actor,
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    body: Envelope<BatchRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::CheckEntitlements)?;
    let checks = body.0.checks;
    if checks.is_empty() || checks.len() > BATCH_MAX {
        return Err(Problem::validation(
            "/checks",
            format!("must hold 1 to {BATCH_MAX} checks"),
        ));
    }
    let mut results: Vec<(usize, BatchItem)> = Vec::with_capacity(checks.len());
    let mut asked: Vec<Asked> = Vec::with_capacity(checks.len());
    for (index, item) in checks.iter().enumerate() {
        match understand(&actor, index, item) {
            Ok(understood) => asked.push(understood),
            Err(problem) => results.push((index, Err(problem).into())),
        }
    }
    // One reading for each customer and freshness, whatever the order in which the batch names them.
    asked.sort_by(|a, b| a.reading().cmp(&b.reading()));
    for of_reading in asked.chunk_by(|a, b| a.reading() == b.reading()) {
        let Some((customer, consistency)) = of_reading.first().map(Asked::reading) else {
            continue;
        };
        let questions: Vec<_> = of_reading
            .iter()
            .map(|asked| asked.question.clone())
            .collect();
        let indices = of_reading.iter().map(|asked| asked.index);
        let checked = context
            .meter
            .check(customer.as_str(), &questions, consistency.into());
        match checked.await {
            Ok(answers) => {
                for (index, answer) in indices.zip(answers) {
                    if let Ok(answer) = &answer {
                        metrics.decision("check", answer.decision.reason.as_str());
                    }
                    let decision = answer.map(|answer| answer.decision.clone());
                    results.push((index, decision.map_err(Problem::from).into()));
                }
            }
            Err(MeterError::UnknownCustomer) => {
                results.extend(
                    indices.map(|index| (index, Err(MeterError::UnknownCustomer.into()).into())),
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(HttpResponse::Ok().json(BatchResponse {
        results: results.into_iter().map(|(_, item)| item).collect(),
    }))
}

/// One check of a batch.
struct Asked {
    /// Its place in the batch.
    index: usize,
    customer: CustomerId,
    consistency: Consistency,
    question: Question,
}

impl Asked {
    /// What it is read from: whose numbers, and whether they must be read for this request.
    fn reading(&self) -> (&CustomerId, Consistency) {
        (&self.customer, self.consistency)
    }
}

fn understand(actor: &Actor, index: usize, item: &RawValue) -> Result<Asked, Problem> {
    refuse_array(item.get().as_bytes())?;
    let request: CheckRequest = parse(item.get().as_bytes())?;
    Ok(Asked {
        index,
        customer: actor.customer_of_body(request.customer_id.clone())?,
        consistency: request.consistency(),
        question: request.question(),
    })
}

/// Whose entitlements.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CustomerQuery {
    /// The customer; a customer token's own by default.
    #[param(value_type = Option<String>, example = "acme")]
    pub customer_id: Option<CustomerId>,
}

/// A decision for each feature.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EntitlementList {
    /// In the catalogue's order.
    data: Vec<Decision>,
}

/// Every feature of the catalogue, each decided for a quantity of 1 (a static feature: for its limit).
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "listEntitlements",
    params(CustomerQuery),
    responses((status = 200, description = "A decision for each feature", body = EntitlementList),
              AuthErrors, QueryErrors, CustomerErrors, DatabaseErrors)
)]
#[get("/entitlements")]
pub(crate) async fn list_entitlements(
    actor: Actor,
    context: web::Data<Context>,
    query: Query<CustomerQuery>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::ReadEntitlements)?;
    let customer = actor.customer_of_query(query.0.customer_id)?;
    let snapshot = known_snapshot(&context, &customer).await?;
    let data = meter::survey(&snapshot, context.meter.rules().enforcement);
    Ok(HttpResponse::Ok().json(EntitlementList { data }))
}

/// Reads a customer; one never seen is on the newcomers' plan, unless unknown customers are rejected.
pub(super) async fn known_snapshot(
    context: &Context,
    customer: &CustomerId,
) -> Result<meter::Snapshot, Problem> {
    let snapshot = context.meter.snapshot(customer.as_str()).await?;
    if !snapshot.known && context.meter.rules().unknown_customers == UnknownCustomers::Reject {
        return Err(MeterError::UnknownCustomer.into());
    }
    Ok(snapshot)
}

/// Admit and count.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": 1,
    "idempotency_key": "run-2026-01-20-0001", "properties": {"model": "last_touch"}}))]
pub struct ConsumeRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Feature key.
    feature: String,
    /// Units; admitted whole or not at all.
    #[serde(default)]
    #[schema(default = 1)]
    quantity: Quantity,
    /// Needed for, and only for, a static feature.
    value: Option<Level>,
    /// Makes a repetition safe; may come as the header `Idempotency-Key` as well.
    #[schema(value_type = Option<String>, max_length = 255)]
    idempotency_key: Option<IdempotencyKey>,
    /// Notes that are kept with the ledger entry.
    properties: Option<Map<String, Value>>,
}

/// Checks and counts in one atomic step.
///
/// A 200 means that the usage is in the database's flushed log. With an idempotency key a repetition is safe for as long as the
/// ledger is kept: it returns an equal answer, with `Idempotency-Replayed: true`. A denial records nothing, and the same key
/// is judged anew. **Without a key a call is not safe to repeat after a 503**: whether it counted is unknown then. Static and
/// boolean features are decided only, there is nothing to count.
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "consumeEntitlement",
    request_body = ConsumeRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same as `idempotency_key` in the body")),
    responses((status = 200, description = "Admitted, counted and committed", body = Decision,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              DenialErrors, AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[post("/entitlements/consume")]
pub(crate) async fn consume(
    actor: Actor,
    context: web::Data<Context>,
    metrics: web::Data<Metrics>,
    request: HttpRequest,
    body: Json<ConsumeRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let body = body.0;
    let command = Consume {
        customer: actor.customer_of_body(body.customer_id)?,
        feature: body.feature,
        quantity: body.quantity.get(),
        value: body.value.map(Level::get),
        key: idempotency_key(&request, body.idempotency_key)?,
        properties: body.properties.map(Value::Object),
    };
    let settled = context.meter.consume(command).await?;
    metrics.decision("consume", settled.decision.reason.as_str());
    answer(&settled)
}

/// Give back.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "models", "quantity": 1}))]
pub struct ReleaseRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Key of an allocated feature.
    feature: String,
    /// Units.
    #[serde(default)]
    #[schema(default = 1)]
    quantity: Quantity,
    /// Makes a repetition safe; may come as the header `Idempotency-Key` as well.
    #[schema(value_type = Option<String>, max_length = 255)]
    idempotency_key: Option<IdempotencyKey>,
}

/// Gives units of an allocated feature back. The decision tells where that leaves the customer.
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "releaseEntitlement",
    request_body = ReleaseRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same as `idempotency_key` in the body")),
    responses((status = 200, description = "Given back and committed", body = Decision,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              (status = 409, description = "`below-zero`: fewer exist", body = ProblemDocument,
               content_type = "application/problem+json"),
              AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[post("/entitlements/release")]
pub(crate) async fn release(
    actor: Actor,
    context: web::Data<Context>,
    request: HttpRequest,
    body: Json<ReleaseRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let body = body.0;
    let command = Release {
        customer: actor.customer_of_body(body.customer_id)?,
        feature: body.feature,
        quantity: body.quantity.get(),
        key: idempotency_key(&request, body.idempotency_key)?,
    };
    answer(&context.meter.release(command).await?)
}

/// State how many exist.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"customer_id": "acme", "feature": "models", "value": 2}))]
pub struct AllocatedRequest {
    /// Whose.
    #[schema(value_type = Option<String>)]
    customer_id: Option<CustomerId>,
    /// Key of an allocated feature.
    feature: String,
    /// How many exist.
    value: Level,
    /// Makes a repetition safe; may come as the header `Idempotency-Key` as well.
    #[schema(value_type = Option<String>, max_length = 255)]
    idempotency_key: Option<IdempotencyKey>,
}

/// States how many units of an allocated feature exist: for imports, and for corrections by whoever owns the truth.
///
/// Never denied, even above the limit; then nothing more is admitted. The difference goes into the ledger.
#[utoipa::path(
    tag = "Entitlements",
    operation_id = "setAllocated",
    request_body = AllocatedRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same as `idempotency_key` in the body")),
    responses((status = 200, description = "Stated and committed", body = Decision,
               headers(("Idempotency-Replayed" = String, description = "`true`: answered before"))),
              AuthErrors, BodyErrors, CustomerErrors, DatabaseErrors)
)]
#[put("/entitlements/allocated")]
pub(crate) async fn set_allocated(
    actor: Actor,
    context: web::Data<Context>,
    request: HttpRequest,
    body: Json<AllocatedRequest>,
) -> Result<HttpResponse, Problem> {
    actor.require(Permission::UseEntitlements)?;
    let body = body.0;
    let command = SetAllocated {
        customer: actor.customer_of_body(body.customer_id)?,
        feature: body.feature,
        value: body.value.get(),
        key: idempotency_key(&request, body.idempotency_key)?,
    };
    answer(&context.meter.set_allocated(command).await?)
}
