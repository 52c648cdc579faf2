//! The outermost middleware: gives each request its id, span, log line and figures, and each error its final form.

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use tracing::Instrument;
use uuid::Uuid;

use super::fallback::unrouted;
use super::problem::{PROBLEM_JSON, Problem, ProblemKind};
use crate::telemetry::metrics::Metrics;

/// The header that carries the id both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a caller.
const ID_MAX: usize = 128;

/// Stands for the route of a request that has none, so that made-up paths do not become labels.
const UNMATCHED: &str = "unmatched";

/// The id of the request at hand, among its extensions.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Wrap the application in `from_fn(track)`, outside of every other middleware. Counts into `web::Data<Metrics>` where the
/// application has one.
pub async fn track(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = request
        .headers()
        .get(REQUEST_ID)
        .and_then(sane_id)
        .unwrap_or_else(|| Uuid::now_v7().to_string());
    let call = Call {
        method: request.method().to_string(),
        route: request
            .match_pattern()
            .unwrap_or_else(|| UNMATCHED.to_owned()),
        uri: request.uri().clone(),
        metrics: request.app_data::<web::Data<Metrics>>().cloned(),
        id,
    };
    request.extensions_mut().insert(RequestId(call.id.clone()));
    if request.method() == Method::HEAD {
        // Every GET answers HEAD, too; the server leaves the body out.
        request.head_mut().method = Method::GET;
    }
    let span = tracing::info_span!(
        "request",
        request_id = %call.id,
        method = %call.method,
        route = %call.route,
        // Filled in once the credential has been judged.
        actor = tracing::field::Empty,
    );
    async {
        match next.call(request).await {
            Ok(response) => {
                let mut response = finish(response.map_into_boxed_body(), &call);
                call.stamp(response.response_mut());
                call.report(response.status(), started.elapsed());
                Ok(response)
            }
            Err(error) => {
                // A middleware failed: there is no request left to answer with, but an error may hold its response.
                let problem = problem_of(&error);
                let mut response = HttpResponse::from_error(problem.clone())
                    .map_body(|_, _| call.body_of(&problem));
                call.stamp(&mut response);
                call.report(response.status(), started.elapsed());
                Err(InternalError::from_response(error, response).into())
            }
        }
    }
    .instrument(span.clone())
    .await
}

/// What is known about a request once it has been handed on.
struct Call {
    id: String,
    method: String,
    route: String,
    uri: Uri,
    metrics: Option<web::Data<Metrics>>,
}

impl Call {
    fn body_of(&self, problem: &Problem) -> BoxBody {
        BoxBody::new(problem.body(self.uri.path(), &self.id))
    }

    fn stamp(&self, response: &mut HttpResponse) {
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }

    /// The access log and the figures. No header, query or body goes into either.
    fn report(&self, status: StatusCode, took: Duration) {
        let milliseconds = took.saturating_mul(1000).as_secs_f64();
        tracing::info!(
            status = status.as_u16(),
            duration_ms = milliseconds,
            "answered"
        );
        if let Some(metrics) = &self.metrics {
            metrics.http_request(&self.method, &self.route, status.as_u16(), took);
        }
    }
}

fn sane_id(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let sane = (1..=ID_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    sane.then(|| text.to_owned())
}

/// Gives an error answer the body of a problem, whoever made it.
fn finish(mut response: ServiceResponse<BoxBody>, call: &Call) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if let Some(problem) = response
        .response()
        .error()
        .and_then(Error::as_error::<Problem>)
    {
        let body = call.body_of(problem);
        return response.map_body(|_, _| body);
    }
    let is_problem = |value: &HeaderValue| value.as_bytes().starts_with(PROBLEM_JSON.as_bytes());
    if response.headers().get(CONTENT_TYPE).is_some_and(is_problem) {
        return response;
    }
    let problem = if ProblemKind::for_status(status) == ProblemKind::MethodNotAllowed {
        match response
            .headers()
            .get(ALLOW)
            .and_then(|allow| allow.to_str().ok())
        {
            Some(allow) => Problem::method_not_allowed(allow),
            None => unrouted(response.request()),
        }
    } else if let Some(error) = response.response().error() {
        problem_of(error)
    } else {
        plain(ProblemKind::for_status(status))
    };
    *response.response_mut().status_mut() = problem.kind().status();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    problem.write_headers(headers);
    let body = call.body_of(&problem);
    response.map_body(|_, _| body)
}

