//! Health, figures, documentation, and how errors look where no handler made them.

use chrono::TimeDelta;
use plangate::domain::api_key::Scope;
use plangate::domain::provider_event::ProviderName;
use plangate::service::context::Context;
use plangate::store::inbox;
use plangate::store::inbox::{Delivery, Status};
use serde_json::{Value, json};

use crate::support::app::TestApp;

fn queue_an_event(app: &TestApp) {
    let context: &Context = app.context();
    let delivery = Delivery {
        provider: ProviderName::Stripe,
        event_id: "evt_1",
        event_type: "customer.subscription.updated",
        subject: Some("sub_1"),
        refetch_only: true,
        livemode: false,
        status: Status::Queued,
        body: b"{}",
    };
    assert!(inbox::keep(&mut app.connect(), &delivery, context.clock().now()).unwrap());
}

#[tokio::test]
async fn a_healthy_service_is_alive_and_ready() {
    let app = TestApp::start().await;
    let alive = app.get("/livez").anonymous().send().await.ok();
    assert_eq!(alive, json!({"status": "alive"}));
    let ready = app.get("/readyz").anonymous().send().await.ok();
    assert_eq!(ready, json!({"status": "ready"}));
    for verbose in ["/readyz?verbose", "/readyz?verbose=true"] {
        let ready = app.get(verbose).anonymous().send().await.ok();
        let inbox =
            json!({"unprocessed": 0, "oldest_received_at": null, "late": false, "failed": 0});
        let usage = json!({"pending": 0, "oldest_at": null, "late": false, "doubtful": 0});
        assert_eq!(
            ready["checks"],
            json!({"database": "ok", "migrations": "ok", "traffic": "ok", "inbox": inbox, "usage_reports": usage,
                   "overage_invoices": {"due": 0, "oldest_at": null, "late": false},
                   "endings": {"due": 0, "oldest_at": null, "late": false}})
        );
    }
    let problem = app.get("/readyz?verbose=maybe").send().await;
    assert_eq!(
        problem.problem(400, "malformed-request")["errors"][0]["pointer"],
        "/verbose"
    );
}

#[tokio::test]
async fn an_event_that_waits_long_shows_but_does_not_take_the_service_away() {
    let app = TestApp::builder().may_leave_events().start().await;
    queue_an_event(&app);
    app.advance(TimeDelta::minutes(5));
    let inbox = app.get("/readyz?verbose").send().await.ok()["checks"]["inbox"].clone();
    assert_eq!(
        inbox,
        json!({"unprocessed": 1, "oldest_received_at": "2026-01-12T00:00:00Z", "late": true, "failed": 0})
    );
    let figures = app.get("/metrics").send().await.text;
    assert!(
        figures.contains("plangate_inbox_unprocessed 1\n"),
        "{figures}"
    );
    assert!(
        figures.contains("plangate_inbox_oldest_seconds 300\n"),
        "{figures}"
    );
}

#[tokio::test]
async fn a_draining_service_is_not_ready_and_still_serves() {
    let app = TestApp::start().await;
    app.readiness().drain();
    let problem = app
        .get("/readyz")
        .anonymous()
        .send()
        .await
        .problem(503, "not-ready");
    assert_eq!(
        problem["detail"],
        "Not ready: this instance is shutting down."
    );
    let verbose = app.get("/readyz?verbose").send().await;
    assert_eq!(verbose.header("retry-after"), Some("2"));
    assert_eq!(
        verbose.problem(503, "not-ready")["checks"]["traffic"],
        "draining"
    );
    app.get("/livez").anonymous().send().await.ok();
    app.get("/problems").anonymous().send().await.ok();
}

