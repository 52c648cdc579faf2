//! What is owed, and when.

use chrono::TimeDelta;
use serde_json::json;

use super::{
    LIMIT, RUNS, adjust, assert_reports, at_the_limit, billed, gather_and_tell, record, reports,
    rows, run,
};
use crate::support::app::{PRICE_PRO, TestApp};
use crate::support::steps::{at, consume, count, grant, subscribe, travel, usage_of};

#[actix_web::test]
async fn whatever_counts_above_the_limit_is_gathered_in_one_report() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT - 1).await;
    assert_reports(&app, &[]);
    // One of the two is above.
    consume(&app, "acme", RUNS, 2).await;
    assert_eq!(record(&app, "late", 5, None).await, "recorded");
    let body = json!({"customer_id": "acme", "feature": RUNS, "quantity": 9, "ttl_seconds": 60});
    let held = app
        .post("/reservations")
        .json(body)
        .send()
        .await
        .expect(201);
    assert_reports(&app, &[("open", 6)]);
    let commit = format!("/reservations/{}/commit", held["id"].as_str().unwrap());
    let body = json!({"customer_id": "acme", "quantity": 4});
    app.post(&commit).json(body.clone()).send().await.ok();
    app.post(&commit).json(body).send().await.ok();
    assert_eq!(record(&app, "late", 5, None).await, "duplicate");
    adjust(&app, -3, "down").await.ok();
    assert_reports(&app, &[("open", 7)]);
    let row = rows(&app).remove(0);
    assert_eq!(row.period_start, at("2026-01-12T00:00:00Z"));
    assert_eq!(row.period_end, Some(at("2026-02-12T00:00:00Z")));
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 7)]);
    assert_eq!(billed(&app), 7);
}

#[actix_web::test]
async fn what_cannot_be_owed_is_not_counted() {
    let app = at_the_limit().await;
    run(
        &app,
        "ALTER TABLE usage_reports ADD CONSTRAINT broken CHECK (quantity <> 3)",
    );
    let body = json!({"customer_id": "acme", "feature": RUNS, "quantity": 3});
    let refused = app.post("/entitlements/consume").json(body).send().await;
    refused.problem(500, "internal");
    assert_eq!(usage_of(&app, "acme", RUNS).await["used"], LIMIT);
    consume(&app, "acme", RUNS, 2).await;
    assert_reports(&app, &[("open", 2)]);
}

#[actix_web::test]
async fn twenty_who_use_it_at_once_owe_exactly_what_they_used() {
    let app = at_the_limit().await;
    let calls = (0..20).map(|n| {
        let body = json!({"customer_id": "acme", "feature": RUNS, "quantity": 1 + n % 3});
        app.post("/entitlements/consume").json(body).send()
    });
    let told = async {
        // It is told while it is used.
        for _ in 0..5 {
            gather_and_tell(&app).await;
        }
    };
    let (answers, ()) =
        futures_util::future::join(futures_util::future::join_all(calls), told).await;
    for answer in answers {
        answer.ok();
    }
    gather_and_tell(&app).await;
    assert_eq!(billed(&app), (0..20).map(|n| 1 + n % 3).sum::<i64>());
    assert!(reports(&app).iter().all(|(state, _)| state == "sent"));
}

#[actix_web::test]
async fn only_what_a_provider_bills_is_owed() {
    let app = TestApp::with_stripe().await;
    grant(&app, "friend", "scale").await;
    consume(&app, "friend", RUNS, LIMIT + 10).await;
    // Neither a plan without overage nor a plan whose limit is not reached.
    subscribe(&app, "acme", "pro").await;
    consume(&app, "acme", RUNS, 5_500).await;
    // What was used before the subscription began is not its business, however late it is heard of.
    travel(&app, "2026-01-13T00:00:00Z");
    subscribe(&app, "later", "scale").await;
    let event = json!({"id": "1", "customer_id": "later", "feature": RUNS, "quantity": LIMIT + 7,
                       "occurred_at": "2026-01-12T12:00:00Z"});
    let body = json!({"events": [event]});
    let told = app.post("/usage").json(body).send().await.ok();
    assert_eq!(told["results"][0]["status"], "recorded");
    assert_eq!(
        count(
            &app,
            "SELECT max(value) FROM usage_metrics WHERE customer_id = 'later'"
        ),
        LIMIT + 7
    );
    assert_reports(&app, &[]);
}

