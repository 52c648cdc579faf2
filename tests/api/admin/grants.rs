//! Granted subscriptions and overrides.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{check, put_override, try_grant};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, travel, usage_of};

#[actix_web::test]
async fn an_operator_grants_a_subscription_and_ends_it_without_grace() {
    let app = TestApp::start().await;
    let body = json!({"customer_id": "acme", "plan_tier": "pro", "until": "2026-03-12T00:00:00Z", "unit_amount": 4000,
                      "currency": "EUR", "reason": "invoiced"});
    let granted = try_grant(&app, body).await.expect(201);
    let id = granted["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("man_"));
    assert_eq!(
        granted,
        json!({"id": id, "customer_id": "acme", "unit_amount": 4000, "currency": "eur", "provider": "manual",
               "provider_subscription_id": id, "status": "active", "plan_tier": "pro", "plan_version": 1,
               "current_period_start": "2026-01-12T00:00:00Z", "current_period_end": "2026-03-12T00:00:00Z",
               "cancel_at_period_end": false, "trial_end": null, "planned_change": null, "grace": null})
    );
    let decision = consume(&app, "acme", "attribution_runs", 1).await;
    assert_eq!(
        decision["plan"],
        json!({"tier": "pro", "version": 1, "status": "active", "source": "subscription"})
    );
    let shown = app
        .get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .ok();
    assert_eq!(shown["provider_subscription_id"], id);

    app.advance(TimeDelta::hours(1));
    let path = format!("/admin/subscriptions/{id}");
    let ended = app.delete(&path).send().await.ok();
    assert_eq!(
        (&ended["status"], &ended["customer_id"]),
        (&json!("canceled"), &json!("acme"))
    );
    let decision = check(&app, "acme", json!({"feature": "export"})).await;
    assert_eq!(decision["reason"], "feature_not_in_plan");
    assert_eq!(
        decision["grace"],
        Value::Null,
        "an operator's end has no grace"
    );
    assert_eq!(
        decision["plan"],
        json!({"tier": "free", "version": 1, "status": "canceled", "source": "default"})
    );
    app.delete(&path).send().await.problem(409, "conflict");
    for unknown in ["man_0", "sub_1", "%20"] {
        let path = format!("/admin/subscriptions/{unknown}");
        app.delete(&path).send().await.problem(404, "not-found");
    }

    // One that runs out by itself has been paid until then, and has its grace.
    travel(&app, "2026-02-01T00:00:00Z");
    let body = json!({"customer_id": "acme", "plan_tier": "pro", "until": "2026-02-10T00:00:00Z", "reason": "trial"});
    let trial = try_grant(&app, body).await.expect(201);
    assert_eq!(
        (&trial["unit_amount"], &trial["currency"]),
        (&json!(0), &json!("usd"))
    );
    travel(&app, "2026-02-10T00:00:00Z");
    let decision = check(&app, "acme", json!({"feature": "export"})).await;
    assert_eq!(
        (&decision["reason"], &decision["plan"]["source"]),
        (&json!("grace_period"), &json!("grace"))
    );
    assert_eq!(
        decision["grace"],
        json!({"tier": "pro", "limit": true, "ends_at": "2026-02-17T00:00:00Z"})
    );
    let over = app.delete(&format!(
        "/admin/subscriptions/{}",
        trial["id"].as_str().unwrap()
    ));
    over.send().await.problem(409, "conflict");

    let before = count(&app, "SELECT count(*) FROM subscriptions");
    let sound = json!({"customer_id": "acme", "plan_tier": "pro", "reason": "r"});
    for (change, pointer) in [
        (json!({"until": "2026-02-10T00:00:00Z"}), "/until"),
        (json!({"until": "2020-01-01T00:00:00Z"}), "/until"),
        (json!({"until": "tomorrow"}), "/until"),
        (json!({"unit_amount": -1}), "/unit_amount"),
        (json!({"unit_amount": 1.5}), "/unit_amount"),
        (
            json!({"unit_amount": 9_223_372_036_854_775_808_u64}),
            "/unit_amount",
        ),
        (json!({"currency": "money"}), "/currency"),
        (json!({"reason": ""}), "/reason"),
        (json!({"reason": "a\u{7}b"}), "/reason"),
        (json!({"customer_id": "a b"}), "/customer_id"),
        (json!({"provider": "stripe"}), "/provider"),
    ] {
        let mut body = sound.clone();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let problem = try_grant(&app, body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    for missing in ["customer_id", "plan_tier", "reason"] {
        let mut body = sound.clone();
        body.as_object_mut().unwrap().remove(missing);
        let problem = try_grant(&app, body)
            .await
            .problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{missing}"));
    }
    let body = json!({"customer_id": "acme", "plan_tier": "gold", "reason": "r"});
    try_grant(&app, body).await.problem(404, "unknown-plan");
    assert_eq!(count(&app, "SELECT count(*) FROM subscriptions"), before);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_override_raises_and_only_a_cap_lowers() {
    let app = TestApp::start().await;
    let limit = async |feature: &str, question: Value| {
        let mut question = question;
        question["feature"] = json!(feature);
        let decision = check(&app, "acme", question).await;
        (
            decision["limit"].clone(),
            decision["limit_source"].clone(),
            decision["hard_limit"].clone(),
        )
    };
    let plan = json!("plan");
    let source = json!("override");
    // free: 100 runs, 1 model, 7 days, no export.
    for (order, expected) in [
        (
            json!({"limit": 150}),
            (json!(150), source.clone(), json!(165)),
        ),
        (json!({"limit": 50}), (json!(100), plan.clone(), json!(110))),
        (
            json!({"limit": 50, "cap": true}),
            (json!(50), source.clone(), json!(55)),
        ),
        (
            json!({"limit": 0, "cap": true}),
            (json!(0), source.clone(), json!(0)),
        ),
        (json!({"add": 20}), (json!(120), source.clone(), json!(132))),
        (
            json!({"add": i64::MAX}),
            (json!(i64::MAX), source.clone(), json!(i64::MAX)),
        ),
        (
            json!({"limit": 100}),
            (json!(100), plan.clone(), json!(110)),
        ),
    ] {
        let mut body = order.clone();
        body["reason"] = json!("r");
        put_override(&app, "acme", "attribution_runs", body)
            .await
            .ok();
        assert_eq!(
            limit("attribution_runs", json!({})).await,
            expected,
            "{order}"
        );
    }
    let body = json!({"limit": 30, "reason": "r"});
    put_override(&app, "acme", "lookback_days", body).await.ok();
    let days = check(
        &app,
        "acme",
        json!({"feature": "lookback_days", "value": 30}),
    )
    .await;
    assert_eq!(
        (&days["allowed"], &days["limit_source"]),
        (&json!(true), &source)
    );
    for (order, allowed) in [
        (json!({"enabled": true}), true),
        (json!({"enabled": false}), false),
        (json!({"enabled": true, "cap": true}), true),
    ] {
        let mut body = order.clone();
        body["reason"] = json!("r");
        put_override(&app, "acme", "export", body).await.ok();
        let decision = check(&app, "acme", json!({"feature": "export"})).await;
        assert_eq!(
            (&decision["allowed"], &decision["limit"]),
            (&json!(allowed), &json!(allowed)),
            "{order}"
        );
    }
    // A gauge has no soft zone, and what exists above a lowered limit stays.
    put_override(&app, "acme", "models", json!({"add": 2, "reason": "r"}))
        .await
        .ok();
    consume(&app, "acme", "models", 3).await;
    put_override(
        &app,
        "acme",
        "models",
        json!({"limit": 2, "cap": true, "reason": "r"}),
    )
    .await
    .ok();
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 3);
    let body = json!({"customer_id": "acme", "feature": "models"});
    let refused = app.post("/entitlements/consume").json(body).send().await;
    let problem = refused.problem(402, "limit-exceeded");
    assert_eq!(problem["decision"]["limit_source"], "override");
    assert_eq!(
        (
            &problem["decision"]["limit"],
            &problem["decision"]["remaining"]
        ),
        (&json!(2), &json!(0))
    );

    // The last order stands until it expires, and is shown even then.
    let body = json!({"limit": 5, "expires_at": "2026-01-13T00:00:00Z", "reason": "one day"});
    let made = put_override(&app, "acme", "models", body).await.ok();
    assert_eq!(
        made,
        json!({"customer_id": "acme", "feature": "models", "limit": 5, "add": null, "enabled": null, "cap": false,
               "expires_at": "2026-01-13T00:00:00Z", "reason": "one day", "created_by": "admin-key",
               "created_at": "2026-01-12T00:00:00Z"})
    );
    let path = "/admin/customers/acme/overrides/models";
    assert_eq!(app.get(path).send().await.ok(), made);
    travel(&app, "2026-01-12T23:59:59Z");
    assert_eq!(limit("models", json!({})).await.0, 5);
    travel(&app, "2026-01-13T00:00:00Z");
    assert_eq!(
        limit("models", json!({})).await,
        (json!(1), plan.clone(), json!(1))
    );
    assert_eq!(app.get(path).send().await.ok(), made);
    assert_eq!(app.delete(path).send().await.status, 204);
    app.get(path).send().await.problem(404, "not-found");
    app.delete(path).send().await.problem(404, "not-found");

    for (feature, body, pointer) in [
        ("models", json!({"reason": "r"}), "/limit"),
        (
            "models",
            json!({"limit": 5, "add": 1, "reason": "r"}),
            "/add",
        ),
        (
            "models",
            json!({"enabled": true, "reason": "r"}),
            "/enabled",
        ),
        ("models", json!({"limit": -1, "reason": "r"}), "/limit"),
        ("models", json!({"add": 0, "reason": "r"}), "/add"),
        ("models", json!({"add": -1, "reason": "r"}), "/add"),
        ("models", json!({"limit": 5}), "/reason"),
        ("models", json!({"limit": 5, "reason": " "}), "/reason"),
        (
            "models",
            json!({"limit": 5, "reason": "r", "expires_at": "2026-01-13T00:00:00Z"}),
            "/expires_at",
        ),
        (
            "models",
            json!({"limit": 5, "reason": "r", "cap": "yes"}),
            "/cap",
        ),
        ("export", json!({"limit": 1, "reason": "r"}), "/limit"),
        ("export", json!({"add": 1, "reason": "r"}), "/add"),
        ("export", json!({"reason": "r"}), "/enabled"),
    ] {
        let problem = put_override(&app, "acme", feature, body.clone())
            .await
            .problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    let body = json!({"limit": 5, "reason": "r"});
    put_override(&app, "acme", "time_travel", body.clone())
        .await
        .problem(404, "unknown-feature");
    put_override(&app, "a%20b", "models", body)
        .await
        .problem(400, "malformed-request");
    assert_counters_equal_ledger(&app);
}