#[tokio::test]
async fn a_service_without_its_database_says_so_and_keeps_its_figures() {
    let app = TestApp::builder().may_leave_events().start().await;
    app.get("/readyz").send().await.ok();
    app.database.take_away();
    let problem = app
        .get("/readyz?verbose")
        .send()
        .await
        .problem(503, "not-ready");
    assert_eq!(
        problem["detail"],
        "Not ready: the database cannot be reached."
    );
    assert_eq!(problem["checks"]["database"], "unreachable");
    assert_eq!(problem["checks"]["inbox"], Value::Null);
    app.get("/livez").send().await.ok();
    let figures = app.get("/metrics").send().await;
    assert_eq!(figures.status, 200);
    assert!(
        figures.text.contains("http_requests_total"),
        "{}",
        figures.text
    );
    app.database.bring_back();
    for _ in 0..100 {
        if app.get("/readyz").send().await.status == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    app.get("/readyz").send().await.ok();
}

#[tokio::test]
async fn figures_are_openmetrics_and_name_routes_not_paths() {
    let app = TestApp::start().await;
    app.get("/problems/not-found").anonymous().send().await.ok();
    app.get("/made-up/by-a-scanner").anonymous().send().await;
    let figures = app.get("/metrics").anonymous().send().await;
    assert_eq!(
        figures.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    for line in [
        r#"http_requests_total{method="GET",route="/problems/{slug}",status="200"} 1"#,
        r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
    ] {
        assert!(figures.text.contains(line), "{line}\n{}", figures.text);
    }
    assert!(figures.text.ends_with("# EOF\n"));
    assert!(!figures.text.contains("scanner"));
}

#[tokio::test]
async fn the_documentation_is_served_from_the_binary_alone() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").anonymous().send().await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let current = plangate::http::openapi::document();
    assert_eq!(
        document.text,
        plangate::http::openapi::rendered(&current).unwrap()
    );

    // The client follows the redirect to /docs/.
    let page = app.get("/docs").anonymous().send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html"))
    );
    let own_files: Vec<&str> = page
        .text
        .split(['"'])
        .filter(|part| matches!(part.rsplit_once('.'), Some((_, "js" | "css"))))
        .collect();
    assert!(own_files.len() >= 3, "{}", page.text);
    assert!(
        !page.text.contains("http"),
        "it fetches from elsewhere: {}",
        page.text
    );
    for file in own_files {
        let path = format!("/docs/{}", file.trim_start_matches("./"));
        let file = app.get(&path).anonymous().send().await;
        assert_eq!(file.status, 200, "{path}");
    }
    let start = app.get("/docs/swagger-initializer.js").send().await.text;
    assert!(start.contains("../openapi.json"), "{start}");
    app.get("/docs/none.js")
        .send()
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn requests_without_a_route_get_problems() {
    let app = TestApp::start().await;
    let missing = app
        .get("/nothing/here")
        .anonymous()
        .send()
        .await
        .problem(404, "not-found");
    assert_eq!(missing["instance"], "/nothing/here");
    for wrong in [app.post("/livez"), app.put("/livez"), app.delete("/livez")] {
        let wrong = wrong.anonymous().send().await;
        assert_eq!(wrong.header("allow"), Some("GET, HEAD"));
        wrong.problem(405, "method-not-allowed");
    }
    let slashed = app.get("/livez/").anonymous().send().await;
    slashed.problem(404, "not-found");
}

#[tokio::test]
async fn bodies_that_are_none_get_problems() {
    let app = TestApp::start().await;
    let check = || app.post("/entitlements/check");
    let json = "application/json";
    check()
        .body(json, "{")
        .send()
        .await
        .problem(400, "malformed-json");
    check().send().await.problem(415, "unsupported-media-type");
    check()
        .body("text/plain", "{}")
        .send()
        .await
        .problem(415, "unsupported-media-type");
    let large = " ".repeat(300 << 10);
    check()
        .body(json, large)
        .send()
        .await
        .problem(413, "payload-too-large");
    let invalid = check()
        .json(json!({"feature": 7}))
        .send()
        .await
        .problem(422, "validation-failed");
    assert_eq!(invalid["errors"][0]["pointer"], "/feature");
    let anonymous = check().anonymous().json(json!({})).send().await;
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"));
    anonymous.problem(401, "unauthorized");
    let reader = app.key(&[Scope::Read]).await;
    let body = json!({"customer_id": "acme", "feature": "models"});
    check().key(&reader).json(body.clone()).send().await.ok();
    let consume = app.post("/entitlements/consume").key(&reader).json(body);
    consume.send().await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_sane_request_id_is_echoed_and_another_replaced() {
    let app = TestApp::start().await;
    let echoed = app
        .get("/livez")
        .header("x-request-id", "abc-123")
        .send()
        .await;
    assert_eq!(echoed.header("x-request-id"), Some("abc-123"));
    let replaced = app
        .get("/nothing")
        .header("x-request-id", "a b")
        .send()
        .await;
    assert_ne!(replaced.header("x-request-id"), Some("a b"));
    replaced.problem(404, "not-found");
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_page() {
    let app = TestApp::builder()
        .set("PLANGATE_CORS_ORIGINS", "https://app.example.com")
        .start()
        .await;
    let listed = app
        .get("/livez")
        .header("origin", "https://app.example.com")
        .send()
        .await;
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    let other = app
        .get("/livez")
        .header("origin", "https://evil.example")
        .send()
        .await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    let plain = TestApp::start().await;
    let unset = plain
        .get("/livez")
        .header("origin", "https://app.example.com")
        .send()
        .await;
    assert_eq!(unset.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn a_get_answers_head_without_a_body() {
    let app = TestApp::start().await;
    for path in ["/livez", "/plans", "/entitlements?customer_id=acme"] {
        let head = app.call(reqwest::Method::HEAD, path).send().await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
    app.call(reqwest::Method::HEAD, "/nowhere")
        .anonymous()
        .send()
        .await
        .expect(404);
}
