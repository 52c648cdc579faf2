//! Another plan, at once or with the next period.

use serde_json::{Value, json};

use super::{ask, change, changes_sent, hear, invoiced, prices, runs, stored};
use crate::fake_stripe::Endpoint;
use crate::support::app::{PRICE_PRO, PRICE_SCALE, PRICE_SCALE_OVERAGE, TestApp};
use crate::support::steps::{consume, count, subscribe, travel, usage_of};

#[actix_web::test]
async fn an_upgrade_holds_at_once_and_the_difference_is_charged() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    consume(&app, "acme", "attribution_runs", 4000).await;
    travel(&app, "2026-01-27T00:00:00Z");
    let upgraded = change(&app, "scale").await.ok();
    assert_eq!(
        upgraded,
        json!({
            "provider": "stripe", "provider_subscription_id": id, "status": "active", "plan_tier": "scale", "plan_version": 1,
            "current_period_start": "2026-01-12T00:00:00Z", "current_period_end": "2026-02-12T00:00:00Z",
            "cancel_at_period_end": false, "trial_end": null, "planned_change": null, "grace": null,
        })
    );
    // Nobody had to wait for a webhook.
    assert_eq!(runs(&app).await, 25_000);
    assert_eq!(prices(&app, &id), [PRICE_SCALE, PRICE_SCALE_OVERAGE]);
    let difference = invoiced(&app, "subscription_update");
    assert_eq!(difference.len(), 1);
    let whole = 19_900 - 4_900;
    assert!(
        (whole / 3..whole * 2 / 3).contains(&difference[0]),
        "for half a period: {difference:?}"
    );
    let updates = app.stripe().requests_to(Endpoint::UpdateSubscription);
    assert_eq!(updates[0].params["proration_behavior"], "always_invoice");
    // The period went on, and what was used in it counts.
    assert_eq!(
        usage_of(&app, "acme", "attribution_runs").await["used"],
        4000
    );

    hear(&app).await;
    assert_eq!(stored(&app).await, upgraded);
    let changed = "SELECT count(*) FROM subscription_transitions WHERE from_tier <> to_tier";
    assert_eq!(count(&app, changed), 1);
    assert_eq!(count(&app, &format!("{changed} AND cause = 'request'")), 1);
    change(&app, "scale")
        .await
        .problem(409, "already-subscribed");
}

#[actix_web::test]
async fn an_upgrade_that_is_not_paid_waits_and_the_present_plan_stays() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    travel(&app, "2026-01-27T00:00:00Z");
    app.stripe().decline_payments(true);
    for _ in 0..2 {
        let due = change(&app, "scale").await.problem(409, "payment-due");
        assert_eq!(due["portal"], "/billing/portal");
        assert!(due["detail"].as_str().unwrap().contains("waits"), "{due}");
    }
    hear(&app).await;
    assert_eq!(prices(&app, &id), [PRICE_PRO]);
    let shown = stored(&app).await;
    assert_eq!(
        (&shown["plan_tier"], &shown["status"]),
        (&json!("pro"), &json!("active"))
    );
    assert_eq!(runs(&app).await, 5000);
    assert_eq!(invoiced(&app, "subscription_update").len(), 1);

    app.stripe().decline_payments(false);
    let events = app.stripe().pay_pending_update(&id);
    app.deliver(&events).await;
    app.apply_webhooks().await;
    assert_eq!(stored(&app).await["plan_tier"], "scale");
    assert_eq!(prices(&app, &id), [PRICE_SCALE, PRICE_SCALE_OVERAGE]);
    assert_eq!(runs(&app).await, 25_000);
}

