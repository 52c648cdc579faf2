//! One customer from the first request to the end: gated, upgraded, gated by the new plan, lapsed, and back on the default tier.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::app::TestApp;

const RUNS: &str = "attribution_runs";

async fn consume(app: &TestApp, key: &str) -> crate::support::client::Answer {
    app.post("/entitlements/consume")
        .json(json!({"customer_id": "acme", "feature": RUNS, "idempotency_key": key}))
        .send()
        .await
}

async fn context(app: &TestApp) -> Value {
    app.get("/plan-context?customer_id=acme").send().await.ok()
}

/// Delivers the events in every order given, each twice, and applies what came.
async fn deliver_twice_out_of_order(app: &TestApp, events: &[Value]) {
    let shuffled: Vec<&Value> = events.iter().rev().chain(events).collect();
    let answers = app.deliver(shuffled).await;
    let queued = answers
        .iter()
        .filter(|answer| answer["status"] == "queued")
        .count();
    let duplicates = answers
        .iter()
        .filter(|answer| answer["status"] == "duplicate")
        .count();
    assert_eq!(queued + duplicates, answers.len());
    assert_eq!(duplicates, events.len());
    app.apply_webhooks().await;
}

#[actix_web::test]
async fn a_customer_is_gated_upgrades_and_is_gated_by_the_new_plan() {
    let app = TestApp::with_stripe().await;

    // Never seen: the default tier, 100 runs and a soft zone up to 110.
    for run in 1..=110 {
        let decision = consume(&app, &format!("run-{run}")).await.ok();
        let reason = if run <= 100 {
            "within_limit"
        } else {
            "soft_limit_exceeded"
        };
        assert_eq!(decision["reason"], reason, "run {run}");
        assert_eq!(decision["used"], run);
        let crossed = match run {
            80 | 90 | 100 => json!([run]),
            _ => json!([]),
        };
        assert_eq!(decision["warnings_crossed"], crossed, "run {run}");
    }
    let denied = consume(&app, "run-111")
        .await
        .problem(402, "limit-exceeded");
    assert_eq!(denied["decision"]["reason"], "hard_limit_reached");
    assert_eq!(
        denied["decision"]["upgrade"],
        json!({"tier": "pro", "reason": "higher_limit"})
    );

    // The way out, as the frontend is told it.
    let shown = context(&app).await;
    let checkout = &shown["upgrade"]["checkout"];
    assert!(shown["upgrade"]["call_to_action"].is_string());
    let session = app
        .post(checkout["href"].as_str().unwrap())
        .json(checkout["body"].clone())
        .send()
        .await
        .expect(201);
    assert_eq!(session["publishable_key"], "pk_test_fake");

    // Paid. Nothing is believed but what Stripe answers when it is asked.
    app.advance(TimeDelta::hours(1));
    let events = app
        .stripe()
        .complete_checkout(session["session_id"].as_str().unwrap());
    consume(&app, "run-111")
        .await
        .problem(402, "limit-exceeded");
    deliver_twice_out_of_order(&app, &events).await;

    let subscription = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(subscription["status"], "active");
    assert_eq!(subscription["plan_tier"], "pro");
    let id = subscription["provider_subscription_id"]
        .as_str()
        .unwrap()
        .to_owned();

    // The key of the denied run is judged anew, in a period of the new anchor.
    let decision = consume(&app, "run-111").await.ok();
    assert_eq!(decision["used"], 1);
    assert_eq!(decision["limit"], 5000);
    assert_eq!(
        decision["plan"],
        json!({"tier": "pro", "version": 1, "status": "active", "source": "subscription"})
    );
    assert_eq!(
        decision["period"],
        json!({"start": "2026-01-12T01:00:00Z", "end": "2026-02-12T01:00:00Z"})
    );
    let thirteen_hundred = json!({"customer_id": "acme", "feature": RUNS, "quantity": 1300});
    app.post("/entitlements/consume")
        .json(thirteen_hundred)
        .send()
        .await
        .ok();
    let lookback = json!({"customer_id": "acme", "feature": "lookback_days", "value": 60});
    app.post("/entitlements/consume")
        .json(lookback.clone())
        .send()
        .await
        .ok();

    // Cancelled at once at Stripe: the former plan still allows what it allowed, for seven days.
    app.advance(TimeDelta::days(3));
    let deleted = app.stripe().delete_subscription(&id);
    deliver_twice_out_of_order(&app, &[deleted]).await;
    let decision = consume(&app, "run-in-grace").await.ok();
    assert_eq!(decision["reason"], "grace_period");
    assert_eq!(decision["used"], 1302);
    assert_eq!(decision["limit"], 100);
    assert_eq!(
        decision["plan"],
        json!({"tier": "free", "version": 1, "status": "canceled", "source": "grace"})
    );
    assert_eq!(
        decision["grace"],
        json!({"tier": "pro", "limit": 5000, "ends_at": "2026-01-22T01:00:00Z"})
    );
    // No second quota began.
    assert_eq!(decision["period"]["start"], "2026-01-12T01:00:00Z");
    let lookback_in_grace = app
        .post("/entitlements/consume")
        .json(lookback.clone())
        .send()
        .await
        .ok();
    assert_eq!(lookback_in_grace["reason"], "grace_period");
    assert_eq!(context(&app).await["grace"]["tier"], "pro");

    // Over: the default tier, by the clock alone, in a calendar month that began when the grace ended.
    app.advance(TimeDelta::days(7));
    let decision = consume(&app, "run-on-free").await.ok();
    assert_eq!(decision["reason"], "within_limit");
    assert_eq!(decision["used"], 1);
    assert_eq!(decision["plan"]["source"], "default");
    assert_eq!(
        decision["period"],
        json!({"start": "2026-01-22T01:00:00Z", "end": "2026-02-01T00:00:00Z"})
    );
    app.post("/entitlements/consume")
        .json(lookback)
        .send()
        .await
        .problem(402, "limit-exceeded");

    // History is kept: all that was ever used is in the ledger, and the counters are its sums.
    let history = app
        .get("/usage/history?customer_id=acme&feature=attribution_runs&granularity=month&from=2026-01-01&to=2026-02-01")
        .send()
        .await
        .ok();
    assert_eq!(history["data"][0]["quantity"], 110 + 1 + 1300 + 1 + 1);
    let drifts = plangate::store::counters::drifts(&mut app.connect(), None).unwrap();
    assert!(drifts.is_empty(), "{drifts:?}");

    // The first keys still give the answers they gave.
    let replayed = consume(&app, "run-1").await;
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(replayed.ok()["used"], 1);
}

#[actix_web::test]
async fn an_operator_grants_and_ends_a_plan_without_a_provider() {
    let app = TestApp::start().await;
    for run in 1..=110 {
        consume(&app, &format!("run-{run}")).await.ok();
    }
    consume(&app, "run-111")
        .await
        .problem(402, "limit-exceeded");
    let granted = app
        .post("/admin/subscriptions")
        .json(json!({"customer_id": "acme", "plan_tier": "pro", "reason": "a trial"}))
        .send()
        .await
        .expect(201);
    assert_eq!(granted["provider"], "manual");
    assert_eq!(consume(&app, "run-111").await.ok()["plan"]["tier"], "pro");

    let path = format!("/admin/subscriptions/{}", granted["id"].as_str().unwrap());
    app.advance(TimeDelta::hours(1));
    app.delete(&path).send().await.ok();
    let decision = consume(&app, "run-112").await.ok();
    // An operator's end has no grace.
    assert_eq!(decision["grace"], Value::Null);
    assert_eq!(decision["plan"]["tier"], "free");
    app.delete(&path).send().await.problem(409, "conflict");
}
