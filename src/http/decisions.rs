//! How a decision is answered: as it is, or as the problem that a denial is.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use super::problem::{Problem, ProblemKind};
use crate::domain::decision::{Decision, Reason};
use crate::meter::Settled;

/// Set to `true` on an answer that an earlier request under the same key was given.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// 200 with the decision; 402 with the whole decision where it denies.
pub fn answer(settled: &Settled) -> Result<HttpResponse, Problem> {
    let decision = &settled.decision;
    if !decision.allowed {
        return Err(denial(decision)?);
    }
    Ok(told(HttpResponse::Ok(), settled.replayed, decision))
}

/// An answer to a call that may be repeated: says so where an earlier call was given it.
pub fn told(
    mut response: HttpResponseBuilder,
    replayed: bool,
    body: impl Serialize,
) -> HttpResponse {
    if replayed {
        response.insert_header((REPLAYED, HeaderValue::from_static("true")));
    }
    response.json(body)
}

/// 402 with the whole decision.
pub fn denial(decision: &Decision) -> Result<Problem, Problem> {
    let kind = match decision.reason {
        Reason::FeatureNotInPlan => ProblemKind::FeatureNotInPlan,
        _ => ProblemKind::LimitExceeded,
    };
    let next = decision
        .upgrade
        .as_ref()
        .map_or_else(String::new, |upgrade| {
            format!(" The plan \"{}\" would allow it.", upgrade.tier)
        });
    let tier = &decision.plan.tier;
    let detail = match decision.reason {
        Reason::FeatureNotInPlan => format!(
            "The plan \"{tier}\" does not include \"{}\".{next}",
            decision.feature
        ),
        Reason::ValueAboveLimit => {
            format!(
                "The plan \"{tier}\" allows less than {} of \"{}\".{next}",
                decision.requested, decision.feature
            )
        }
        _ => format!(
            "The plan \"{tier}\" admits no {} more of \"{}\".{next}",
            decision.requested, decision.feature
        ),
    };
    let decision = serde_json::to_value(decision).map_err(Problem::internal)?;
    Ok(kind.with_detail(detail).with_decision(decision))
}
