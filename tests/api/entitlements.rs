//! Checks, admissions and their idempotency, over HTTP.

use std::sync::Arc;

use chrono::TimeDelta;
use diesel::RunQueryDsl as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;

const RUNS: &str = "attribution_runs";

async fn check(app: &TestApp, body: Value) -> Answer {
    app.post("/entitlements/check").json(body).send().await
}

async fn consume(app: &TestApp, body: Value) -> Answer {
    app.post("/entitlements/consume").json(body).send().await
}

async fn used(app: &TestApp, customer: &str, feature: &str) -> i64 {
    let usage = app
        .get(&format!("/usage?customer_id={customer}"))
        .send()
        .await
        .ok();
    let metrics = usage["metrics"].as_array().unwrap();
    metrics
        .iter()
        .find(|metric| metric["feature"] == feature)
        .unwrap()["used"]
        .as_i64()
        .unwrap()
}

fn assert_counters_equal_the_ledger(app: &TestApp) {
    let drifts = plangate::store::counters::drifts(&mut app.connect(), None).unwrap();
    assert!(drifts.is_empty(), "{drifts:?}");
}

#[actix_web::test]
async fn a_decision_tells_the_rule_and_its_numbers() {
    let app = TestApp::start().await;
    let grant = json!({"customer_id": "acme", "plan_tier": "pro", "reason": "test"});
    app.post("/admin/subscriptions")
        .json(grant)
        .send()
        .await
        .expect(201);
    consume(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 150}),
    )
    .await
    .ok();
    let decision = consume(&app, json!({"customer_id": "acme", "feature": RUNS}))
        .await
        .ok();
    let event_id = decision["event_id"].as_str().unwrap();
    assert!(
        event_id.starts_with("evt_") && event_id.len() == 36,
        "{event_id}"
    );
    assert_eq!(
        decision,
        json!({"customer_id": "acme", "feature": RUNS, "kind": "metered", "allowed": true, "enforced": true,
            "reason": "within_limit", "requested": 1, "limit": 5000, "limit_source": "plan", "hard_limit": 5500,
            "used": 151, "held": 0, "remaining": 4849, "percent_used": 3.02, "warning_level": null,
            "warnings_crossed": [], "overage": null,
            "plan": {"tier": "pro", "version": 1, "status": "active", "source": "subscription"},
            "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"}, "grace": null,
            "upgrade": {"tier": "scale", "reason": "higher_limit"}, "event_id": event_id,
            "as_of": "2026-01-12T00:00:00Z"})
    );
}

#[actix_web::test]
async fn a_check_decides_every_kind_and_stores_nothing() {
    let app = TestApp::start().await;
    let allowed = check(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "consistency": "strong"}),
    )
    .await
    .ok();
    assert_eq!(
        (&allowed["allowed"], &allowed["used"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(allowed["event_id"], Value::Null);
    let denied = check(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 111}),
    )
    .await
    .ok();
    assert_eq!(
        (&denied["allowed"], &denied["reason"]),
        (&json!(false), &json!("hard_limit_reached"))
    );
    let export = check(&app, json!({"customer_id": "acme", "feature": "export"}))
        .await
        .ok();
    assert_eq!(export["reason"], "feature_not_in_plan");
    assert_eq!(
        (&export["limit"], &export["used"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        export["upgrade"],
        json!({"tier": "pro", "reason": "feature_available"})
    );
    let lookback = check(
        &app,
        json!({"customer_id": "acme", "feature": "lookback_days", "value": 30}),
    )
    .await
    .ok();
    assert_eq!(lookback["reason"], "value_above_limit");
    assert_eq!(
        (&lookback["requested"], &lookback["limit"]),
        (&json!(30), &json!(7))
    );
    let models = check(
        &app,
        json!({"customer_id": "acme", "feature": "models", "quantity": 2}),
    )
    .await
    .ok();
    // An allocated feature has no soft zone.
    assert_eq!(
        (&models["reason"], &models["hard_limit"]),
        (&json!("hard_limit_reached"), &json!(1))
    );

    app.get("/customers/acme")
        .send()
        .await
        .problem(404, "unknown-customer");
    check(
        &app,
        json!({"customer_id": "acme", "feature": "unheard_of"}),
    )
    .await
    .problem(404, "unknown-feature");
    let no_value = check(
        &app,
        json!({"customer_id": "acme", "feature": "lookback_days"}),
    )
    .await;
    assert_eq!(
        no_value.problem(422, "validation-failed")["errors"][0]["pointer"],
        "/value"
    );
    let stray_value = check(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "value": 1}),
    )
    .await;
    assert_eq!(
        stray_value.problem(422, "validation-failed")["errors"][0]["pointer"],
        "/value"
    );
}

