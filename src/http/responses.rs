//! The error answers that many routes share, for the OpenAPI document. Their examples are made from [`ProblemKind`], so that
//! the document cannot say anything else than the service does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::problem::{PROBLEM_JSON, ProblemDocument, ProblemKind};

type Responses = BTreeMap<String, RefOr<Response>>;

/// 401 and 403: of every route that asks for a credential.
#[derive(Debug)]
pub struct AuthErrors;

/// 400, 413, 415 and 422: of every route that takes a JSON body.
#[derive(Debug)]
pub struct BodyErrors;

/// 400: of every route that takes query parameters.
#[derive(Debug)]
pub struct QueryErrors;

/// 404: of every route that is about a customer's feature.
#[derive(Debug)]
pub struct CustomerErrors;

/// 402: of every route that admits.
#[derive(Debug)]
pub struct DenialErrors;

/// 500 and 503: of every route that needs the database.
#[derive(Debug)]
pub struct DatabaseErrors;

/// 502: of every route that calls the payment provider.
#[derive(Debug)]
pub struct ProviderErrors;

impl IntoResponses for AuthErrors {
    fn responses() -> Responses {
        [ProblemKind::Unauthorized, ProblemKind::Forbidden]
            .map(|kind| answer(&[kind]))
            .into()
    }
}

impl IntoResponses for BodyErrors {
    fn responses() -> Responses {
        [
            answer(&[ProblemKind::MalformedJson, ProblemKind::MalformedRequest]),
            answer(&[ProblemKind::PayloadTooLarge]),
            answer(&[ProblemKind::UnsupportedMediaType]),
            answer(&[ProblemKind::ValidationFailed]),
        ]
        .into()
    }
}

impl IntoResponses for QueryErrors {
    fn responses() -> Responses {
        [answer(&[ProblemKind::MalformedRequest])].into()
    }
}

impl IntoResponses for CustomerErrors {
    fn responses() -> Responses {
        [answer(&[
            ProblemKind::UnknownFeature,
            ProblemKind::UnknownCustomer,
        ])]
        .into()
    }
}

impl IntoResponses for DenialErrors {
    fn responses() -> Responses {
        [answer(&[
            ProblemKind::LimitExceeded,
            ProblemKind::FeatureNotInPlan,
        ])]
        .into()
    }
}

impl IntoResponses for DatabaseErrors {
    fn responses() -> Responses {
        [
            answer(&[ProblemKind::Internal]),
            answer(&[ProblemKind::DatabaseUnavailable, ProblemKind::Overloaded]),
        ]
        .into()
    }
}

impl IntoResponses for ProviderErrors {
    fn responses() -> Responses {
        [answer(&[
            ProblemKind::ProviderFailed,
            ProblemKind::PriceMismatch,
        ])]
        .into()
    }
}

/// One answer of the document: all of `kinds` have the same status.
fn answer(kinds: &[ProblemKind]) -> (String, RefOr<Response>) {
    let explained: Vec<String> = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.slug(), kind.explanation()))
        .collect();
    let examples = kinds.iter().map(|kind| {
        let example = ExampleBuilder::new()
            .summary(kind.title())
            .value(Some(example(*kind)));
        (kind.slug(), example.build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemDocument::name())))
        .examples_from_iter(examples)
        .build();
    let mut response = ResponseBuilder::new()
        .description(explained.join(" "))
        .content(PROBLEM_JSON, content);
    if let Some(seconds) = kinds.iter().find_map(|kind| kind.retry_after()) {
        let integer = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .examples([json!(seconds)]);
        let header = HeaderBuilder::new()
            .schema(Some(integer.build()))
            .description(Some("Seconds after which repeating makes sense."));
        response = response.header("Retry-After", header.build());
    }
    let status = kinds.first().map(|kind| kind.status().as_u16());
    (
        status.unwrap_or_default().to_string(),
        RefOr::T(response.build()),
    )
}

fn example(kind: ProblemKind) -> Value {
    let mut example = json!({
        "type": kind.type_reference(),
        "title": kind.title(),
        "status": kind.status().as_u16(),
        "detail": kind.explanation(),
        "instance": "/entitlements/consume",
        "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d",
    });
    if kind == ProblemKind::ValidationFailed
        && let Some(members) = example.as_object_mut()
    {
        members.insert(
            "errors".to_owned(),
            json!([{"pointer": "/quantity", "detail": "invalid type: string \"two\", expected i64"}]),
        );
    }
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: IntoResponses>() -> Value {
        serde_json::to_value(T::responses()).unwrap()
    }

    #[test]
    fn each_answer_shows_problems_of_its_own_status() {
        let all = [
            shown::<AuthErrors>(),
            shown::<BodyErrors>(),
            shown::<QueryErrors>(),
            shown::<DatabaseErrors>(),
            shown::<ProviderErrors>(),
        ];
        let mut statuses = Vec::new();
        for (status, response) in all.iter().flat_map(|shown| shown.as_object().unwrap()) {
            statuses.push(status.as_str());
            let content = &response["content"]["application/problem+json"];
            assert_eq!(content["schema"]["$ref"], "#/components/schemas/Problem");
            let examples = content["examples"].as_object().unwrap();
            assert!(!examples.is_empty());
            for (slug, example) in examples {
                assert_eq!(example["value"]["status"].to_string(), *status, "{slug}");
                assert_eq!(example["value"]["type"], format!("/problems/{slug}"));
            }
        }
        let expected = [
            "401", "403", "400", "413", "415", "422", "400", "500", "503", "502",
        ];
        assert_eq!(statuses, expected);
    }

    #[test]
    fn what_can_be_repeated_says_when() {
        for response in [
            &shown::<DatabaseErrors>()["503"],
            &shown::<ProviderErrors>()["502"],
        ] {
            assert_eq!(
                response["headers"]["Retry-After"]["schema"]["type"],
                "integer"
            );
        }
        assert!(shown::<AuthErrors>()["401"].get("headers").is_none());
    }
}
