//! The whole life of a paying customer over HTTP: signup, upgrade, pay, activate, use, fail to pay, grace, recover, change plan,
//! downgrade, cancel, come back, refund. After each step the provider's webhooks come, and the answers follow.

use chrono::TimeDelta;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, subscribe, travel};

const RUNS: &str = "attribution_runs";

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.post(path).json(body).send().await
}

async fn subscription(app: &TestApp) -> Value {
    let path = "/billing/subscription?customer_id=acme";
    app.get(path).send().await.ok()
}

async fn check(app: &TestApp, quantity: i64) -> Value {
    let question = json!({"customer_id": "acme", "feature": RUNS, "quantity": quantity, "consistency": "strong"});
    post(app, "/entitlements/check", question).await.ok()
}

/// What is in force: tier, status and source, and until when a former plan still counts.
async fn in_force(app: &TestApp) -> (String, String, String, Value) {
    let decision = check(app, 1).await;
    let text = |name: &str| decision["plan"][name].as_str().unwrap().to_owned();
    let grace = decision["grace"]["ends_at"].clone();
    (text("tier"), text("status"), text("source"), grace)
}

fn standing(tier: &str, status: &str, source: &str) -> (String, String, String, Value) {
    (
        tier.to_owned(),
        status.to_owned(),
        source.to_owned(),
        Value::Null,
    )
}

/// Delivers what happened at the provider, newest first and each event twice, and lets every job do its work.
async fn hear(app: &TestApp, events: &[Value]) {
    let twice: Vec<&Value> = events.iter().rev().chain(events).collect();
    app.deliver(twice).await;
    app.do_the_work().await;
    // What the work itself caused at the provider.
    let more = app.stripe().take_events();
    app.deliver(&more).await;
    app.do_the_work().await;
}

