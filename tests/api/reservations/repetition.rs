//! Repeated calls: each is answered as it was the first time, for ever.

use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::{
    RUNS, commit, commit_part, hold, id_of, is_replay, outcome, release, reserve, runs, settle,
    shown, try_consume, try_reserve, used_and_held, with,
};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, grant};

#[actix_web::test]
async fn a_key_holds_once_and_its_answer_is_given_again() {
    let app = TestApp::start().await;
    let body = runs(json!({"quantity": 10, "idempotency_key": "k"}));
    let first = try_reserve(&app, body.clone()).await;
    assert!(!is_replay(&first));
    let first = first.expect(201);
    // Defaults spelled out, and the key in the header, are the same request.
    let explicit = with(body.clone(), json!({"ttl_seconds": 300}));
    let unkeyed = runs(json!({"quantity": 10}));
    let by_header = app
        .post("/reservations")
        .header("idempotency-key", "\"k\"")
        .json(unkeyed);
    for again in [
        try_reserve(&app, body.clone()).await,
        try_reserve(&app, explicit).await,
        by_header.send().await,
    ] {
        assert!(is_replay(&again));
        assert_eq!(again.expect(201), first);
    }
    assert_eq!(used_and_held(&app, RUNS).await, (0, 10));
    for change in [
        json!({"quantity": 11}),
        json!({"ttl_seconds": 301}),
        json!({"feature": "models"}),
    ] {
        try_reserve(&app, with(body.clone(), change))
            .await
            .problem(422, "idempotency-key-reused");
    }
    // It stands for a reservation of this customer and for nothing else.
    let other = reserve(&app, with(body.clone(), json!({"customer_id": "globex"}))).await;
    assert_ne!(other["id"], first["id"]);
    let consumed = app
        .post("/entitlements/consume")
        .json(body.clone())
        .send()
        .await;
    assert!(!is_replay(&consumed));
    assert_eq!(consumed.ok()["used"], 10);

    // Whatever has become of it since.
    commit_part(&app, &id_of(&first), 3).await.ok();
    for days in [0, 1, 400] {
        app.advance(TimeDelta::days(days));
        let again = try_reserve(&app, body.clone()).await;
        assert!(is_replay(&again));
        assert_eq!(again.expect(201), first);
    }
    assert_eq!(
        outcome(&shown(&app, &id_of(&first)).await),
        ("committed", Some(3))
    );
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_denial_holds_nothing_and_its_key_is_judged_anew() {
    let app = TestApp::start().await;
    let body = runs(json!({"quantity": 111, "idempotency_key": "k"}));
    for _ in 0..2 {
        try_reserve(&app, body.clone())
            .await
            .problem(402, "limit-exceeded");
    }
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    grant(&app, "acme", "pro").await;
    let admitted = try_reserve(&app, body.clone()).await;
    assert!(!is_replay(&admitted));
    let admitted = admitted.expect(201);
    assert_eq!(admitted["decision"]["held"], 111);
    let again = try_reserve(&app, body).await;
    assert!(is_replay(&again));
    assert_eq!(again.expect(201), admitted);
}

#[actix_web::test]
async fn without_a_key_each_call_holds() {
    let app = TestApp::start().await;
    let (first, second) = (hold(&app, 10, 300).await, hold(&app, 10, 300).await);
    assert_ne!(first, second);
    assert_eq!(used_and_held(&app, RUNS).await, (0, 20));
}

#[actix_web::test]
async fn first_uses_of_one_key_at_the_same_time_settle_on_one_hold() {
    let app = Arc::new(TestApp::start().await);
    let body = runs(json!({"quantity": 10, "idempotency_key": "one"}));
    let answers = join_all((0..24).map(|_| try_reserve(&app, body.clone()))).await;
    assert_eq!(
        answers.iter().filter(|answer| !is_replay(answer)).count(),
        1
    );
    let bodies: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.expect(201))
        .collect();
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "{bodies:?}"
    );
    assert_eq!(used_and_held(&app, RUNS).await, (0, 10));

    // With two payloads one of them has the key, and every other call with that payload its answer.
    let other = runs(json!({"quantity": 20, "idempotency_key": "two"}));
    let rival = runs(json!({"quantity": 30, "idempotency_key": "two"}));
    let (others, rivals) = join(
        join_all((0..8).map(|_| try_reserve(&app, other.clone()))),
        join_all((0..8).map(|_| try_reserve(&app, rival.clone()))),
    )
    .await;
    let (won, lost) = if others[0].status == 201 {
        (others, rivals)
    } else {
        (rivals, others)
    };
    for answer in lost {
        answer.problem(422, "idempotency-key-reused");
    }
    assert_eq!(won.iter().filter(|answer| !is_replay(answer)).count(), 1);
    let bodies: Vec<Value> = won.into_iter().map(|answer| answer.expect(201)).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    let (_, held) = used_and_held(&app, RUNS).await;
    assert_eq!(json!(held - 10), bodies[0]["quantity"]);
}

