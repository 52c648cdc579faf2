//! The plan context: what a frontend shows of a plan.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::steps::{consume, grant, subscribe, travel, usage_of};

async fn context_of(app: &TestApp, customer: &str) -> Value {
    let path = format!("/plan-context?customer_id={customer}");
    app.get(&path).send().await.ok()
}

async fn call_to_action(app: &TestApp) -> Value {
    context_of(app, "acme").await["upgrade"]["call_to_action"].clone()
}

async fn denied(app: &TestApp, question: Value) {
    let mut body = question;
    body["customer_id"] = json!("acme");
    let decision = app.post("/entitlements/check").json(body).send().await.ok();
    assert_eq!(decision["allowed"], false, "{decision}");
}

#[actix_web::test]
async fn a_newcomer_sees_the_free_plan_and_what_is_locked() {
    let app = TestApp::start().await;
    let period = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"});
    assert_eq!(
        context_of(&app, "acme").await,
        json!({
            "customer_id": "acme",
            "plan": {"tier": "free", "name": "Free", "badge": null, "version": 1,
                     "prices": [{"currency": "usd", "unit_amount": 0, "interval": "month"}]},
            "limits": {"attribution_runs": 100, "models": 1, "lookback_days": 7, "export": false},
            "subscription": null,
            "usage": {
                "attribution_runs": {
                    "feature": "attribution_runs", "kind": "metered", "used": 0, "held": 0, "limit": 100, "hard_limit": 110,
                    "remaining": 100, "percent_used": 0.0, "warning_level": null, "overage": null, "period": period,
                    "resets_at": "2026-02-01T00:00:00Z"},
                "models": {
                    "feature": "models", "kind": "allocated", "used": 0, "held": 0, "limit": 1, "hard_limit": 1, "remaining": 1,
                    "percent_used": 0.0, "warning_level": null, "overage": null, "period": null, "resets_at": null},
            },
            "warnings": [],
            "locked": [{"feature": "export", "reason": "feature_not_in_plan", "available_in": "pro"}],
            "upgrade": {
                "tier": "pro", "name": "Pro", "call_to_action": "Upgrade to Pro to get Export.",
                "checkout": {"method": "POST", "href": "/billing/create-checkout",
                             "body": {"customer_id": "acme", "plan_tier": "pro"}}},
            "manage_billing": null,
            "grace": null,
        })
    );
    let missing = app.get("/plan-context").send().await;
    missing.problem(400, "malformed-request");
}

