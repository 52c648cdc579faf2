//! What each `type` of a problem means, where its reference leads to.

use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Problem, ProblemDocument, ProblemKind};
use crate::http::extract::Path;

/// One type of problem.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemType {
    /// The `type` of such a problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    pub type_reference: String,
    /// Its `title`.
    #[schema(example = "Not found")]
    pub title: &'static str,
    /// Its HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What it means and what to do about it.
    #[schema(example = "There is no such route or no such thing.")]
    pub explanation: &'static str,
}

/// Every type of problem.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemTypes {
    /// In the order of their statuses.
    pub data: Vec<ProblemType>,
}

impl From<ProblemKind> for ProblemType {
    fn from(kind: ProblemKind) -> Self {
        Self {
            type_reference: kind.type_reference(),
            title: kind.title(),
            status: kind.status().as_u16(),
            explanation: kind.explanation(),
        }
    }
}

/// The types of problems that answers can carry.
#[utoipa::path(
    tag = "Operations",
    operation_id = "listProblems",
    responses((status = 200, description = "Every type of problem", body = ProblemTypes)),
    security(())
)]
#[get("/problems")]
pub(crate) async fn list_problems() -> HttpResponse {
    HttpResponse::Ok().json(ProblemTypes {
        data: ProblemKind::ALL
            .iter()
            .copied()
            .map(ProblemType::from)
            .collect(),
    })
}

/// One type of problem.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getProblem",
    params(("slug" = String, Path, description = "Last part of the problem's `type`", example = "not-found")),
    responses(
        (status = 200, description = "The type", body = ProblemType),
        (status = 404, description = "No such type", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(())
)]
#[get("/problems/{slug}")]
pub(crate) async fn get_problem(slug: Path<String>) -> Result<HttpResponse, Problem> {
    ProblemKind::ALL
        .iter()
        .copied()
        .find(|kind| kind.slug() == slug.0)
        .map(|kind| HttpResponse::Ok().json(ProblemType::from(kind)))
        .ok_or_else(|| ProblemKind::NotFound.with_detail("There is no such type of problem."))
}