#[actix_web::test]
async fn a_batch_answers_each_check_by_itself() {
    let app = TestApp::start().await;
    consume(
        &app,
        json!({"customer_id": "b", "feature": RUNS, "quantity": 7}),
    )
    .await
    .ok();
    let checks = json!({"checks": [
        {"customer_id": "b", "feature": RUNS},
        {"customer_id": "a", "feature": "unheard_of"},
        {"customer_id": "a", "feature": RUNS, "quantity": 0},
        {"customer_id": "a", "feature": "export"},
        {"feature": RUNS},
        "not even an object",
        {"customer_id": "b", "feature": "lookback_days", "value": 7},
    ]});
    let results = app
        .post("/entitlements/check/batch")
        .json(checks)
        .send()
        .await
        .ok()["results"]
        .clone();
    assert_eq!(results.as_array().unwrap().len(), 7);
    assert_eq!(results[0]["used"], 7);
    assert_eq!(results[1]["error"]["type"], "/problems/unknown-feature");
    assert_eq!(results[2]["error"]["errors"][0]["pointer"], "/quantity");
    assert_eq!(results[3]["allowed"], false);
    assert_eq!(results[4]["error"]["errors"][0]["pointer"], "/customer_id");
    assert_eq!(results[5]["error"]["status"], 422);
    assert_eq!(results[6]["allowed"], true);

    // What cannot be stored is the fault of its check alone.
    let with_nul = r#"{"checks": [{"customer_id": "a", "feature": "\u0000"}, {"customer_id": "a", "feature": "models"}]}"#;
    let answer = app
        .post("/entitlements/check/batch")
        .body("application/json", with_nul)
        .send()
        .await
        .ok();
    assert_eq!(
        answer["results"][0]["error"]["errors"][0]["pointer"],
        "/feature"
    );
    assert_eq!(answer["results"][1]["allowed"], true);

    let one = json!({"customer_id": "a", "feature": RUNS});
    for checks in [vec![], vec![one; 101]] {
        let refused = app
            .post("/entitlements/check/batch")
            .json(json!({"checks": checks}))
            .send()
            .await;
        assert_eq!(
            refused.problem(422, "validation-failed")["errors"][0]["pointer"],
            "/checks"
        );
    }
}

#[actix_web::test]
async fn the_list_has_a_decision_for_each_feature_in_the_catalogues_order() {
    let app = TestApp::start().await;
    let list = app.get("/entitlements?customer_id=acme").send().await.ok();
    let summary: Vec<Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| json!([decision["feature"], decision["allowed"], decision["limit"]]))
        .collect();
    assert_eq!(
        json!(summary),
        json!([
            [RUNS, true, 100],
            ["models", true, 1],
            ["lookback_days", true, 7],
            ["export", false, false]
        ])
    );
}

#[actix_web::test]
async fn a_strong_check_sees_what_others_wrote_and_a_default_one_may_be_older() {
    let app = TestApp::builder()
        .set("PLANGATE_CHECK_MAX_AGE_MS", "60000")
        .start()
        .await;
    let ask = |consistency: &str| json!({"customer_id": "acme", "feature": RUNS, "consistency": consistency});
    consume(&app, json!({"customer_id": "acme", "feature": RUNS}))
        .await
        .ok();
    assert_eq!(check(&app, ask("default")).await.ok()["used"], 1);
    // As another replica would.
    diesel::sql_query("UPDATE usage_metrics SET value = 9")
        .execute(&mut app.connect())
        .unwrap();
    assert_eq!(check(&app, ask("default")).await.ok()["used"], 1);
    let checks = json!({"checks": [ask("default"), ask("strong"), ask("default")]});
    let batch = app.post("/entitlements/check/batch").json(checks);
    let batch = batch.send().await.ok();
    let used = [0, 1, 2].map(|index: usize| batch["results"][index]["used"].clone());
    assert_eq!(used, [1, 9, 1]);
    assert_eq!(check(&app, ask("strong")).await.ok()["used"], 9);
}

#[actix_web::test]
async fn each_check_of_a_batch_says_how_fresh_it_must_be() {
    let app = TestApp::start().await;
    consume(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 3}),
    )
    .await
    .ok();
    let ask = |customer: &str, consistency: Value| json!({"customer_id": customer, "feature": RUNS, "consistency": consistency});
    let checks = json!({"checks": [
        ask("globex", json!("strong")), ask("acme", json!("default")), ask("acme", json!("strong")),
        ask("acme", json!("eventual")), ask("acme", Value::Null), ask("globex", json!("default")),
    ]});
    let batch = app.post("/entitlements/check/batch").json(checks);
    let batch = batch.send().await.ok();
    let results = batch["results"].as_array().unwrap();
    let told: Vec<Value> = results
        .iter()
        .map(|result| json!([result["customer_id"], result["used"]]))
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["globex", 0],
            ["acme", 3],
            ["acme", 3],
            [null, null],
            ["acme", 3],
            ["globex", 0]
        ])
    );
    let fault = &results[3]["error"]["errors"][0];
    assert_eq!(fault["pointer"], "/consistency");
    let bad = json!({"customer_id": "acme", "feature": RUNS, "consistency": "eventual"});
    let problem = check(&app, bad).await.problem(422, "validation-failed");
    assert_eq!(problem["errors"][0]["pointer"], "/consistency");
}

