//! What an operator configures: tiers, policies and the catalogue.

use std::io::Write as _;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{check, put_override, try_grant};
use crate::support::app::TestApp;
use crate::support::steps::{
    assert_counters_equal_ledger, consume, count, grant, travel, usage_of,
};

#[actix_web::test]
async fn newcomers_can_be_given_another_tier_and_lapse_to_the_default() {
    let app = TestApp::builder().set("PLAN_TIER", "pro").start().await;
    let newcomer = consume(&app, "acme", "attribution_runs", 101).await;
    assert_eq!(newcomer["reason"], "within_limit");
    assert_eq!(
        newcomer["plan"],
        json!({"tier": "pro", "version": 1, "status": "none", "source": "default"})
    );
    let plans = app.get("/plans").anonymous().send().await.ok();
    assert_eq!(plans["default_tier"], "free");
    let granted = grant(&app, "acme", "scale").await;
    app.advance(TimeDelta::hours(1));
    let path = format!("/admin/subscriptions/{}", granted["id"].as_str().unwrap());
    app.delete(&path).send().await.ok();
    let lapsed = check(&app, "acme", json!({"feature": "attribution_runs"})).await;
    assert_eq!(lapsed["plan"]["tier"], "free");
}

#[actix_web::test]
async fn unknown_customers_can_be_rejected_until_they_are_made() {
    let app = TestApp::builder()
        .set("PLANGATE_UNKNOWN_CUSTOMERS", "reject")
        .start()
        .await;
    let question = json!({"customer_id": "acme", "feature": "models"});
    let post = async |path: &str, body: Value| app.post(path).json(body).send().await;
    let level = json!({"customer_id": "acme", "feature": "models", "value": 1});
    let granting = json!({"customer_id": "acme", "plan_tier": "pro", "reason": "r"});
    for answer in [
        post("/entitlements/check", question.clone()).await,
        post("/entitlements/consume", question.clone()).await,
        post("/entitlements/release", question.clone()).await,
        app.put("/entitlements/allocated").json(level).send().await,
        app.get("/entitlements?customer_id=acme").send().await,
        app.get("/usage?customer_id=acme").send().await,
        app.get("/usage/history?customer_id=acme&feature=models")
            .send()
            .await,
        app.get("/usage/events?customer_id=acme").send().await,
        app.get("/plan-context?customer_id=acme").send().await,
        app.get("/customers/acme").send().await,
        post("/customers/acme/tokens", json!({})).await,
        try_grant(&app, granting.clone()).await,
        put_override(&app, "acme", "models", json!({"limit": 5, "reason": "r"})).await,
    ] {
        answer.problem(404, "unknown-customer");
    }
    let batch = post("/entitlements/check/batch", json!({"checks": [question]}))
        .await
        .ok();
    assert_eq!(
        batch["results"][0]["error"]["type"],
        "/problems/unknown-customer"
    );
    let run = json!({"events": [{"id": "1", "customer_id": "acme", "feature": "attribution_runs", "quantity": 1}]});
    let recorded = post("/usage", run.clone()).await.ok();
    assert_eq!(recorded["results"][0]["status"], "invalid");
    app.get("/billing/subscription?customer_id=acme")
        .send()
        .await
        .problem(404, "not-found");
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 0);
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM audit_log WHERE customer_id IS NOT NULL"
        ),
        0
    );

    app.put("/customers/acme")
        .json(json!({}))
        .send()
        .await
        .expect(201);
    assert_eq!(consume(&app, "acme", "models", 1).await["used"], 1);
    assert_eq!(
        post("/usage", run).await.ok()["results"][0]["status"],
        "recorded"
    );
    try_grant(&app, granting).await.expect(201);
}