#[actix_web::test]
async fn a_commit_is_answered_alike_for_ever() {
    let app = TestApp::start().await;
    let all = hold(&app, 10, 300).await;
    let none = hold(&app, 10, 300).await;
    let first = commit(&app, &all).await.ok();
    let nothing = commit_part(&app, &none, 0).await.ok();
    for days in [0, 1, 30, 400] {
        app.advance(TimeDelta::days(days));
        consume(&app, "acme", RUNS, 1).await;
        let null = json!({"customer_id": "acme", "quantity": null});
        for again in [
            commit(&app, &all).await,
            commit_part(&app, &all, 10).await,
            settle(&app, &all, "commit", null).await,
        ] {
            assert!(is_replay(&again));
            assert_eq!(again.ok(), first);
        }
        let again = commit_part(&app, &none, 0).await;
        assert!(is_replay(&again));
        assert_eq!(again.ok(), nothing);
    }
    assert_eq!(count(&app, "SELECT sum(value) FROM usage_metrics"), 14);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_release_is_answered_alike_for_ever() {
    let app = TestApp::start().await;
    let id = hold(&app, 100, 300).await;
    let first = release(&app, &id).await;
    assert!(!is_replay(&first));
    let first = first.ok();
    for days in [0, 1, 400] {
        app.advance(TimeDelta::days(days));
        let again = release(&app, &id).await;
        assert!(is_replay(&again));
        assert_eq!(again.ok(), first);
    }
    try_consume(&app, RUNS, 110).await.ok();
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn settlements_at_the_same_time_settle_on_one() {
    let app = Arc::new(TestApp::start().await);
    let id = hold(&app, 10, 300).await;
    let answers = join_all((0..16).map(|_| commit(&app, &id))).await;
    assert_eq!(
        answers.iter().filter(|answer| !is_replay(answer)).count(),
        1
    );
    let bodies: Vec<Value> = answers.into_iter().map(Answer::ok).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(used_and_held(&app, RUNS).await, (10, 0));

    for _ in 0..5 {
        let (before, _) = used_and_held(&app, RUNS).await;
        let id = hold(&app, 10, 300).await;
        let (commits, releases) = join(
            join_all((0..4).map(|_| commit(&app, &id))),
            join_all((0..4).map(|_| release(&app, &id))),
        )
        .await;
        let settled = shown(&app, &id).await;
        let (won, lost, used) = if settled["state"] == "committed" {
            (commits, releases, 10)
        } else {
            assert_eq!(settled["state"], "released");
            (releases, commits, 0)
        };
        assert_eq!(won.iter().filter(|answer| !is_replay(answer)).count(), 1);
        for answer in won {
            answer.ok();
        }
        for answer in lost {
            answer.problem(409, "conflict");
        }
        assert_eq!(used_and_held(&app, RUNS).await, (before + used, 0));
    }
    assert_counters_equal_ledger(&app);
}