#[actix_web::test]
async fn a_key_counts_once_and_its_answer_is_given_again() {
    let app = TestApp::start().await;
    let body = json!({"customer_id": "acme", "feature": RUNS, "quantity": 5, "idempotency_key": "run",
                      "properties": {"model": "last_touch", "z": [1, 2]}});
    let first = consume(&app, body.clone()).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.ok();
    // Later, and after more use, the answer is still the one that was given.
    app.advance(TimeDelta::days(40));
    consume(&app, json!({"customer_id": "acme", "feature": RUNS}))
        .await
        .ok();
    let again = consume(&app, body.clone()).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    // The same key in the header, quoted; and defaults spelled out are the same payload.
    let mut by_header = body.clone();
    by_header.as_object_mut().unwrap().remove("idempotency_key");
    let quoted = app
        .post("/entitlements/consume")
        .header("Idempotency-Key", "\"run\"")
        .json(by_header)
        .send()
        .await;
    assert_eq!(quoted.ok(), first);
    // Another payload, another customer, another operation.
    for (field, value) in [
        ("quantity", json!(6)),
        ("feature", json!("models")),
        ("properties", json!({})),
    ] {
        let mut other = body.clone();
        other[field] = value;
        consume(&app, other)
            .await
            .problem(422, "idempotency-key-reused");
    }
    let mut elsewhere = body.clone();
    elsewhere["customer_id"] = json!("globex");
    assert_eq!(consume(&app, elsewhere).await.ok()["used"], 5);
    // Header and body that differ.
    let differing = app
        .post("/entitlements/consume")
        .header("Idempotency-Key", "other")
        .json(body)
        .send()
        .await;
    assert_eq!(
        differing.problem(422, "validation-failed")["errors"][0]["pointer"],
        "/idempotency_key"
    );
    assert_counters_equal_the_ledger(&app);
}

#[actix_web::test]
async fn a_denial_records_nothing_and_its_key_is_judged_anew() {
    let app = TestApp::start().await;
    let body =
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 111, "idempotency_key": "run"});
    let denied = consume(&app, body.clone())
        .await
        .problem(402, "limit-exceeded");
    assert_eq!(denied["decision"]["used"], 0);
    assert_eq!(denied["decision"]["event_id"], Value::Null);
    assert_eq!(used(&app, "acme", RUNS).await, 0);
    let grant = json!({"customer_id": "acme", "plan_tier": "pro", "reason": "test"});
    app.post("/admin/subscriptions")
        .json(grant)
        .send()
        .await
        .expect(201);
    let admitted = consume(&app, body).await;
    assert_eq!(admitted.header("idempotency-replayed"), None);
    assert_eq!(admitted.ok()["used"], 111);
    let export = consume(&app, json!({"customer_id": "globex", "feature": "export"})).await;
    export.problem(402, "feature-not-in-plan");
}

#[actix_web::test]
async fn callers_at_the_same_time_never_pass_the_limit() {
    let app = Arc::new(TestApp::start().await);
    let calls = (0..160).map(|run| {
        let app = Arc::clone(&app);
        async move {
            let body = json!({"customer_id": "acme", "feature": RUNS, "idempotency_key": format!("run-{run}")});
            // On a busy machine a caller may be told to repeat the call; with its key that is safe.
            loop {
                match consume(&app, body.clone()).await.status {
                    503 => {}
                    status => return status,
                }
            }
        }
    });
    let statuses = join_all(calls).await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        110
    );
    assert_eq!(statuses.iter().filter(|status| **status == 402).count(), 50);
    assert_eq!(used(&app, "acme", RUNS).await, 110);
    assert_counters_equal_the_ledger(&app);
}

#[actix_web::test]
async fn first_uses_of_one_key_at_the_same_time_settle_on_one_outcome() {
    let app = Arc::new(TestApp::start().await);
    let body = json!({"customer_id": "acme", "feature": RUNS, "idempotency_key": "one"});
    let answers = join_all((0..24).map(|_| consume(&app, body.clone()))).await;
    let first_uses = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none())
        .count();
    assert_eq!(first_uses, 1);
    let bodies: Vec<Value> = answers.into_iter().map(Answer::ok).collect();
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "{bodies:?}"
    );
    assert_eq!(used(&app, "acme", RUNS).await, 1);
}

