//! What cannot be reserved, and whose reservations cannot be reached.

use plangate::domain::api_key::Scope;
use serde_json::{Value, json};

use super::{RUNS, hold, reserve, runs, settle, shown, try_reserve, used_and_held, with};
use crate::support::app::TestApp;
use crate::support::steps::{consume, count};

#[actix_web::test]
async fn only_what_is_counted_can_be_reserved() {
    let app = TestApp::start().await;
    for feature in ["lookback_days", "export"] {
        let problem = try_reserve(&app, runs(json!({"feature": feature})))
            .await
            .problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], "/feature", "{feature}");
    }
    try_reserve(&app, runs(json!({"feature": "nothing"})))
        .await
        .problem(404, "unknown-feature");
}

#[actix_web::test]
async fn each_fault_of_a_body_is_named() {
    let app = TestApp::start().await;
    for (change, pointer) in [
        (json!({"ttl_seconds": 0}), "/ttl_seconds"),
        (json!({"ttl_seconds": -1}), "/ttl_seconds"),
        (json!({"ttl_seconds": 86_401}), "/ttl_seconds"),
        (json!({"ttl_seconds": i64::MAX}), "/ttl_seconds"),
        (json!({"ttl_seconds": 1.5}), "/ttl_seconds"),
        (json!({"ttl_seconds": "300"}), "/ttl_seconds"),
        (json!({"ttl_seconds": null}), "/ttl_seconds"),
        (json!({"quantity": 0}), "/quantity"),
        (json!({"quantity": -1}), "/quantity"),
        (
            json!({"quantity": 9_223_372_036_854_775_808_u64}),
            "/quantity",
        ),
        (json!({"quantity": 1.0}), "/quantity"),
        (json!({"customer_id": "a b"}), "/customer_id"),
        (json!({"customer_id": null}), "/customer_id"),
        (json!({"feature": 1}), "/feature"),
        (json!({"idempotency_key": ""}), "/idempotency_key"),
        (
            json!({"idempotency_key": "k".repeat(256)}),
            "/idempotency_key",
        ),
        (json!({"value": 1}), "/value"),
        (json!({"expires_at": "2026-01-12T00:05:00Z"}), "/expires_at"),
    ] {
        let body = runs(change);
        let problem = try_reserve(&app, body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    let differing = runs(json!({"idempotency_key": "a"}));
    let call = app.post("/reservations").header("idempotency-key", "b");
    let problem = call.json(differing).send().await;
    let problem = problem.problem(422, "validation-failed");
    assert_eq!(problem["errors"][0]["pointer"], "/idempotency_key");
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 0);

    let id = hold(&app, 1, 300).await;
    for (verb, body, pointer) in [
        ("commit", json!({}), "/customer_id"),
        ("release", json!({}), "/customer_id"),
        (
            "commit",
            json!({"customer_id": "acme", "feature": RUNS}),
            "/feature",
        ),
        (
            "release",
            json!({"customer_id": "acme", "quantity": 1}),
            "/quantity",
        ),
    ] {
        let problem = settle(&app, &id, verb, body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{verb} {body}");
    }
    for (query, pointer) in [
        ("", "/customer_id"),
        ("?customer_id=a%20b", "/customer_id"),
        ("?customer_id=acme&x=1", "/x"),
    ] {
        let answer = app.get(&format!("/reservations/{id}{query}")).send().await;
        let problem = answer.problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}");
    }
    assert_eq!(shown(&app, &id).await["state"], "held");
}

#[actix_web::test]
async fn a_reservation_is_known_to_its_own_customer_only() {
    let app = TestApp::start().await;
    let id = hold(&app, 10, 300).await;
    consume(&app, "globex", RUNS, 1).await;
    let unknown = "res_019b5f8d3c2a7c10a5a2f4e8b1d0c3e7";
    let bare = id.strip_prefix("res_").unwrap();
    let short = &id[..35];
    let event = format!("evt_{bare}");
    for (customer, id) in [
        ("globex", id.as_str()),
        ("never-seen", &id),
        ("acme", unknown),
        ("acme", bare),
        ("acme", short),
        ("acme", &event),
        ("acme", "res_"),
        ("acme", "x"),
        ("acme", "%20"),
        ("acme", "res_%00"),
    ] {
        let body = json!({"customer_id": customer});
        for verb in ["commit", "release"] {
            let answer = settle(&app, id, verb, body.clone()).await;
            assert_eq!(answer.status, 404, "{customer} {id}: {}", answer.text);
            answer.problem(404, "not-found");
        }
        let path = format!("/reservations/{id}?customer_id={customer}");
        let answer = app.get(&path).send().await;
        assert_eq!(answer.status, 404, "{customer} {id}: {}", answer.text);
        answer.problem(404, "not-found");
    }
    assert_eq!(shown(&app, &id).await["state"], "held");
    assert_eq!(used_and_held(&app, RUNS).await, (0, 10));
    // Being asked for makes nobody.
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 2);
}

#[actix_web::test]
async fn a_customers_token_cannot_reserve_settle_or_look() {
    let app = TestApp::start().await;
    let id = hold(&app, 1, 300).await;
    let minted = app
        .post("/customers/acme/tokens")
        .json(json!({"permissions": ["read", "billing"]}))
        .send()
        .await
        .expect(201);
    let token = minted["token"].as_str().unwrap();
    let own: Value = json!({"customer_id": "acme"});
    for call in [
        app.post("/reservations").json(runs(json!({}))),
        app.post(&format!("/reservations/{id}/commit"))
            .json(own.clone()),
        app.post(&format!("/reservations/{id}/release")).json(own),
        app.get(&format!("/reservations/{id}?customer_id=acme")),
        app.get(&format!("/reservations/{id}")),
    ] {
        call.key(token).send().await.problem(403, "forbidden");
    }
    // A key that only reads may look.
    let reader = app.key(&[Scope::Read]).await;
    let path = format!("/reservations/{id}?customer_id=acme");
    assert_eq!(
        app.get(&path).key(&reader).send().await.ok()["state"],
        "held"
    );
    let settling = app.post(&format!("/reservations/{id}/release"));
    let settling = settling.json(json!({"customer_id": "acme"})).key(&reader);
    settling.send().await.problem(403, "forbidden");
    assert_eq!(used_and_held(&app, RUNS).await, (0, 1));
}

#[actix_web::test]
async fn unknown_customers_can_be_rejected() {
    let app = TestApp::builder()
        .set("PLANGATE_UNKNOWN_CUSTOMERS", "reject")
        .start()
        .await;
    try_reserve(&app, runs(json!({})))
        .await
        .problem(404, "unknown-customer");
    let adjustment = json!({"delta": 1, "reason": "r", "idempotency_key": "k"});
    app.post("/admin/usage/adjust")
        .json(with(runs(json!({})), adjustment))
        .send()
        .await
        .problem(404, "unknown-customer");
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 0);
    app.put("/customers/acme")
        .json(json!({}))
        .send()
        .await
        .expect(201);
    reserve(&app, runs(json!({}))).await;
}
