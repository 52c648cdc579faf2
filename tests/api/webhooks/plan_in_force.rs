//! What a subscription's story does to the plan in force.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{change, plan, standing};
use crate::support::app::TestApp;
use crate::support::steps::{
    assert_counters_equal_ledger, consume, grant, pay, subscribe, subscription_id, travel,
};

#[actix_web::test]
async fn a_cancellation_keeps_the_plan_until_the_periods_end_and_then_has_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    change(&app, &id, |s| s["cancel_at_period_end"] = json!(true)).await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    let shown = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(shown["cancel_at_period_end"], true);
    consume(&app, "acme", "attribution_runs", 4000).await;
    // Undone and done again: only the last word counts.
    change(&app, &id, |s| s["cancel_at_period_end"] = json!(false)).await;
    travel(&app, "2026-02-12T00:00:00Z");
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    app.deliver(&app.stripe().renew_subscription(&id)).await;
    app.apply_webhooks().await;
    change(&app, &id, |s| s["cancel_at_period_end"] = json!(true)).await;

    // The end comes by the clock, with or without news of it.
    travel(&app, "2026-03-12T00:00:00Z");
    let grace = json!({"tier": "pro", "limit": 5000, "ends_at": "2026-03-19T00:00:00Z"});
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "active", "grace"), grace.clone())
    );
    app.advance(TimeDelta::hours(5));
    app.deliver([&app.stripe().delete_subscription(&id)]).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "canceled", "grace"), grace)
    );
    let run = consume(&app, "acme", "attribution_runs", 4000).await;
    assert_eq!(
        (&run["reason"], &run["used"]),
        (&json!("grace_period"), &json!(4000))
    );
    // During grace the period stays the former one: no second quota begins.
    assert_eq!(run["period"]["start"], "2026-03-12T00:00:00Z");
    travel(&app, "2026-03-19T00:00:00Z");
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "canceled", "default"), Value::Null)
    );
    let body = json!({"customer_id": "acme", "feature": "export"});
    let export = app.post("/entitlements/consume").json(body).send().await;
    export.problem(402, "feature-not-in-plan");
    // A late word of an ended subscription revives nothing.
    change(&app, &id, |s| s["status"] = json!("active")).await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "free");
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_failed_payment_has_one_grace_that_nothing_extends() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let grace = json!({"tier": "pro", "limit": 5000, "ends_at": "2026-01-20T00:00:00Z"});
    travel(&app, "2026-01-13T00:00:00Z");
    app.deliver(&app.stripe().fail_payment(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "past_due", "subscription"), grace.clone())
    );
    app.advance(TimeDelta::days(3));
    app.deliver(&app.stripe().fail_payment(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "past_due", "subscription"), grace.clone())
    );
    app.advance(TimeDelta::days(1));
    change(&app, &id, |s| s["status"] = json!("unpaid")).await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "unpaid", "grace"), grace)
    );
    travel(&app, "2026-01-20T00:00:00Z");
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "unpaid", "default"), Value::Null)
    );
    // Paid after all; the next failure is another lapse.
    app.deliver(&app.stripe().pay_overdue(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    change(&app, &id, |s| s["status"] = json!("past_due")).await;
    let ends = "2026-01-27T00:00:00Z";
    assert_eq!(standing(&app, "acme").await.1["ends_at"], ends);
    // Past due without a word: when the grace is over, so is the plan.
    travel(&app, "2026-01-26T23:59:59Z");
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "past_due", "subscription")
    );
    travel(&app, ends);
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "past_due", "default"), Value::Null)
    );
    change(&app, &id, |s| s["status"] = json!("canceled")).await;
    assert_eq!(standing(&app, "acme").await.1, Value::Null);
}

#[actix_web::test]
async fn a_pause_takes_the_plan_away_without_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    change(&app, &id, |s| {
        s["pause_collection"] = json!({"behavior": "void", "resumes_at": null});
    })
    .await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "paused", "default"), Value::Null)
    );
    change(&app, &id, |s| s["pause_collection"] = Value::Null).await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    change(&app, &id, |s| s["status"] = json!("paused")).await;
    change(&app, &id, |s| s["status"] = json!("canceled")).await;
    assert_eq!(
        standing(&app, "acme").await,
        (plan("free", "canceled", "default"), Value::Null)
    );

    // What was never paid never was a plan.
    let events = pay(&app, "globex", "pro").await;
    let theirs = subscription_id(&events);
    for status in ["incomplete", "incomplete_expired"] {
        change(&app, &theirs, |s| s["status"] = json!(status)).await;
        assert_eq!(
            standing(&app, "globex").await,
            (plan("free", status, "default"), Value::Null)
        );
    }
    let trial = pay(&app, "initech", "pro").await;
    change(&app, &subscription_id(&trial), |s| {
        s["status"] = json!("trialing");
    })
    .await;
    assert_eq!(
        standing(&app, "initech").await.0,
        plan("pro", "trialing", "subscription")
    );
}

#[actix_web::test]
async fn of_several_live_subscriptions_the_highest_tier_wins() {
    let app = TestApp::with_stripe().await;
    let pro = subscribe(&app, "acme", "pro").await;
    let granted = grant(&app, "acme", "scale").await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "scale");
    app.advance(TimeDelta::hours(1));
    let path = format!("/admin/subscriptions/{}", granted["id"].as_str().unwrap());
    app.delete(&path).send().await.ok();
    let winner = async || {
        let shown = app
            .get("/billing/subscription?customer_id=acme")
            .send()
            .await
            .ok();
        shown["provider_subscription_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");
    assert_eq!(winner().await, pro);
    // The same tier from an operator does not displace what is paid for.
    grant(&app, "acme", "pro").await;
    assert_eq!(winner().await, pro);

    // Two at the provider: the tier decides, not the order in which they came.
    let events = pay(&app, "another", "scale").await;
    let scale = subscription_id(&events);
    change(&app, &scale, |s| {
        s["metadata"]["customer_id"] = json!("acme");
    })
    .await;
    assert_eq!(winner().await, scale);
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("scale", "active", "subscription")
    );
    change(&app, &pro, |_| {}).await;
    assert_eq!(winner().await, scale);
    // The lower one keeps the customer on a plan when the higher one ends.
    app.deliver([&app.stripe().delete_subscription(&scale)])
        .await;
    app.apply_webhooks().await;
    let (now, grace) = standing(&app, "acme").await;
    assert_eq!(now, plan("pro", "active", "subscription"));
    assert_eq!(grace["tier"], "scale");
}
