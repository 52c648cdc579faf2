//! Cross-origin access for frontends.

use actix_cors::Cors;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER,
};

/// How long a browser may remember a preflight's answer, in seconds.
const PREFLIGHT_SECONDS: usize = 600;

/// Lets pages of exactly these origins call with a bearer credential and read what answers say in headers. Other origins
/// get no CORS headers and are stopped by the browser; callers that are no browsers are not affected.
pub fn cors(origins: &[String]) -> Cors {
    origins
        .iter()
        .fold(Cors::default(), |cors, origin| cors.allowed_origin(origin))
        .allowed_methods(["GET", "POST", "PUT", "DELETE"])
        .allowed_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH])
        .allowed_headers(["Idempotency-Key", "X-Request-Id", "X-CSRF-Token"])
        .expose_headers([ETAG, RETRY_AFTER])
        .expose_headers([
            "X-Request-Id",
            "Idempotency-Replayed",
            "RateLimit",
            "RateLimit-Policy",
        ])
        .max_age(PREFLIGHT_SECONDS)
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service};
    use actix_web::{App, HttpResponse, web};

    use super::*;

    async fn answer(request: TestRequest) -> (u16, Option<String>, Option<String>) {
        let origins = ["https://app.example.com".to_owned()];
        let app = init_service(
            App::new()
                .wrap(cors(&origins))
                .route("/usage", web::get().to(HttpResponse::Ok)),
        )
        .await;
        let response = call_service(&app, request.uri("/usage").to_request()).await;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_ascii_lowercase())
        };
        (
            response.status().as_u16(),
            header("access-control-allow-origin"),
            header("access-control-expose-headers"),
        )
    }

    #[actix_web::test]
    async fn a_listed_origin_is_let_in() {
        let (status, origin, exposed) =
            answer(TestRequest::get().insert_header(("origin", "https://app.example.com"))).await;
        assert_eq!(status, 200);
        assert_eq!(origin.as_deref(), Some("https://app.example.com"));
        for name in ["etag", "x-request-id", "idempotency-replayed", "ratelimit"] {
            assert!(exposed.as_ref().unwrap().contains(name), "{name}");
        }
        let preflight = TestRequest::default()
            .method(actix_web::http::Method::OPTIONS)
            .insert_header(("origin", "https://app.example.com"))
            .insert_header(("access-control-request-method", "GET"))
            .insert_header((
                "access-control-request-headers",
                "authorization,idempotency-key",
            ));
        assert_eq!(answer(preflight).await.0, 200);
    }

    #[actix_web::test]
    async fn another_origin_gets_no_permission_but_is_not_blocked_here() {
        let other = TestRequest::get().insert_header(("origin", "https://evil.example"));
        let (status, origin, _) = answer(other).await;
        assert_eq!((status, origin), (200, None));
        assert_eq!(answer(TestRequest::get()).await.0, 200);
    }
}
