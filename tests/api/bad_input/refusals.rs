//! Every status that says no.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use plangate::domain::api_key::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::client::{Answer, Call};
use crate::support::steps::{assert_counters_equal_ledger, count, usage_of};

#[actix_web::test]
async fn every_refusal_is_a_problem_that_says_where_it_happened() {
    let app = TestApp::with_stripe().await;
    let read_only = app.key(&[Scope::Read]).await;
    let question = json!({"customer_id": "acme", "feature": "models"});
    let consuming = || app.post("/entitlements/consume");
    let body = |changes: Value| {
        let mut body = question.clone();
        body.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        body
    };
    let down = Fault::Status {
        status: 503,
        retry_after: None,
        should_retry: Some(false),
    };
    app.stripe().fail(Endpoint::CreateCustomer, down, 1);
    let keyed = body(json!({"idempotency_key": "k"}));
    consuming().json(keyed.clone()).send().await.ok();
    let cases = [
        (
            consuming().body("application/json", "{"),
            400,
            "malformed-json",
            "/entitlements/consume",
        ),
        (
            app.get("/usage/events?customer_id=acme&limit=0"),
            400,
            "malformed-request",
            "/usage/events",
        ),
        (
            consuming()
                .json(question.clone())
                .header("idempotency-key", ""),
            400,
            "malformed-request",
            "/entitlements/consume",
        ),
        (
            app.post("/webhook/stripe").json(json!({})),
            400,
            "bad-signature",
            "/webhook/stripe",
        ),
        (
            app.get("/usage?customer_id=acme").anonymous(),
            401,
            "unauthorized",
            "/usage",
        ),
        (
            consuming().json(body(json!({"quantity": 2}))),
            402,
            "limit-exceeded",
            "/entitlements/consume",
        ),
        (
            consuming().json(body(json!({"feature": "export"}))),
            402,
            "feature-not-in-plan",
            "/entitlements/consume",
        ),
        (
            consuming().json(question.clone()).key(&read_only),
            403,
            "forbidden",
            "/entitlements/consume",
        ),
        (
            app.get("/nowhere?token=secret"),
            404,
            "not-found",
            "/nowhere",
        ),
        (
            app.get("/customers/globex"),
            404,
            "unknown-customer",
            "/customers/globex",
        ),
        (app.get("/plans/gold"), 404, "unknown-plan", "/plans/gold"),
        (
            consuming().json(body(json!({"feature": "x"}))),
            404,
            "unknown-feature",
            "/entitlements/consume",
        ),
        (
            app.delete("/plans/pro"),
            405,
            "method-not-allowed",
            "/plans/pro",
        ),
        (
            app.call(Method::PATCH, "/customers/acme"),
            405,
            "method-not-allowed",
            "/customers/acme",
        ),
        (
            app.post("/entitlements/release")
                .json(body(json!({"quantity": 9}))),
            409,
            "below-zero",
            "/entitlements/release",
        ),
        (
            consuming().body("application/json", vec![b' '; 256 * 1024 + 1]),
            413,
            "payload-too-large",
            "/entitlements/consume",
        ),
        (
            consuming().body("text/plain", question.to_string()),
            415,
            "unsupported-media-type",
            "/entitlements/consume",
        ),
        (
            consuming().json(body(json!({"quantity": 0}))),
            422,
            "validation-failed",
            "/entitlements/consume",
        ),
        (
            consuming().json(body(json!({"surprise": 0}))),
            422,
            "validation-failed",
            "/entitlements/consume",
        ),
        (
            consuming().json(body(json!({"idempotency_key": "k", "quantity": 2}))),
            422,
            "idempotency-key-reused",
            "/entitlements/consume",
        ),
        (
            app.post("/billing/create-checkout")
                .json(json!({"customer_id": "acme", "plan_tier": "pro"})),
            502,
            "provider-failed",
            "/billing/create-checkout",
        ),
    ];
    let mut statuses = BTreeSet::new();
    for (call, status, slug, instance) in cases {
        let answer = call.header("x-request-id", "of-the-caller-1").send().await;
        assert_eq!(
            answer.header("x-request-id"),
            Some("of-the-caller-1"),
            "{}",
            answer.text
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("retry-after").is_some(), status >= 500);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        assert_eq!(answer.header("allow").is_some(), status == 405);
        let problem = answer.problem(status, slug);
        assert_eq!(problem["instance"], instance);
        assert_eq!(problem["decision"].is_object(), status == 402, "{problem}");
        assert_eq!(
            problem["errors"].is_array(),
            slug == "validation-failed" || problem["errors"] != Value::Null
        );
        // The type leads to what it means.
        let documented = app
            .get(problem["type"].as_str().unwrap())
            .anonymous()
            .send()
            .await
            .ok();
        assert_eq!(
            (&documented["status"], &documented["title"]),
            (&json!(status), &problem["title"])
        );
        statuses.insert(status);
    }
    let all = [400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 502];
    assert!(statuses.iter().eq(&all));
    // A caller's id that is none is replaced, and every answer bears one.
    for odd in ["a b", "<script>", &"x".repeat(129)] {
        let answer = app.get("/plans").header("x-request-id", odd).send().await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("x-request-id")
                .is_some_and(|id| id != odd && !id.is_empty())
        );
    }
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn every_route_with_a_body_refuses_other_media_types() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").send().await.ok();
    let mut routes = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["requestBody"].is_null() || operation["security"] == json!([{}]) {
                continue;
            }
            routes += 1;
            let path = template
                .replace("{feature}", "models")
                .replace("{customer_id}", "acme")
                .replace("{id}", "acme");
            let method: Method = method.to_uppercase().parse().unwrap();
            let call = || app.call(method.clone(), &path);
            for media_type in [
                "text/plain",
                "application/xml",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "application/json; charset=latin1",
                "application/jsonp",
                "json",
                "\"\"",
            ] {
                let answer = call().body(media_type, "{}").send().await;
                assert_eq!(
                    answer.status, 415,
                    "{method} {path} {media_type}: {}",
                    answer.text
                );
                answer.problem(415, "unsupported-media-type");
            }
            call().send().await.problem(415, "unsupported-media-type");
            for coding in ["gzip", "br", "x"] {
                let answer = call()
                    .json(json!({}))
                    .header("content-encoding", coding)
                    .send()
                    .await;
                answer.problem(415, "unsupported-media-type");
            }
            for (media_type, body) in [
                ("application/json", "{"),
                ("application/json; charset=utf-8", ""),
            ] {
                let answer = call().body(media_type, body).send().await;
                assert_eq!(answer.status, 400, "{method} {path}: {}", answer.text);
                answer.problem(400, "malformed-json");
            }
            let answer = call().json(json!({"no_route_has_this": 1})).send().await;
            let problem = answer.problem(422, "validation-failed");
            assert!(problem["errors"][0]["pointer"].is_string());
            let answer = call()
                .body("application/json", vec![b' '; 256 * 1024 + 1])
                .send()
                .await;
            answer.problem(413, "payload-too-large");
        }
    }
    assert!(routes >= 11, "{routes}");
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 0);
}