#[actix_web::test]
async fn late_usage_is_owed_for_its_own_period_and_told_where_an_invoice_takes_it() {
    let app = at_the_limit().await;
    travel(&app, "2026-02-12T00:10:00Z");
    assert_eq!(
        record(&app, "a", 3, Some("2026-02-11T12:00:00Z")).await,
        "recorded"
    );
    gather_and_tell(&app).await;
    travel(&app, "2026-02-12T02:00:00Z");
    assert_eq!(
        record(&app, "b", 4, Some("2026-02-11T12:00:00Z")).await,
        "recorded"
    );
    gather_and_tell(&app).await;
    let rows = rows(&app);
    let told: Vec<_> = rows.iter().map(|row| (row.quantity, row.told_at)).collect();
    // The closed period's invoice takes usage for an hour; the next one takes the rest.
    assert_eq!(
        told,
        [
            (3, Some(at("2026-02-11T23:59:59Z"))),
            (4, Some(at("2026-02-12T02:00:15Z")))
        ]
    );
    assert!(
        rows.iter()
            .all(|row| row.period_start == at("2026-01-12T00:00:00Z"))
    );
    let at_stripe = app.stripe().meter_events();
    assert_eq!(at_stripe[0].timestamp, at("2026-02-11T23:59:59Z"));
    assert_eq!(at_stripe[1].timestamp, at("2026-02-12T02:00:15Z"));
}

#[actix_web::test]
async fn each_unit_is_billed_by_the_limit_in_force_and_nothing_is_taken_back_that_was_not_owed() {
    let app = at_the_limit().await;
    let allow = async |limit: i64, cap: bool| {
        let body = json!({"limit": limit, "cap": cap, "reason": "a deal"});
        let path = format!("/admin/customers/acme/overrides/{RUNS}");
        let answer = app.put(&path).json(body).send().await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text);
    };
    allow(LIMIT + 10, false).await;
    consume(&app, "acme", RUNS, 12).await;
    assert_reports(&app, &[("open", 2)]);
    // Ten that were included are above the limit now. They are neither billed afterwards nor a credit.
    allow(LIMIT, true).await;
    consume(&app, "acme", RUNS, 1).await;
    assert_reports(&app, &[("open", 3)]);
    adjust(&app, -8, "down").await.ok();
    assert_reports(&app, &[("open", 0)]);
    consume(&app, "acme", RUNS, 5).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 5)]);
    assert_eq!(billed(&app), 5);
}

#[actix_web::test]
async fn a_change_of_plan_keeps_what_is_owed_and_an_end_of_the_period_ends_it() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT + 6).await;
    let updated = app.stripe().update_subscription(&id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!(PRICE_PRO);
        s["items"]["data"].as_array_mut().unwrap().truncate(1);
    });
    app.advance(TimeDelta::seconds(1));
    app.deliver([&updated]).await;
    app.apply_webhooks().await;
    // On pro nothing is billed, and nothing given back.
    assert_eq!(usage_of(&app, "acme", RUNS).await["limit"], 5_000);
    adjust(&app, -2, "down").await.ok();
    assert_reports(&app, &[("open", 6)]);
    // The end of its subscription closes the period, and the report's with it.
    travel(&app, "2026-01-20T00:00:00Z");
    grant(&app, "acme", "scale").await;
    assert_eq!(rows(&app)[0].period_end, Some(at("2026-01-20T00:00:00Z")));
    gather_and_tell(&app).await;
    assert_eq!(billed(&app), 6);
}