#[actix_web::test]
async fn overage_is_allowed_and_priced_exactly() {
    let app = TestApp::start().await;
    let grant = json!({"customer_id": "acme", "plan_tier": "scale", "reason": "test"});
    app.post("/admin/subscriptions")
        .json(grant)
        .send()
        .await
        .expect(201);
    let over = consume(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 25_012}),
    )
    .await
    .ok();
    assert_eq!(over["reason"], "overage");
    assert_eq!(
        over["overage"],
        json!({"quantity": 12, "amount_decimal": "12", "currency": "usd"})
    );
    assert_eq!(
        (&over["hard_limit"], &over["upgrade"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(over["warnings_crossed"], json!([80, 90, 100]));
    // What 64 bits cannot count is not admitted, and nothing wraps.
    let huge = consume(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": i64::MAX}),
    )
    .await;
    assert_eq!(
        huge.problem(402, "limit-exceeded")["decision"]["used"],
        25_012
    );
}

#[actix_web::test]
async fn an_allocated_feature_is_taken_given_back_and_stated() {
    let app = TestApp::start().await;
    let models =
        |quantity: i64| json!({"customer_id": "acme", "feature": "models", "quantity": quantity});
    let taken = consume(&app, models(1)).await.ok();
    assert_eq!(
        (&taken["used"], &taken["period"]),
        (&json!(1), &Value::Null)
    );
    consume(&app, models(1))
        .await
        .problem(402, "limit-exceeded");
    // A gauge does not reset with the month.
    app.advance(TimeDelta::days(40));
    assert_eq!(used(&app, "acme", "models").await, 1);

    let release = |body: Value| app.post("/entitlements/release").json(body).send();
    let mut keyed = models(1);
    keyed["idempotency_key"] = json!("back");
    assert_eq!(release(keyed.clone()).await.ok()["used"], 0);
    let again = release(keyed).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok()["used"], 0);
    release(models(1)).await.problem(409, "below-zero");
    let runs = json!({"customer_id": "acme", "feature": RUNS});
    assert_eq!(
        release(runs.clone())
            .await
            .problem(422, "validation-failed")["errors"][0]["pointer"],
        "/feature"
    );

    let state = |value: i64| {
        let body = json!({"customer_id": "acme", "feature": "models", "value": value});
        app.put("/entitlements/allocated").json(body).send()
    };
    let stated = state(4).await.ok();
    assert_eq!(
        (&stated["used"], &stated["allowed"]),
        (&json!(4), &json!(true))
    );
    assert_eq!(state(3).await.ok()["used"], 3);
    // Above the limit, so nothing more is admitted.
    consume(&app, models(1))
        .await
        .problem(402, "limit-exceeded");
    assert_eq!(release(models(3)).await.ok()["used"], 0);
    consume(&app, models(1)).await.ok();
    assert_counters_equal_the_ledger(&app);
}

#[actix_web::test]
async fn under_observation_denials_are_told_and_allowed() {
    let app = TestApp::builder()
        .set("PLANGATE_ENFORCEMENT", "observe")
        .start()
        .await;
    let over = consume(
        &app,
        json!({"customer_id": "acme", "feature": RUNS, "quantity": 500}),
    )
    .await
    .ok();
    assert_eq!(
        (
            &over["allowed"],
            &over["enforced"],
            &over["reason"],
            &over["used"]
        ),
        (
            &json!(true),
            &json!(false),
            &json!("hard_limit_reached"),
            &json!(500)
        )
    );
    let export = check(&app, json!({"customer_id": "acme", "feature": "export"}))
        .await
        .ok();
    assert_eq!(
        (&export["allowed"], &export["reason"]),
        (&json!(true), &json!("feature_not_in_plan"))
    );
    assert_counters_equal_the_ledger(&app);
}

#[actix_web::test]
async fn unknown_customers_can_be_rejected() {
    let app = TestApp::builder()
        .set("PLANGATE_UNKNOWN_CUSTOMERS", "reject")
        .start()
        .await;
    let body = json!({"customer_id": "acme", "feature": RUNS});
    consume(&app, body.clone())
        .await
        .problem(404, "unknown-customer");
    check(&app, body.clone())
        .await
        .problem(404, "unknown-customer");
    app.get("/usage?customer_id=acme")
        .send()
        .await
        .problem(404, "unknown-customer");
    app.put("/customers/acme")
        .json(json!({}))
        .send()
        .await
        .expect(201);
    consume(&app, body).await.ok();
}