#[actix_web::test]
async fn without_the_database_the_answer_is_503_and_nothing_else_and_then_all_is_well() {
    let app = TestApp::start().await;
    let question =
        json!({"customer_id": "acme", "feature": "attribution_runs", "idempotency_key": "run-1"});
    app.get("/usage?customer_id=acme").send().await.ok();
    let name: String = diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(
        "current_database()",
    ))
    .get_result(&mut app.connect())
    .unwrap();
    let elsewhere = app.database.url.replace(&format!("/{name}"), "/postgres");
    let mut keeper = PgConnection::establish(&elsewhere).unwrap();
    let away = format!(
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = '{name}';"
    );
    keeper.batch_execute(&away).unwrap();

    let run = json!({"events": [{"id": "1", "customer_id": "acme", "feature": "attribution_runs", "quantity": 1}]});
    let calls = [
        app.post("/entitlements/consume").json(question.clone()),
        app.post("/entitlements/check")
            .json(json!({"customer_id": "acme", "feature": "models"})),
        app.get("/usage?customer_id=acme"),
        app.post("/usage").json(run),
        app.get("/plan-context?customer_id=acme"),
        app.put("/customers/acme").json(json!({})),
        app.get("/admin/audit"),
        app.get("/billing/subscription?customer_id=acme"),
        app.post("/admin/subscriptions")
            .json(json!({"customer_id": "acme", "plan_tier": "pro", "reason": "r"})),
    ];
    for answer in futures_util::future::join_all(calls.map(Call::send)).await {
        assert!(answer.header("retry-after").is_some(), "{}", answer.text);
        let slug = answer.body["type"]
            .as_str()
            .unwrap()
            .replace("/problems/", "");
        assert!(
            matches!(slug.as_str(), "database-unavailable" | "overloaded"),
            "{slug}"
        );
        let problem = answer.problem(503, &slug);
        // Neither an address nor a statement is shown.
        assert!(!problem.to_string().contains(&name), "{problem}");
    }
    // What needs no database goes on.
    app.get("/livez").anonymous().send().await.ok();
    app.get("/plans").anonymous().send().await.ok();
    let ready = app.get("/readyz").anonymous().send().await;
    assert_eq!(ready.status, 503, "{}", ready.text);

    keeper
        .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
        .unwrap();
    // The pool finds its way back by itself; the same call under its key is safe to repeat until then.
    let mut again = Vec::new();
    while again
        .last()
        .is_none_or(|answer: &Answer| answer.status != 200)
    {
        assert!(again.len() < 10, "{again:?}");
        again.push(
            app.post("/entitlements/consume")
                .json(question.clone())
                .send()
                .await,
        );
    }
    assert_eq!(usage_of(&app, "acme", "attribution_runs").await["used"], 1);
    assert_counters_equal_ledger(&app);
}