#[actix_web::test]
async fn warnings_and_locks_follow_usage() {
    let app = TestApp::start().await;
    grant(&app, "acme", "pro").await;
    let quiet = context_of(&app, "acme").await;
    assert_eq!(
        (&quiet["warnings"], &quiet["locked"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(quiet["plan"]["badge"], "Popular");
    assert_eq!(quiet["upgrade"]["tier"], "scale");
    assert_eq!(quiet["upgrade"]["call_to_action"], Value::Null);
    // Whoever pays through nobody can still check out.
    assert_eq!(quiet["upgrade"]["checkout"]["body"]["plan_tier"], "scale");
    let subscription = &quiet["subscription"];
    assert_eq!(
        (&subscription["provider"], &subscription["plan_tier"]),
        (&json!("manual"), &json!("pro"))
    );

    let warning = |level: u8, used: &str| {
        json!([{"kind": "usage", "feature": "attribution_runs", "level": level,
                "message": format!("{level}% of Attribution runs used: {used} of 5000.")}])
    };
    let locked = json!([{"feature": "attribution_runs", "reason": "hard_limit_reached", "available_in": "scale"}]);
    for (quantity, warnings, locks) in [
        (3999, json!([]), json!([])),
        (1, warning(80, "4000"), json!([])),
        (500, warning(90, "4500"), json!([])),
        (500, warning(100, "5000"), json!([])),
        (500, warning(100, "5500"), locked),
    ] {
        consume(&app, "acme", "attribution_runs", quantity).await;
        let context = context_of(&app, "acme").await;
        assert_eq!(context["warnings"], warnings);
        assert_eq!(context["locked"], locks);
        assert_eq!(
            context["upgrade"]["call_to_action"].is_string(),
            !warnings.as_array().unwrap().is_empty(),
            "{context}"
        );
        let metric = usage_of(&app, "acme", "attribution_runs").await;
        assert_eq!(context["usage"]["attribution_runs"], metric);
    }
    // The next period begins with neither, and a gauge does not care for periods.
    consume(&app, "acme", "models", 3).await;
    travel(&app, "2026-02-12T00:00:00Z");
    let context = context_of(&app, "acme").await;
    assert_eq!(
        context["warnings"],
        json!([{"kind": "usage", "feature": "models", "level": 100, "message": "100% of Models used: 3 of 3."}])
    );
    assert_eq!(
        context["locked"],
        json!([{"feature": "models", "reason": "hard_limit_reached", "available_in": "scale"}])
    );
    assert_eq!(context["usage"]["models"]["used"], 3);
    assert_eq!(context["usage"]["attribution_runs"]["used"], 0);
    // An override is in force here, too.
    let body = json!({"limit": 8000, "reason": "a test"});
    let path = "/admin/customers/acme/overrides/attribution_runs";
    app.put(path).json(body).send().await.ok();
    let context = context_of(&app, "acme").await;
    assert_eq!(context["limits"]["attribution_runs"], 8000);

    grant(&app, "acme", "scale").await;
    let highest = context_of(&app, "acme").await;
    assert_eq!(highest["plan"]["tier"], "scale");
    assert_eq!(highest["upgrade"], Value::Null);
}

#[actix_web::test]
async fn a_denial_calls_to_action_for_seven_days() {
    let app = TestApp::start().await;
    grant(&app, "acme", "pro").await;
    for (question, feature) in [
        (json!({"feature": "models", "quantity": 4}), "Models"),
        (
            json!({"feature": "lookback_days", "value": 90}),
            "Look-back days",
        ),
        (
            json!({"feature": "attribution_runs", "quantity": 5501}),
            "Attribution runs",
        ),
    ] {
        assert_eq!(call_to_action(&app).await, Value::Null, "{feature}");
        // Not on the hour: what is noted by the hour still counts for the whole seven days.
        app.advance(TimeDelta::minutes(50));
        denied(&app, question.clone()).await;
        denied(&app, question).await;
        let expected = format!("Upgrade to Scale for more {feature}.");
        assert_eq!(call_to_action(&app).await, expected);
        app.advance(TimeDelta::days(7) - TimeDelta::minutes(1));
        assert_eq!(call_to_action(&app).await, expected);
        app.advance(TimeDelta::days(1));
    }
    assert_eq!(call_to_action(&app).await, Value::Null);
    // A consume that is refused is a denial as well.
    let body = json!({"customer_id": "acme", "feature": "models", "quantity": 4});
    let refused = app.post("/entitlements/consume").json(body).send().await;
    refused.problem(402, "limit-exceeded");
    assert_eq!(
        call_to_action(&app).await,
        "Upgrade to Scale for more Models."
    );
    // Somebody else's denial is not.
    grant(&app, "globex", "pro").await;
    let theirs = context_of(&app, "globex").await;
    assert_eq!(theirs["upgrade"]["call_to_action"], Value::Null);
}

#[actix_web::test]
async fn a_subscription_that_ends_calls_to_action_and_then_has_its_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let paying = context_of(&app, "acme").await;
    assert_eq!(
        paying["subscription"],
        json!({"provider": "stripe", "provider_subscription_id": id, "status": "active", "plan_tier": "pro",
               "plan_version": 1, "current_period_start": "2026-01-12T00:00:00Z",
               "current_period_end": "2026-02-12T00:00:00Z", "cancel_at_period_end": false, "trial_end": null,
               "planned_change": null, "grace": null})
    );
    assert_eq!(paying["upgrade"]["call_to_action"], Value::Null);
    // Who pays already changes the plan and buys no second one.
    assert_eq!(
        paying["upgrade"]["checkout"]["href"],
        "/billing/change-plan"
    );

    let cancelled = app
        .stripe()
        .update_subscription(&id, |s| s["cancel_at_period_end"] = json!(true));
    app.deliver([&cancelled]).await;
    app.apply_webhooks().await;
    let ending = context_of(&app, "acme").await;
    assert_eq!(ending["subscription"]["cancel_at_period_end"], true);
    let call = ending["upgrade"]["call_to_action"].as_str().unwrap();
    assert!(call.contains("ends soon"), "{call}");
    assert_eq!(ending["grace"], Value::Null);
    consume(&app, "acme", "attribution_runs", 50).await;

    travel(&app, "2026-02-12T00:00:00Z");
    let grace = json!({"tier": "pro", "ends_at": "2026-02-19T00:00:00Z"});
    let lapsed = context_of(&app, "acme").await;
    assert_eq!(lapsed["plan"]["tier"], "free");
    assert_eq!(lapsed["limits"]["attribution_runs"], 100);
    assert_eq!(lapsed["grace"], grace);
    assert_eq!(lapsed["subscription"]["grace"], grace);
    // What the former plan allowed stays allowed, so it is not locked.
    assert_eq!(lapsed["locked"], json!([]));
    let period = &lapsed["usage"]["attribution_runs"]["period"];
    assert_eq!(period["start"], "2026-02-12T00:00:00Z");

    travel(&app, "2026-02-19T00:00:00Z");
    let over = context_of(&app, "acme").await;
    assert_eq!(over["grace"], Value::Null);
    assert_eq!(over["locked"][0]["feature"], "export");
}

#[actix_web::test]
async fn the_plan_context_is_kept_by_its_reader_alone() {
    let app = TestApp::start().await;
    let path = "/plan-context?customer_id=acme";
    let first = app.get(path).send().await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = async |known: &str| app.get(path).header("if-none-match", known).send().await;
    let (weak, listed) = (format!("W/{tag}"), format!("\"x\", {tag}"));
    for known in [tag.as_str(), &weak, &listed, "*"] {
        let answer = again(known).await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        for answer in [&answer, &first] {
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
            let mut vary = answer.headers.get_all("vary").into_iter();
            assert!(vary.any(|value| value.to_str().unwrap().contains("Authorization")));
        }
    }
    assert_eq!(again("\"x\"").await.status, 200);
    // Time alone changes nothing that is shown; usage does.
    app.advance(TimeDelta::hours(1));
    assert_eq!(again(&tag).await.status, 304);
    consume(&app, "acme", "attribution_runs", 1).await;
    let changed = again(&tag).await;
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    assert_eq!(changed.ok()["usage"]["attribution_runs"]["used"], 1);
    // A tag is no credential.
    let anonymous = app.get(path).anonymous().header("if-none-match", "*");
    anonymous.send().await.problem(401, "unauthorized");
}

#[actix_web::test]
async fn whoever_is_about_to_lose_a_plan_is_told() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let told = async |expected: Value| {
        app.apply_webhooks().await;
        let context = context_of(&app, "acme").await;
        assert_eq!(context["warnings"], expected);
    };
    let of = |kind: &str, message: &str| json!([{"kind": kind, "feature": null, "level": null, "message": message}]);
    told(json!([])).await;
    let change = async |change: fn(&mut Value)| {
        let event = app.stripe().update_subscription(&id, change);
        app.deliver([&event]).await;
    };

    change(|s| s["cancel_at_period_end"] = json!(true)).await;
    told(of("ends", "Your subscription ends on 2026-02-12.")).await;
    change(|s| s["cancel_at_period_end"] = json!(false)).await;
    told(json!([])).await;

    app.deliver(&app.stripe().fail_payment(&id)).await;
    told(of(
        "payment_failed",
        "A payment failed. What your plan allows stays until 2026-01-19.",
    ))
    .await;
    travel(&app, "2026-01-19T00:00:00Z");
    told(of(
        "payment_failed",
        "A payment failed. Pay what is due to have your plan back.",
    ))
    .await;
    app.deliver(&app.stripe().pay_overdue(&id)).await;
    told(json!([])).await;

    change(|s| s["pause_collection"] = json!({"behavior": "void", "resumes_at": null})).await;
    told(of("paused", "Your subscription is paused.")).await;
    change(|s| s["pause_collection"] = Value::Null).await;
    told(json!([])).await;

    change(|s| {
        s["status"] = json!("trialing");
        s["trial_end"] = json!(
            "2026-01-24T00:00:00Z"
                .parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
                .timestamp()
        );
    })
    .await;
    told(json!([])).await;
    travel(&app, "2026-01-21T00:00:00Z");
    told(of(
        "trial_ends",
        "Your trial ends on 2026-01-24; the first payment is taken then.",
    ))
    .await;

    app.deliver([&app.stripe().delete_subscription(&id)]).await;
    told(of(
        "grace",
        "What your former plan allowed stays until 2026-01-28.",
    ))
    .await;
    travel(&app, "2026-01-28T00:00:00Z");
    told(json!([])).await;
}
