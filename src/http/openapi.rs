//! The OpenAPI document, made from the routes that are served, and the pages that show it.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING};
use actix_web::web::{self, Bytes, Redirect};
use actix_web::{App, HttpResponse, get};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, PathItem, RefOr};
use utoipa::{Modify, OpenApi as _};
use utoipa_actix_web::AppExt;
use utoipa_swagger_ui::Config;

use super::extract::Path;
use super::payment_provider;
use super::problem::{Problem, ProblemDocument, ProblemKind};

/// Media type of the document.
const JSON: &str = "application/json";

/// The route of all webhooks.
const WEBHOOK: &str = "/webhook/{provider}";

/// Name of the one security scheme.
const API_KEY: &str = "ApiKey";

/// What cannot be read off the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Plangate",
        description = "Headless plan gating: which plan a customer is on, what that plan allows, how much of it is used, and \
                       the billing that moves customers from one plan to another.\n\n\
                       Errors are RFC 9457 problems; `GET /problems` lists their types. Every response carries `X-Request-Id`. \
                       Times are RFC 3339 in UTC, money is in integer minor units.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Credentials, &KnownTags),
    security(("ApiKey" = []))
)]
struct Base;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API key (`pg_live_…`, outside production `pg_test_…`), the admin key, or a customer token.",
            ))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme(API_KEY, SecurityScheme::Http(scheme));
    }
}

struct KnownTags;

/// Every group of routes, in the order of the documentation.
const TAGS: [(&str, &str); 10] = [
    ("Entitlements", "Ask and count before a metered action."),
    ("Reservations", "Hold a quantity, then settle it."),
    ("Usage", "Read usage, and record what already happened."),
    ("Plan context", "All that a frontend shows about a plan."),
    ("Plans", "What can be had."),
    (
        "Customers",
        "Who the plans are for, and tokens for their frontends.",
    ),
    ("Billing", "Checkout and subscriptions."),
    ("Webhooks", "What payment providers send."),
    ("Admin", "For operators."),
    (
        "Operations",
        "Health, figures and documentation. No credential.",
    ),
];

impl Modify for KnownTags {
    fn modify(&self, document: &mut OpenApi) {
        let tags = TAGS.map(|(name, description)| {
            let mut tag = utoipa::openapi::Tag::new(name);
            tag.description = Some(description.to_owned());
            tag
        });
        document.tags = Some(tags.into());
    }
}

/// What is known of the API before its routes are.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// The whole document, read off the routes as they are served.
pub fn document() -> OpenApi {
    let (_, mut document) = App::new()
        .into_utoipa_app()
        .openapi(base())
        .configure(super::configure)
        .split_for_parts();
    name_providers(&mut document);
    let used: Vec<String> = operations(&document)
        .flat_map(|(_, _, operation)| operation.tags.clone().unwrap_or_default())
        .collect();
    if let Some(tags) = &mut document.tags {
        tags.retain(|tag| used.contains(&tag.name));
    }
    document
}

/// One route takes every provider's webhooks; whoever reads the document looks for the one of theirs.
fn name_providers(document: &mut OpenApi) {
    let templates = std::mem::take(&mut document.paths.paths);
    for (path, item) in templates {
        if path != WEBHOOK {
            document.paths.paths.insert(path, item);
            continue;
        }
        for provider in payment_provider::all() {
            let mut item = item.clone();
            if let Some(operation) = &mut item.post {
                // Headers bear the name of whoever sends them.
                let mut headers = operation.parameters.take().unwrap_or_default();
                headers.retain(|header| match header {
                    RefOr::T(header) => {
                        let name = header.name.to_ascii_lowercase();
                        name.contains(provider.as_str())
                    }
                    RefOr::Ref(_) => true,
                });
                operation.parameters = Some(headers);
                operation.operation_id = Some(match provider.as_str().split_at_checked(1) {
                    Some((first, rest)) => {
                        format!("receive{}{rest}Webhook", first.to_ascii_uppercase())
                    }
                    None => continue,
                });
            }
            let path = path.replace("{provider}", provider.as_str());
            document.paths.paths.insert(path, item);
        }
    }
}

/// The document as it is committed and served: the same bytes each time, with a newline at the end.
pub fn rendered(document: &OpenApi) -> Result<String, serde_json::Error> {
    document.to_pretty_json().map(|text| text + "\n")
}

/// The method and path template of each route.
pub fn routes(document: &OpenApi) -> Vec<(Method, String)> {
    operations(document)
        .map(|(method, path, _)| (method, path.to_owned()))
        .collect()
}

fn operations(
    document: &OpenApi,
) -> impl Iterator<Item = (Method, &str, &utoipa::openapi::path::Operation)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        by_method(item)
            .into_iter()
            .filter_map(|(method, operation)| Some((method, path.as_str(), operation.as_ref()?)))
    })
}

fn by_method(item: &PathItem) -> [(Method, &Option<utoipa::openapi::path::Operation>); 5] {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ]
}

/// What is shown about the API: the rendered document.
#[derive(Debug, Clone)]
pub struct ApiDocument(pub Bytes);

/// This document.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getOpenApi",
    responses((status = 200, description = "The OpenAPI document", body = Object, content_type = "application/json")),
    security(())
)]
#[get("/openapi.json")]
pub(crate) async fn openapi_json(document: web::Data<ApiDocument>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(JSON)
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(document.0.clone())
}

/// The documentation for people.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getDocumentation",
    responses((status = 308, description = "The page is at `/docs/`")),
    security(())
)]
#[get("/docs")]
pub(crate) async fn docs() -> Redirect {
    // Relative, so that it holds behind a proxy that serves the API under a prefix.
    Redirect::to("docs/").permanent()
}

/// The files of the documentation page; `/docs/` is the page itself.
#[utoipa::path(
    tag = "Operations",
    operation_id = "getDocumentationFile",
    params(("file" = String, Path, description = "Name of the file; empty: the page", example = "index.html")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/html"),
        (status = 404, description = "No such file", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(())
)]
#[get("/docs/{file:[^/]*}")]
pub(crate) async fn docs_file(file: Path<String>) -> Result<HttpResponse, Problem> {
    // Without the validator's badge, which the page would fetch from elsewhere.
    let config = Arc::new(Config::from("../openapi.json").validator_url("none"));
    let found = utoipa_swagger_ui::serve(&file.0, config).map_err(Problem::internal)?;
    let Some(found) = found else {
        return Err(ProblemKind::NotFound.with_detail("The documentation has no such file."));
    };
    let mut response = HttpResponse::Ok();
    if found.gzpipped {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    Ok(response
        .content_type(found.content_type)
        .body(found.bytes.into_owned()))
}
