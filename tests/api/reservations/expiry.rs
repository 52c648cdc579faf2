//! The end of a hold: by the clock alone. No job runs in these tests.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    RUNS, commit, commit_part, hold, id_of, is_replay, outcome, release, reserve, runs, seconds,
    shown, try_consume, used_and_held,
};
use crate::support::app::TestApp;
use crate::support::steps::{
    assert_counters_equal_ledger, at, consume, count, grant, travel, usage_of,
};

#[actix_web::test]
async fn an_expired_hold_counts_no_more_from_that_very_instant_on() {
    let app = TestApp::start().await;
    let id = hold(&app, 100, 60).await;
    app.advance(seconds(60) - TimeDelta::microseconds(1));
    assert_eq!(shown(&app, &id).await["state"], "held");
    assert_eq!(used_and_held(&app, RUNS).await, (0, 100));
    try_consume(&app, RUNS, 11)
        .await
        .problem(402, "limit-exceeded");

    app.advance(TimeDelta::microseconds(1));
    let expired = shown(&app, &id).await;
    assert_eq!(outcome(&expired), ("expired", None));
    assert_eq!(expired["settled_at"], Value::Null);
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    let admitted = consume(&app, "acme", RUNS, 110).await;
    assert_eq!(
        (&admitted["used"], &admitted["held"]),
        (&json!(110), &json!(0))
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_commit_within_the_time_is_honoured_whatever_has_happened_to_the_limit() {
    let app = TestApp::start().await;
    let granted = grant(&app, "acme", "pro").await;
    let id = hold(&app, 1000, 60).await;
    let path = format!("/admin/subscriptions/{}", granted["id"].as_str().unwrap());
    app.delete(&path).send().await.ok();
    let event = json!({"id": "e", "customer_id": "acme", "feature": RUNS, "quantity": 5000});
    app.post("/usage")
        .json(json!({"events": [event]}))
        .send()
        .await
        .ok();
    app.advance(seconds(60) - TimeDelta::microseconds(1));
    let committed = commit(&app, &id).await.ok();
    assert_eq!(outcome(&committed), ("committed", Some(1000)));
    assert_eq!(committed["decision"]["allowed"], true);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_late_commit_is_admitted_anew_where_it_fits() {
    let app = TestApp::start().await;
    let (first, second) = (hold(&app, 10, 1).await, hold(&app, 10, 1).await);
    app.advance(seconds(1));
    let late = commit(&app, &first).await.ok();
    assert_eq!(outcome(&late), ("committed", Some(10)));
    assert_eq!(
        (&late["decision"]["used"], &late["decision"]["held"]),
        (&json!(10), &json!(0))
    );
    let again = commit(&app, &first).await;
    assert!(is_replay(&again));
    assert_eq!(again.ok(), late);
    app.advance(TimeDelta::days(1));
    let part = commit_part(&app, &second, 4).await.ok();
    assert_eq!(outcome(&part), ("committed", Some(4)));
    assert_eq!(used_and_held(&app, RUNS).await, (14, 0));
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_late_commit_that_does_not_fit_records_nothing_and_is_judged_anew_each_time() {
    let app = TestApp::start().await;
    let id = hold(&app, 100, 60).await;
    app.advance(seconds(60));
    consume(&app, "acme", RUNS, 105).await;
    for _ in 0..2 {
        let problem = commit(&app, &id).await.problem(409, "reservation-expired");
        let decision = &problem["decision"];
        assert_eq!(
            (&decision["allowed"], &decision["reason"]),
            (&json!(false), &json!("hard_limit_reached"))
        );
        assert_eq!(
            (&decision["requested"], &decision["used"]),
            (&json!(100), &json!(105))
        );
    }
    assert_eq!(outcome(&shown(&app, &id).await), ("expired", None));
    assert_eq!(used_and_held(&app, RUNS).await, (105, 0));
    let figures = app.get("/metrics").send().await.text;
    let figure = r#"plangate_decisions_total{operation="commit",reason="hard_limit_reached"} 2"#;
    assert!(figures.contains(figure), "{figures}");

    // Five fit into the soft zone; a second reservation of as many does once there is more room.
    assert_eq!(
        commit_part(&app, &id, 5).await.ok()["decision"]["used"],
        110
    );
    commit(&app, &id).await.problem(409, "conflict");
    let room = json!({"add": 10, "reason": "r"});
    let path = format!("/admin/customers/acme/overrides/{RUNS}");
    app.put(&path).json(room.clone()).send().await.ok();
    let second = hold(&app, 10, 60).await;
    app.advance(seconds(60));
    assert_eq!(app.delete(&path).send().await.status, 204);
    commit(&app, &second)
        .await
        .problem(409, "reservation-expired");
    app.put(&path).json(room).send().await.ok();
    assert_eq!(commit(&app, &second).await.ok()["decision"]["used"], 120);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_expired_reservation_can_be_released_and_then_not_be_committed() {
    let app = TestApp::start().await;
    let id = hold(&app, 10, 60).await;
    app.advance(seconds(60));
    let released = release(&app, &id).await;
    assert!(!is_replay(&released));
    let released = released.ok();
    assert_eq!(outcome(&released), ("released", None));
    let again = release(&app, &id).await;
    assert!(is_replay(&again));
    assert_eq!(again.ok(), released);
    commit(&app, &id).await.problem(409, "conflict");
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 0);
}

#[actix_web::test]
async fn a_hold_settles_in_the_period_it_was_made_in() {
    let app = TestApp::start().await;
    let january = |app: &TestApp| {
        count(
            app,
            "SELECT coalesce(sum(value), 0) FROM usage_metrics WHERE period_start = '2026-01-01Z'",
        )
    };
    travel(&app, "2026-01-31T23:58:00Z");
    let in_time = hold(&app, 50, 300).await;
    let (late, too_late) = (hold(&app, 40, 60).await, hold(&app, 5, 60).await);
    let unfit = hold(&app, 15, 60).await;
    travel(&app, "2026-02-01T00:00:30Z");
    // The new period has all of its quota: what is held belongs to the old one.
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    assert_eq!(consume(&app, "acme", RUNS, 110).await["held"], 0);
    let committed = commit(&app, &in_time).await.ok();
    assert_eq!(
        committed["decision"]["period"],
        json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"})
    );
    assert_eq!(committed["decision"]["used"], 50);
    assert_eq!(
        (january(&app), used_and_held(&app, RUNS).await),
        (50, (110, 0))
    );

    // Late ones as late usage: for less than three days after the period's end.
    travel(&app, "2026-02-03T23:59:59Z");
    let admitted = commit(&app, &late).await.ok();
    assert_eq!(admitted["decision"]["used"], 90);
    let event = json!({"id": "e", "customer_id": "acme", "feature": RUNS, "quantity": 10,
                       "occurred_at": "2026-01-31T23:59:59Z"});
    let recorded = app.post("/usage").json(json!({"events": [event]}));
    assert_eq!(
        recorded.send().await.ok()["results"][0]["status"],
        "recorded"
    );
    commit(&app, &unfit)
        .await
        .problem(409, "reservation-expired");
    assert_eq!(january(&app), 100);
    travel(&app, "2026-02-04T00:00:00Z");
    commit(&app, &too_late)
        .await
        .problem(409, "reservation-expired");
    let again = commit(&app, &late).await;
    assert!(is_replay(&again));
    assert_eq!(again.ok(), admitted);
    assert_eq!(
        (january(&app), used_and_held(&app, RUNS).await),
        (100, (110, 0))
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_hold_outlives_the_anchor_it_was_made_under() {
    let app = TestApp::start().await;
    let id = hold(&app, 10, 3600).await;
    app.advance(seconds(10));
    grant(&app, "acme", "pro").await;
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    app.advance(seconds(10));
    let committed = commit(&app, &id).await.ok();
    assert_eq!(outcome(&committed), ("committed", Some(10)));
    assert_eq!(used_and_held(&app, RUNS).await, (0, 0));
    consume(&app, "acme", RUNS, 1).await;
    let counters = "SELECT count(*) FROM usage_metrics WHERE (value, period_start, period_end) IN \
        ((10, '2026-01-01Z', '2026-01-12T00:00:10Z'), (1, '2026-01-12T00:00:10Z', '2026-02-12T00:00:10Z'))";
    assert_eq!(count(&app, counters), 2);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_gauge_is_held_over_the_end_of_a_month() {
    let app = TestApp::start().await;
    travel(&app, "2026-01-31T12:00:00Z");
    let body = json!({"customer_id": "acme", "feature": "models", "ttl_seconds": 86_400});
    let id = id_of(&reserve(&app, body).await);
    travel(&app, "2026-02-01T11:59:59Z");
    assert_eq!(used_and_held(&app, "models").await, (0, 1));
    try_consume(&app, "models", 1)
        .await
        .problem(402, "limit-exceeded");
    assert_eq!(commit(&app, &id).await.ok()["decision"]["used"], 1);
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 1);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_hold_lasts_from_a_second_to_a_day() {
    let app = TestApp::start().await;
    for (asked, ends) in [
        (json!({}), "2026-01-12T00:05:00Z"),
        (json!({"ttl_seconds": 1}), "2026-01-12T00:00:01Z"),
        (json!({"ttl_seconds": 86_400}), "2026-01-13T00:00:00Z"),
    ] {
        let made = reserve(&app, runs(asked)).await;
        let ends_at: chrono::DateTime<chrono::Utc> =
            made["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(ends_at, at(ends));
    }
    for (now, held) in [
        ("2026-01-12T00:00:01Z", 2),
        ("2026-01-12T00:05:00Z", 1),
        ("2026-01-12T23:59:59.999999Z", 1),
        ("2026-01-13T00:00:00Z", 0),
    ] {
        travel(&app, now);
        assert_eq!(used_and_held(&app, RUNS).await, (0, held), "{now}");
    }
}