#[actix_web::test]
async fn under_observation_a_denial_is_told_and_allowed() {
    let app = TestApp::builder()
        .set("PLANGATE_ENFORCEMENT", "observe")
        .start()
        .await;
    let within = consume(&app, "acme", "attribution_runs", 110).await;
    assert_eq!(
        (&within["allowed"], &within["enforced"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(within["reason"], "soft_limit_exceeded");
    for (feature, asked, reason) in [
        ("attribution_runs", json!({}), "hard_limit_reached"),
        ("models", json!({"quantity": 2}), "hard_limit_reached"),
        ("lookback_days", json!({"value": 8}), "value_above_limit"),
        ("export", json!({}), "feature_not_in_plan"),
    ] {
        let mut body = asked.clone();
        body["feature"] = json!(feature);
        body["customer_id"] = json!("acme");
        let checked = check(&app, "acme", body.clone()).await;
        let consumed = app
            .post("/entitlements/consume")
            .json(body)
            .send()
            .await
            .ok();
        for decision in [checked, consumed] {
            assert_eq!(decision["allowed"], true, "{decision}");
            assert_eq!(decision["enforced"], false, "{decision}");
            assert_eq!(decision["reason"], reason, "{decision}");
        }
    }
    assert_eq!(
        usage_of(&app, "acme", "attribution_runs").await["used"],
        111
    );
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 2);
    // What cannot be counted cannot be allowed either.
    let body = json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": i64::MAX});
    app.post("/entitlements/consume")
        .json(body)
        .send()
        .await
        .problem(402, "limit-exceeded");
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_catalogue_of_other_tiers_and_features_works_the_same() {
    let catalogue = json!({
        "default_tier": "bronze", "grace_period_days": 2, "late_usage_days": 1,
        "features": [
            {"key": "messages", "name": "Messages", "kind": "metered"},
            {"key": "storage", "name": "Storage", "kind": "metered"},
            {"key": "seats", "name": "Seats", "kind": "allocated"},
            {"key": "depth", "name": "Depth", "kind": "static"},
            {"key": "sso", "name": "Single sign-on", "kind": "boolean"},
        ],
        "tiers": [
            {"tier": "bronze", "name": "Bronze", "description": "Small.", "badge": null, "prices": [], "upgrade_to": "gold",
             "limits": {"messages": {"limit": 10, "hard_limit_percent": 150}, "seats": 0, "depth": 1, "sso": false}},
            {"tier": "gold", "name": "Gold", "description": "Large.", "badge": "New",
             "prices": [{"currency": "jpy", "unit_amount": 500, "interval": "month"}], "upgrade_to": null,
             "limits": {"messages": {"limit": 100, "overage": {"max_quantity": 5, "prices": [
                            {"currency": "jpy", "unit_amount_decimal": "0.25"}]}},
                        "storage": null, "seats": null, "depth": null, "sso": true}},
        ],
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let app = TestApp::builder()
        .set("PLANGATE_CATALOGUE", path)
        .start()
        .await;

    let plans = app.get("/plans").anonymous().send().await.ok();
    assert_eq!(plans["default_tier"], "bronze");
    assert_eq!(plans["data"][0]["features"][0]["hard_limit"], 15);
    assert_eq!(
        plans["data"][1]["features"][0]["overage"],
        json!({"unit_amount_decimal": "0.25", "currency": "jpy", "max_quantity": 5})
    );
    assert_eq!(plans["data"][1]["limits"]["storage"], Value::Null);
    app.get("/plans/pro")
        .anonymous()
        .send()
        .await
        .problem(404, "unknown-plan");

    let reason = async |feature: &str, asked: Value| {
        let mut question = asked;
        question["feature"] = json!(feature);
        let decision = check(&app, "acme", question).await;
        (
            decision["reason"].as_str().unwrap().to_owned(),
            decision["upgrade"]["tier"].clone(),
        )
    };
    let bronze = [
        ("messages", json!({"quantity": 10}), "within_limit"),
        ("messages", json!({"quantity": 15}), "soft_limit_exceeded"),
        ("messages", json!({"quantity": 16}), "hard_limit_reached"),
        ("storage", json!({}), "feature_not_in_plan"),
        ("seats", json!({}), "hard_limit_reached"),
        ("depth", json!({"value": 2}), "value_above_limit"),
        ("sso", json!({}), "feature_not_in_plan"),
    ];
    for (feature, asked, expected) in bronze {
        let (fired, upgrade) = reason(feature, asked.clone()).await;
        assert_eq!(fired, expected, "{feature} {asked}");
        assert_eq!(upgrade, "gold", "{feature} {asked}");
    }
    let unknown = json!({"customer_id": "acme", "feature": "attribution_runs"});
    app.post("/entitlements/check")
        .json(unknown)
        .send()
        .await
        .problem(404, "unknown-feature");
    let context = app.get("/plan-context?customer_id=acme").send().await.ok();
    assert_eq!(context["plan"]["tier"], "bronze");
    assert_eq!(context["upgrade"]["tier"], "gold");
    assert_eq!(context["plan"]["prices"], json!([]));

    let body = json!({"customer_id": "acme", "plan_tier": "gold", "until": "2026-01-20T00:00:00Z", "unit_amount": 7,
                      "reason": "r"});
    assert_eq!(try_grant(&app, body).await.expect(201)["currency"], "jpy");
    for (feature, asked, expected) in [
        ("messages", json!({"quantity": 105}), "overage"),
        ("messages", json!({"quantity": 106}), "hard_limit_reached"),
        ("storage", json!({"quantity": i64::MAX}), "within_limit"),
        ("seats", json!({"quantity": 1_000_000}), "within_limit"),
        ("depth", json!({"value": i64::MAX}), "within_limit"),
        ("sso", json!({}), "within_limit"),
    ] {
        let (fired, upgrade) = reason(feature, asked.clone()).await;
        assert_eq!(
            (fired.as_str(), upgrade),
            (expected, Value::Null),
            "{feature} {asked}"
        );
    }
    let billed = consume(&app, "acme", "messages", 103).await;
    assert_eq!(
        billed["overage"],
        json!({"quantity": 3, "amount_decimal": "0.75", "currency": "jpy"})
    );
    let unlimited = consume(&app, "acme", "seats", 4).await;
    for field in [
        "limit",
        "hard_limit",
        "remaining",
        "percent_used",
        "warning_level",
    ] {
        assert_eq!(unlimited[field], Value::Null, "{field}");
    }
    // Its own days of grace, in which no overage is sold.
    travel(&app, "2026-01-20T00:00:00Z");
    let grace = check(&app, "acme", json!({"feature": "sso"})).await;
    assert_eq!(grace["reason"], "grace_period");
    assert_eq!(grace["grace"]["ends_at"], "2026-01-22T00:00:00Z");
    assert_eq!(reason("messages", json!({})).await.0, "hard_limit_reached");
    assert_eq!(reason("seats", json!({})).await.0, "grace_period");
    travel(&app, "2026-01-22T00:00:00Z");
    assert_eq!(reason("seats", json!({})).await.0, "hard_limit_reached");

    // An amount needs a currency, and a plan without a price has none to lend.
    let mut body =
        json!({"customer_id": "globex", "plan_tier": "bronze", "unit_amount": 5, "reason": "r"});
    let problem = try_grant(&app, body.clone())
        .await
        .problem(422, "validation-failed");
    assert_eq!(problem["errors"][0]["pointer"], "/currency");
    body["currency"] = json!("kwd");
    assert_eq!(try_grant(&app, body).await.expect(201)["currency"], "kwd");
    assert_counters_equal_ledger(&app);
}