#[actix_web::test]
async fn a_customer_signs_up_pays_fails_recovers_changes_leaves_comes_back_and_is_refunded() {
    let app = TestApp::with_stripe().await;

    // Signup: known by the first request, on the default tier.
    app.put("/customers/acme")
        .json(json!({"email": "billing@acme.example"}))
        .send()
        .await
        .expect(201);
    assert_eq!(in_force(&app).await, standing("free", "none", "default"));
    consume(&app, "acme", RUNS, 110).await;

    // Upgrade, pay, activate.
    let pro = subscribe(&app, "acme", "pro").await;
    app.stripe().take_events();
    assert_eq!(
        in_force(&app).await,
        standing("pro", "active", "subscription")
    );
    let portal = post(&app, "/billing/portal", json!({"customer_id": "acme"}))
        .await
        .expect(201);
    assert!(
        portal["portal_url"]
            .as_str()
            .unwrap()
            .starts_with("https://")
    );

    // Use: a new period began with the purchase.
    assert_eq!(consume(&app, "acme", RUNS, 4000).await["used"], 4000);

    // The renewal is not paid: the plan holds for seven days of grace, then it does not.
    travel(&app, "2026-02-12T00:00:00Z");
    hear(&app, &app.stripe().fail_renewal(&pro)).await;
    let mut grace = standing("pro", "past_due", "subscription");
    grace.3 = json!("2026-02-19T00:00:00Z");
    assert_eq!(in_force(&app).await, grace);
    post(
        &app,
        "/billing/create-checkout",
        json!({"customer_id": "acme", "plan_tier": "scale"}),
    )
    .await
    .problem(409, "payment-due");
    travel(&app, "2026-02-19T00:00:00Z");
    assert_eq!(
        in_force(&app).await,
        standing("free", "past_due", "default")
    );

    // Recover: paid after all.
    hear(&app, &app.stripe().pay_overdue(&pro)).await;
    assert_eq!(
        in_force(&app).await,
        standing("pro", "active", "subscription")
    );

    // Change plan: upwards at once, charged for the rest of the period.
    let upgraded = post(
        &app,
        "/billing/change-plan",
        json!({"customer_id": "acme", "plan_tier": "scale"}),
    )
    .await
    .ok();
    assert_eq!(
        (
            &upgraded["plan_tier"],
            &upgraded["provider_subscription_id"]
        ),
        (&json!("scale"), &json!(pro))
    );
    hear(&app, &app.stripe().take_events()).await;
    assert_eq!(
        in_force(&app).await,
        standing("scale", "active", "subscription")
    );
    let decision = consume(&app, "acme", RUNS, 25_012).await;
    assert_eq!(
        (&decision["reason"], &decision["overage"]["quantity"]),
        (&json!("overage"), &json!(12))
    );
    app.advance(TimeDelta::minutes(1));
    app.do_the_work().await;
    let payer = app.stripe().customers()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(app.stripe().meter_total(&payer), 12);

    // Downgrade: with the next period; what the former plan allowed stays allowed for a week.
    let planned = post(
        &app,
        "/billing/change-plan",
        json!({"customer_id": "acme", "plan_tier": "pro"}),
    )
    .await
    .ok();
    assert_eq!(planned["plan_tier"], "scale");
    assert_eq!(
        planned["planned_change"],
        json!({"plan_tier": "pro", "plan_version": 1, "at": "2026-03-12T00:00:00Z"})
    );
    travel(&app, "2026-03-12T00:00:00Z");
    let mut events = app.stripe().take_events();
    events.extend(app.stripe().end_period(&pro));
    hear(&app, &events).await;
    let mut lowered = standing("pro", "active", "subscription");
    lowered.3 = json!("2026-03-19T00:00:00Z");
    assert_eq!(in_force(&app).await, lowered);
    assert_eq!(check(&app, 20_000).await["reason"], "grace_period");

    // Cancel at the period's end, think better of it, and cancel for good.
    let leaving = post(&app, "/billing/cancel", json!({"customer_id": "acme"}))
        .await
        .ok();
    assert_eq!(leaving["cancel_at_period_end"], true);
    let staying = post(&app, "/billing/resume", json!({"customer_id": "acme"}))
        .await
        .ok();
    assert_eq!(staying["cancel_at_period_end"], false);
    post(&app, "/billing/cancel", json!({"customer_id": "acme"}))
        .await
        .ok();
    // By the clock: the provider's word of it may come whenever it likes.
    travel(&app, "2026-04-12T00:00:00Z");
    let mut left = standing("free", "active", "grace");
    left.3 = json!("2026-04-19T00:00:00Z");
    assert_eq!(in_force(&app).await, left);
    let mut events = app.stripe().take_events();
    events.extend(app.stripe().end_period(&pro));
    hear(&app, &events).await;
    left.1 = "canceled".to_owned();
    assert_eq!(in_force(&app).await, left);
    travel(&app, "2026-04-19T00:00:00Z");
    assert_eq!(
        in_force(&app).await,
        standing("free", "canceled", "default")
    );

    // Come back: another subscription, the same customer at the provider.
    let again = subscribe(&app, "acme", "pro").await;
    app.stripe().take_events();
    assert_ne!(again, pro);
    assert_eq!(app.stripe().customers().len(), 1);
    assert_eq!(
        in_force(&app).await,
        standing("pro", "active", "subscription")
    );

    // Refund: all of it, and the plan is gone at once, without grace.
    app.advance(TimeDelta::days(1));
    hear(
        &app,
        &app.stripe()
            .refund_charge(&app.stripe().charge_of(&again), None),
    )
    .await;
    assert_eq!(
        in_force(&app).await,
        standing("free", "canceled", "default")
    );
    assert_eq!(app.stripe().subscription(&again)["status"], "canceled");
    assert_eq!(subscription(&app).await["grace"], Value::Null);

    // Nothing was forgotten, and nothing waits.
    assert_counters_equal_ledger(&app);
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM webhooks WHERE status NOT IN ('processed', 'ignored')"
        ),
        0
    );
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM subscription_endings WHERE state <> 'done'"
        ),
        0
    );
    let statuses = count(
        &app,
        "SELECT count(*) FROM subscription_transitions WHERE customer_id = 'acme'",
    );
    assert!(statuses >= 8, "{statuses}");
    let ledger = app.get("/usage/events?customer_id=acme").send().await.ok();
    assert_eq!(ledger["data"].as_array().unwrap().len(), 3);
    assert!(
        app.clock.now()
            > "2026-04-19T00:00:00Z"
                .parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
    );
}
