//! What a reservation holds, and what it keeps others from.

use std::sync::Arc;

use futures_util::future::join_all;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use super::{
    RUNS, commit, commit_part, hold, id_of, is_replay, outcome, release, reserve, runs, seconds,
    shown, try_consume, try_reserve, used_and_held, with, written,
};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, grant, usage_of};

#[actix_web::test]
async fn a_hold_counts_until_its_commit_records_it() {
    let app = TestApp::start().await;
    let made = reserve(&app, runs(json!({"quantity": 10}))).await;
    let id = id_of(&made);
    assert!(id.starts_with("res_") && id.len() == 36, "{id}");
    let now = app.clock.now();
    let decision = json!({"customer_id": "acme", "feature": RUNS, "kind": "metered", "allowed": true, "enforced": true,
        "reason": "within_limit", "requested": 10, "limit": 100, "limit_source": "plan", "hard_limit": 110,
        "used": 0, "held": 10, "remaining": 90, "percent_used": 0.0, "warning_level": null, "warnings_crossed": [],
        "overage": null, "plan": {"tier": "free", "version": 1, "status": "none", "source": "default"},
        "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "grace": null,
        "upgrade": {"tier": "pro", "reason": "higher_limit"}, "event_id": null, "as_of": written(now)});
    let held = json!({"id": id, "customer_id": "acme", "feature": RUNS, "state": "held", "quantity": 10,
        "committed_quantity": null, "created_at": written(now), "expires_at": written(now + seconds(300)),
        "settled_at": null, "decision": decision});
    assert_eq!(made, held);
    assert_eq!(
        shown(&app, &id).await,
        with(held.clone(), json!({"decision": null}))
    );
    assert_eq!(used_and_held(&app, RUNS).await, (0, 10));
    assert_eq!(usage_of(&app, "acme", RUNS).await["remaining"], 90);
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 0);

    app.advance(seconds(30));
    let committed = commit(&app, &id).await;
    assert!(!is_replay(&committed));
    let committed = committed.ok();
    let event_id = committed["decision"]["event_id"].clone();
    let settled = json!({"state": "committed", "committed_quantity": 10, "settled_at": written(app.clock.now())});
    let effect = json!({"used": 10, "held": 0, "percent_used": 10.0, "event_id": event_id,
                        "as_of": written(app.clock.now())});
    let expected = with(
        with(held, settled),
        json!({"decision": with(decision, effect)}),
    );
    assert_eq!(committed, expected);
    assert_eq!(
        shown(&app, &id).await,
        with(expected, json!({"decision": null}))
    );
    assert_eq!(used_and_held(&app, RUNS).await, (10, 0));
    let ledger = app.get("/usage/events?customer_id=acme").send().await.ok();
    assert_eq!(ledger["data"].as_array().unwrap().len(), 1);
    assert_eq!(ledger["data"][0]["event_id"], event_id);
    assert_eq!(ledger["data"][0]["quantity"], 10);
    let figures = app.get("/metrics").send().await.text;
    for operation in ["reserve", "commit"] {
        let figure = format!(
            r#"plangate_decisions_total{{operation="{operation}",reason="within_limit"}} 1"#
        );
        assert!(figures.contains(&figure), "{figure}: {figures}");
    }
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn what_is_held_is_denied_to_others_until_it_is_released() {
    let app = TestApp::start().await;
    let first = hold(&app, 60, 300).await;
    let second = hold(&app, 40, 300).await;
    assert_eq!(used_and_held(&app, RUNS).await, (0, 100));
    let denied = try_consume(&app, RUNS, 11).await;
    let decision = &denied.problem(402, "limit-exceeded")["decision"];
    assert_eq!(
        (&decision["used"], &decision["held"], &decision["remaining"]),
        (&json!(0), &json!(100), &json!(0))
    );
    assert_eq!(decision["reason"], "hard_limit_reached");
    // The soft zone is for holds, too.
    let soft = reserve(&app, runs(json!({"quantity": 4}))).await;
    assert_eq!(soft["decision"]["reason"], "soft_limit_exceeded");
    assert_eq!(
        consume(&app, "acme", RUNS, 6).await["reason"],
        "soft_limit_exceeded"
    );
    let denied = try_reserve(&app, runs(json!({}))).await;
    let problem = denied.problem(402, "limit-exceeded");
    assert!(problem.get("id").is_none());
    let decision = &problem["decision"];
    assert_eq!(
        (&decision["allowed"], &decision["requested"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&decision["used"], &decision["held"]),
        (&json!(6), &json!(104))
    );
    assert_eq!(
        decision["upgrade"],
        json!({"tier": "pro", "reason": "higher_limit"})
    );
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM denials WHERE customer_id = 'acme'"
        ),
        1
    );
    let question = json!({"customer_id": "acme", "feature": RUNS, "consistency": "strong"});
    let checked = app
        .post("/entitlements/check")
        .json(question)
        .send()
        .await
        .ok();
    assert_eq!(
        (&checked["allowed"], &checked["held"]),
        (&json!(false), &json!(104))
    );
    // Nobody else is concerned.
    assert_eq!(consume(&app, "globex", RUNS, 110).await["held"], 0);

    let released = release(&app, &first).await.ok();
    assert_eq!(outcome(&released), ("released", None));
    assert_eq!(released["decision"], Value::Null);
    assert_eq!(released["settled_at"], written(app.clock.now()));
    assert_eq!(used_and_held(&app, RUNS).await, (6, 44));
    assert_eq!(consume(&app, "acme", RUNS, 60).await["used"], 66);
    commit(&app, &second).await.ok();
    assert_eq!(used_and_held(&app, RUNS).await, (106, 4));
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn holds_are_never_oversold_however_many_ask_at_once() {
    let app = Arc::new(TestApp::start().await);
    let answers = join_all((0..40).map(|_| try_reserve(&app, runs(json!({"quantity": 10}))))).await;
    let (held, denied): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(held.len(), 11);
    for answer in denied {
        answer.problem(402, "limit-exceeded");
    }
    assert_eq!(used_and_held(&app, RUNS).await, (0, 110));
    let ids: Vec<String> = held.iter().map(|answer| id_of(&answer.body)).collect();
    let commits = join_all(ids.iter().map(|id| commit_part(&app, id, 7))).await;
    for answer in commits {
        answer.ok();
    }
    assert_eq!(used_and_held(&app, RUNS).await, (77, 0));
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_hold_neither_warns_nor_bills_and_its_commit_does() {
    let app = TestApp::start().await;
    let made = reserve(&app, runs(json!({"quantity": 100}))).await;
    assert_eq!(made["decision"]["warnings_crossed"], json!([]));
    assert_eq!(made["decision"]["warning_level"], Value::Null);
    let committed = commit(&app, &id_of(&made)).await.ok();
    assert_eq!(
        committed["decision"]["warnings_crossed"],
        json!([80, 90, 100])
    );

    grant(&app, "big", "scale").await;
    consume(&app, "big", RUNS, 24_990).await;
    let body = json!({"customer_id": "big", "feature": RUNS, "quantity": 22});
    let made = reserve(&app, body).await;
    assert_eq!(made["decision"]["reason"], "overage");
    assert_eq!(made["decision"]["overage"], Value::Null);
    assert_eq!(made["decision"]["warnings_crossed"], json!([]));
    let usage = usage_of(&app, "big", RUNS).await;
    assert_eq!(
        (&usage["used"], &usage["held"], &usage["overage"]),
        (&json!(24_990), &json!(22), &Value::Null)
    );
    let path = format!("/reservations/{}/commit", id_of(&made));
    let body = json!({"customer_id": "big", "quantity": 20});
    let committed = app.post(&path).json(body).send().await.ok();
    assert_eq!(
        committed["decision"]["overage"],
        json!({"quantity": 10, "amount_decimal": "10", "currency": "usd"})
    );
    assert_eq!(committed["decision"]["warnings_crossed"], json!([100]));
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_allocated_feature_is_held_too() {
    let app = TestApp::start().await;
    grant(&app, "acme", "pro").await;
    let models = json!({"customer_id": "acme", "feature": "models", "quantity": 2});
    let made = reserve(&app, models).await;
    assert_eq!(made["decision"]["period"], Value::Null);
    assert_eq!(made["decision"]["held"], 2);
    consume(&app, "acme", "models", 1).await;
    try_consume(&app, "models", 1)
        .await
        .problem(402, "limit-exceeded");
    let committed = commit(&app, &id_of(&made)).await.ok();
    assert_eq!(
        (
            &committed["decision"]["used"],
            &committed["decision"]["held"]
        ),
        (&json!(3), &json!(0))
    );
    // What the owner of the truth states goes beside what is held.
    let state = |value: i64| {
        let body = json!({"customer_id": "acme", "feature": "models", "value": value});
        app.put("/entitlements/allocated").json(body).send()
    };
    state(1).await.ok();
    let body = json!({"customer_id": "acme", "feature": "models", "quantity": 2});
    let second = reserve(&app, body).await;
    state(3).await.ok();
    assert_eq!(used_and_held(&app, "models").await, (3, 2));
    // It was admitted in time, so it is honoured.
    let committed = commit(&app, &id_of(&second)).await.ok();
    assert_eq!(committed["decision"]["used"], 5);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn nothing_wraps_at_the_ends_of_64_bits() {
    let app = TestApp::start().await;
    grant(&app, "acme", "scale").await;
    let made = reserve(&app, runs(json!({"quantity": i64::MAX}))).await;
    assert_eq!(made["decision"]["reason"], "overage");
    assert_eq!(used_and_held(&app, RUNS).await, (0, i64::MAX));
    for answer in [
        try_reserve(&app, runs(json!({}))).await,
        try_reserve(&app, runs(json!({"quantity": i64::MAX}))).await,
        try_consume(&app, RUNS, 1).await,
        try_consume(&app, RUNS, i64::MAX).await,
    ] {
        let problem = answer.problem(402, "limit-exceeded");
        assert_eq!(problem["decision"]["reason"], "hard_limit_reached");
    }
    let part = commit_part(&app, &id_of(&made), i64::MAX - 1).await.ok();
    assert_eq!(part["decision"]["used"], i64::MAX - 1);
    let last = hold(&app, 1, 300).await;
    try_reserve(&app, runs(json!({})))
        .await
        .problem(402, "limit-exceeded");
    assert_eq!(commit(&app, &last).await.ok()["decision"]["used"], i64::MAX);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn under_observation_a_denied_hold_is_told_and_made() {
    let app = TestApp::builder()
        .set("PLANGATE_ENFORCEMENT", "observe")
        .start()
        .await;
    let made = reserve(&app, runs(json!({"quantity": 500, "ttl_seconds": 60}))).await;
    let decision = &made["decision"];
    assert_eq!(
        (&decision["allowed"], &decision["enforced"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&decision["reason"], &decision["held"]),
        (&json!("hard_limit_reached"), &json!(500))
    );
    assert_eq!(count(&app, "SELECT count(*) FROM denials"), 1);
    let committed = commit_part(&app, &id_of(&made), 400).await.ok();
    assert_eq!(committed["decision"]["used"], 400);
    assert_eq!(committed["decision"]["enforced"], false);
    // Too late and above every limit: observed all the same.
    let late = hold(&app, 50, 60).await;
    app.advance(seconds(61));
    let committed = commit(&app, &late).await.ok();
    assert_eq!(
        (
            &committed["decision"]["allowed"],
            &committed["decision"]["used"]
        ),
        (&json!(true), &json!(450))
    );
    // What cannot be counted cannot be allowed either.
    hold(&app, i64::MAX - 450, 60).await;
    for quantity in [1, i64::MAX] {
        let answer = try_reserve(&app, runs(json!({"quantity": quantity}))).await;
        answer.problem(402, "limit-exceeded");
    }
    assert_eq!(used_and_held(&app, RUNS).await, (450, i64::MAX - 450));
    assert_counters_equal_ledger(&app);
}