#[actix_web::test]
async fn a_downgrade_waits_for_the_period_and_the_former_limits_for_the_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", "models", 8).await;
    let planned = json!({"plan_tier": "pro", "plan_version": 1, "at": "2026-02-12T00:00:00Z"});
    for _ in 0..2 {
        let lowered = change(&app, "pro").await.ok();
        assert_eq!(lowered["plan_tier"], "scale");
        assert_eq!(lowered["planned_change"], planned);
        hear(&app).await;
    }
    let schedules = app.stripe().requests_to(Endpoint::CreateSchedule);
    assert_eq!(schedules.len(), 1, "the second call changed nothing");
    let context = app.get("/plan-context?customer_id=acme").send().await.ok();
    assert_eq!(context["subscription"]["planned_change"], planned);
    assert_eq!(runs(&app).await, 25_000);
    assert_eq!(invoiced(&app, "subscription_update"), [0; 0]);

    travel(&app, "2026-02-12T00:00:00Z");
    let events = app.stripe().end_period(&id);
    app.deliver(&events).await;
    app.apply_webhooks().await;
    let lower = stored(&app).await;
    assert_eq!(
        (
            &lower["plan_tier"],
            &lower["planned_change"],
            &lower["grace"]
        ),
        (
            &json!("pro"),
            &Value::Null,
            &json!({"tier": "scale", "ends_at": "2026-02-19T00:00:00Z"})
        )
    );
    assert_eq!(prices(&app, &id), [PRICE_PRO], "no metered price is left");
    let one_more = async || {
        let body = json!({"customer_id": "acme", "feature": "models"});
        app.post("/entitlements/check").json(body).send().await.ok()
    };
    let in_grace = one_more().await;
    assert_eq!(
        (&in_grace["allowed"], &in_grace["reason"]),
        (&json!(true), &json!("grace_period"))
    );
    travel(&app, "2026-02-19T00:00:00Z");
    let after = one_more().await;
    assert_eq!(
        (&after["allowed"], &after["reason"], &after["used"]),
        (&json!(false), &json!("hard_limit_reached"), &json!(8))
    );
}

#[actix_web::test]
async fn a_change_that_was_planned_is_replaced_or_taken_back() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    change(&app, "pro").await.ok();
    let back = change(&app, "scale").await.ok();
    assert_eq!(
        (&back["plan_tier"], &back["planned_change"]),
        (&json!("scale"), &Value::Null)
    );
    assert_eq!(app.stripe().subscription(&id)["schedule"], Value::Null);
    change(&app, "scale")
        .await
        .problem(409, "already-subscribed");

    // Planned, and then wanted at once.
    change(&app, "pro").await.ok();
    let now = ask(
        &app,
        "change-plan",
        json!({"plan_tier": "pro", "when": "now"}),
    )
    .await;
    let now = now.ok();
    assert_eq!(
        (&now["plan_tier"], &now["planned_change"]),
        (&json!("pro"), &Value::Null)
    );
    assert_eq!(now["grace"]["tier"], "scale");
    assert_eq!(prices(&app, &id), [PRICE_PRO]);

    // An upgrade can wait as well.
    let later = json!({"plan_tier": "scale", "when": "period_end"});
    let later = ask(&app, "change-plan", later).await.ok();
    assert_eq!(later["plan_tier"], "pro");
    assert_eq!(later["planned_change"]["plan_tier"], "scale");
    hear(&app).await;
    assert_eq!(stored(&app).await, later);
}

#[actix_web::test]
async fn who_changes_the_plan_stays() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    for (tier, planned) in [("scale", Value::Null), ("pro", json!("pro"))] {
        let ending = ask(&app, "cancel", json!({})).await.ok();
        assert_eq!(ending["cancel_at_period_end"], true);
        let stays = change(&app, tier).await.ok();
        assert_eq!(stays["cancel_at_period_end"], false);
        assert_eq!(stays["planned_change"]["plan_tier"], planned);
        assert_eq!(
            app.stripe().subscription(&id)["cancel_at_period_end"],
            false
        );
    }
    hear(&app).await;
}

#[actix_web::test]
async fn what_is_due_is_settled_before_the_plan_is_changed() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    for status in ["past_due", "unpaid", "paused"] {
        // No webhook tells of it: the operation looks by itself.
        app.stripe()
            .update_subscription(&id, |s| s["status"] = json!(status));
        let due = change(&app, "scale").await.problem(409, "payment-due");
        assert_eq!(due["portal"], "/billing/portal", "{status}");
        assert_eq!(stored(&app).await["status"], status);
    }
    assert_eq!(changes_sent(&app), 0);
    hear(&app).await;
}