/// What an error of unknown origin may say to the caller: its class. Faults of ours are logged, here and nowhere else.
fn problem_of(error: &Error) -> Problem {
    if let Some(problem) = error.as_error::<Problem>() {
        return problem.clone();
    }
    match ProblemKind::for_status(error.as_response_error().status_code()) {
        ProblemKind::Internal => Problem::internal(error),
        kind => plain(kind),
    }
}

fn plain(kind: ProblemKind) -> Problem {
    kind.with_detail(match kind {
        // Its explanation speaks of `errors`, which the framework's own do not have.
        ProblemKind::MalformedRequest => "The request cannot be understood.",
        _ => kind.explanation(),
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service, read_body};
    use actix_web::{App, error};
    use serde_json::Value;

    use super::*;
    use crate::http::extract::Json;
    use crate::http::fallback::{KnownRoutes, fallback};
    use crate::http::problem::docs::{get_problem, list_problems};

    struct Answer {
        status: u16,
        headers: actix_web::http::header::HeaderMap,
        body: String,
    }

    impl Answer {
        fn header(&self, name: &str) -> Option<&str> {
            self.headers.get(name).map(|value| value.to_str().unwrap())
        }

        fn json(&self) -> Value {
            serde_json::from_str(&self.body).unwrap()
        }

        /// The answer must be a problem of this slug; gives its document.
        fn problem(&self, slug: &str) -> Value {
            assert_eq!(
                self.header("content-type"),
                Some(PROBLEM_JSON),
                "{}",
                self.body
            );
            let document = self.json();
            assert_eq!(document["type"], format!("/problems/{slug}"), "{document}");
            assert_eq!(document["status"], self.status);
            assert_eq!(document["request_id"], self.header("x-request-id").unwrap());
            document
        }
    }

    async fn answer(request: TestRequest) -> Answer {
        answer_counted(request, &Metrics::new()).await
    }

    async fn answer_counted(request: TestRequest, metrics: &Metrics) -> Answer {
        let routes = [
            (Method::GET, "/things/{id}"),
            (Method::DELETE, "/things/{id}"),
            (Method::GET, "/problems"),
        ];
        let routes = routes.map(|(method, template)| (method, template.to_owned()));
        let app = init_service(
            App::new()
                .app_data(web::Data::new(metrics.clone()))
                .app_data(web::Data::new(KnownRoutes::new(routes)))
                .service(list_problems)
                .service(get_problem)
                .route(
                    "/things/{id}",
                    web::get().to(|| async { HttpResponse::Ok().body("thing") }),
                )
                .service(web::resource("/own-405").route(web::get().to(HttpResponse::Ok)))
                .route(
                    "/json",
                    web::post().to(|_: Json<Value>| async { HttpResponse::Ok().finish() }),
                )
                .route(
                    "/framework",
                    web::get().to(|_: web::Path<u32>| async { HttpResponse::Ok().finish() }),
                )
                .route(
                    "/teapot",
                    web::get().to(|| async { HttpResponse::ImATeapot().body("short and stout") }),
                )
                .route(
                    "/broken",
                    web::get().to(|| async {
                        Err::<HttpResponse, _>(error::ErrorInternalServerError(
                            "the password is hunter2",
                        ))
                    }),
                )
                .route(
                    "/busy",
                    web::get().to(|| async {
                        Err::<HttpResponse, _>(
                            ProblemKind::Overloaded.with_detail("The queue is full."),
                        )
                    }),
                )
                .route(
                    "/denied",
                    web::get().to(|| async {
                        let problem = ProblemKind::LimitExceeded.with_detail("No.");
                        Err::<HttpResponse, _>(
                            problem.with_decision(serde_json::json!({"allowed": false})),
                        )
                    }),
                )
                .service(
                    web::scope("/guarded")
                        .wrap(from_fn(async |_, _: Next<BoxBody>| {
                            Err::<ServiceResponse<BoxBody>, _>(
                                ProblemKind::Unauthorized.with_detail("Who are you?").into(),
                            )
                        }))
                        .route("", web::get().to(HttpResponse::Ok)),
                )
                .default_service(web::to(fallback))
                .wrap(from_fn(track)),
        )
        .await;
        let response = match actix_web::dev::Service::call(&app, request.to_request()).await {
            Ok(response) => response.into_parts().1,
            // What the server does with an error.
            Err(error) => error.error_response(),
        };
        let request = TestRequest::default().to_http_request();
        let response = ServiceResponse::new(request, response);
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: String::from_utf8(read_body(response).await.to_vec()).unwrap(),
        }
    }

    fn get(path: &str) -> TestRequest {
        TestRequest::with_uri(path)
    }

    #[actix_web::test]
    async fn a_sane_request_id_is_echoed() {
        for id in ["abc", "A-1.b:c_d", &"x".repeat(128)] {
            let answer = answer(get("/things/1").insert_header((REQUEST_ID, id))).await;
            assert_eq!(
                (answer.status, answer.header("x-request-id")),
                (200, Some(id))
            );
            assert_eq!(answer.body, "thing");
        }
    }

    #[actix_web::test]
    async fn another_is_replaced_by_a_fresh_one() {
        let too_long = "x".repeat(129);
        for id in [
            None,
            Some(""),
            Some("a b"),
            Some("a\"b"),
            Some(too_long.as_str()),
        ] {
            let request = match id {
                Some(id) => get("/things/1").insert_header((REQUEST_ID, id)),
                None => get("/things/1"),
            };
            let answer = answer(request).await;
            let fresh: Uuid = answer.header("x-request-id").unwrap().parse().unwrap();
            assert_eq!(fresh.get_version_num(), 7);
        }
    }

    #[actix_web::test]
    async fn a_path_without_route_is_a_problem() {
        let answer = answer(get("/nowhere?secret=1")).await;
        let document = answer.problem("not-found");
        assert_eq!(answer.status, 404);
        assert_eq!(document["instance"], "/nowhere");
    }

    #[actix_web::test]
    async fn a_method_without_route_names_those_there_are() {
        for (method, path, allow) in [
            (Method::PUT, "/things/1", "DELETE, GET, HEAD"),
            (Method::POST, "/problems", "GET, HEAD"),
            (Method::POST, "/own-405", "GET"),
        ] {
            let answer = answer(get(path).method(method)).await;
            answer.problem("method-not-allowed");
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allow)),
                "{path}"
            );
        }
    }

    #[actix_web::test]
    async fn errors_of_the_framework_become_problems() {
        assert_eq!(
            answer(get("/framework")).await.problem("not-found")["status"],
            404
        );
        let teapot = answer(get("/teapot")).await;
        teapot.problem("malformed-request");
        assert_eq!(teapot.status, 400);
        let json = answer(
            get("/json")
                .method(Method::POST)
                .insert_header(("content-type", "text/plain")),
        )
        .await;
        json.problem("unsupported-media-type");
    }

    #[actix_web::test]
    async fn an_unknown_error_is_internal_and_shows_nothing() {
        let answer = answer(get("/broken")).await;
        answer.problem("internal");
        assert_eq!(answer.status, 500);
        assert!(!answer.body.contains("hunter2"));
    }

    #[actix_web::test]
    async fn an_error_of_a_middleware_is_a_problem_too() {
        let answer = answer(get("/guarded")).await;
        assert_eq!(answer.problem("unauthorized")["detail"], "Who are you?");
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer"))
        );
    }

    #[actix_web::test]
    async fn a_problem_keeps_what_belongs_to_it() {
        let busy = answer(get("/busy")).await;
        assert_eq!(busy.problem("overloaded")["detail"], "The queue is full.");
        assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
        assert_eq!(busy.header("cache-control"), Some("no-store"));
        let denied = answer(get("/denied")).await;
        assert_eq!(
            denied.problem("limit-exceeded")["decision"]["allowed"],
            false
        );
    }

    #[actix_web::test]
    async fn every_type_of_problem_is_documented_where_it_points() {
        let list = answer(get("/problems")).await.json();
        for entry in list["data"].as_array().unwrap() {
            let one = answer(get(entry["type"].as_str().unwrap())).await;
            assert_eq!((one.status, &one.json()), (200, entry));
        }
        answer(get("/problems/none")).await.problem("not-found");
    }

    #[actix_web::test]
    async fn requests_are_counted_by_template() {
        let metrics = Metrics::new();
        answer_counted(get("/things/1"), &metrics).await;
        answer_counted(get("/things/2"), &metrics).await;
        answer_counted(get("/made/up"), &metrics).await;
        answer_counted(get("/guarded"), &metrics).await;
        let text = metrics.encode().unwrap();
        for line in [
            r#"http_requests_total{method="GET",route="/things/{id}",status="200"} 2"#,
            r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
            r#"http_requests_total{method="GET",route="/guarded",status="401"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
