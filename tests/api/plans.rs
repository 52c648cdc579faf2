//! The price list over HTTP.

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;

fn pro() -> Value {
    json!({
        "tier": "pro", "name": "Pro", "version": 1,
        "description": "For small and mid-size marketing teams: several models, two months of data, export.",
        "prices": [{"currency": "usd", "unit_amount": 4900, "interval": "month"}],
        "limits": {"attribution_runs": 5000, "models": 3, "lookback_days": 60, "export": true},
        "features": [
            {"key": "attribution_runs", "name": "Attribution runs", "kind": "metered", "limit": 5000, "period": "month",
             "hard_limit_percent": 110, "hard_limit": 5500, "overage": null},
            {"key": "models", "name": "Models", "kind": "allocated", "limit": 3, "period": null,
             "hard_limit_percent": null, "hard_limit": 3, "overage": null},
            {"key": "lookback_days", "name": "Look-back days", "kind": "static", "limit": 60, "period": null,
             "hard_limit_percent": null, "hard_limit": null, "overage": null},
            {"key": "export", "name": "Export", "kind": "boolean", "limit": true, "period": null,
             "hard_limit_percent": null, "hard_limit": null, "overage": null},
        ],
        "upgrade_to": "scale",
    })
}

async fn get(app: &TestApp, path: &str) -> Answer {
    app.get(path).anonymous().send().await
}

#[actix_web::test]
async fn anybody_reads_the_price_list() {
    let app = TestApp::start().await;
    assert_eq!(get(&app, "/plans/pro").await.ok(), pro());
    let list = get(&app, "/plans").await.ok();
    assert_eq!(list["default_tier"], "free");
    let plans = list["data"].as_array().unwrap();
    let tiers: Vec<_> = plans.iter().map(|plan| &plan["tier"]).collect();
    assert_eq!(tiers, ["free", "pro", "scale"]);
    assert_eq!(plans[1], pro());
    for plan in plans {
        let path = format!("/plans/{}", plan["tier"].as_str().unwrap());
        assert_eq!(&get(&app, &path).await.ok(), plan);
    }
    let (free, scale) = (&plans[0], &plans[2]);
    assert_eq!(
        free["prices"],
        json!([{"currency": "usd", "unit_amount": 0, "interval": "month"}])
    );
    assert_eq!(
        free["limits"],
        json!({"attribution_runs": 100, "models": 1, "lookback_days": 7, "export": false})
    );
    assert_eq!(free["features"][0]["hard_limit"], 110);
    assert_eq!(free["upgrade_to"], "pro");
    assert_eq!(
        scale["features"][0],
        json!({"key": "attribution_runs", "name": "Attribution runs", "kind": "metered", "limit": 25_000,
               "period": "month", "hard_limit_percent": null, "hard_limit": null,
               "overage": {"unit_amount_decimal": "1", "currency": "usd", "max_quantity": null}})
    );
    assert_eq!(
        scale["limits"],
        json!({"attribution_runs": 25_000, "models": 10, "lookback_days": 180, "export": true})
    );
    assert_eq!(scale["upgrade_to"], Value::Null);
    // A credential is not looked at.
    app.get("/plans").key("nonsense").send().await.ok();
}

#[actix_web::test]
async fn a_tier_that_the_catalogue_does_not_have_is_unknown() {
    let app = TestApp::start().await;
    for tier in [
        "gold",
        "PRO",
        "pro%20",
        "%70ro%2e",
        "..%2fpro",
        "x".repeat(5000).as_str(),
    ] {
        let problem = get(&app, &format!("/plans/{tier}")).await;
        problem.problem(404, "unknown-plan");
    }
    get(&app, "/plans/%00").await.problem(404, "not-found");
    get(&app, "/plans/").await.problem(404, "not-found");
    let wrong = app.post("/plans").anonymous().send().await;
    assert_eq!(wrong.header("allow"), Some("GET, HEAD"));
    wrong.problem(405, "method-not-allowed");
}

#[actix_web::test]
async fn the_price_list_is_kept_and_asked_for_again_by_its_tag() {
    let app = TestApp::start().await;
    let mut tags = Vec::new();
    for path in ["/plans", "/plans/pro", "/plans/scale"] {
        let first = get(&app, path).await;
        assert_eq!(first.header("cache-control"), Some("public, max-age=60"));
        assert_eq!(first.header("content-type"), Some("application/json"));
        let tag = first.header("etag").unwrap().to_owned();
        let again = async |known: &str| {
            let call = app.get(path).anonymous().header("if-none-match", known);
            call.send().await
        };
        let weak = format!("W/{tag}");
        let listed = format!("\"another\", {tag}");
        for known in [tag.as_str(), &weak, &listed, "*"] {
            let answer = again(known).await;
            assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
        }
        for other in ["\"another\"", "nonsense", ""] {
            assert_eq!(again(other).await.status, 200, "{other}");
        }
        tags.push(tag);
    }
    tags.dedup();
    assert_eq!(tags.len(), 3);
}
