//! Trials and promotion codes, where the catalogue has them.

use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{ask, hear, runs, stored};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{grant, subscribe, travel};

/// An application whose tier pro can be tried for two weeks, and takes promotion codes.
async fn generous() -> (TestApp, NamedTempFile) {
    let mut catalogue: Value =
        serde_json::from_str(include_str!("../../../catalogue/default.json")).unwrap();
    catalogue["tiers"][1]["trial_days"] = json!(14);
    catalogue["tiers"][1]["promotion_codes"] = json!(true);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    let app = TestApp::builder()
        .with_stripe()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .start()
        .await;
    (app, file)
}

/// The trial days and the promotion codes that each session was asked for with.
fn asked(app: &TestApp) -> Vec<(Option<String>, Option<String>)> {
    let sent = app.stripe().requests_to(Endpoint::CreateSession);
    let param =
        |params: &std::collections::BTreeMap<String, String>, name: &str| params.get(name).cloned();
    sent.iter()
        .map(|request| {
            (
                param(&request.params, "subscription_data[trial_period_days]"),
                param(&request.params, "allow_promotion_codes"),
            )
        })
        .collect()
}

#[actix_web::test]
async fn the_first_subscription_begins_with_a_trial_and_no_later_one_does() {
    let (app, _file) = generous().await;
    // What an operator gave was not bought.
    grant(&app, "acme", "pro").await;
    let id = subscribe(&app, "acme", "pro").await;
    let trial = stored(&app).await;
    assert_eq!(
        (&trial["status"], &trial["trial_end"]),
        (&json!("trialing"), &json!("2026-01-26T00:00:00Z"))
    );
    assert_eq!(runs(&app).await, 5000);
    let paid = app.stripe().charges();
    assert_eq!(paid.len(), 0);

    travel(&app, "2026-01-26T00:00:00Z");
    app.deliver(&app.stripe().end_period(&id)).await;
    app.apply_webhooks().await;
    assert_eq!(stored(&app).await["status"], "active");
    ask(&app, "cancel", json!({"when": "now"})).await.ok();
    hear(&app).await;

    subscribe(&app, "acme", "pro").await;
    let second = stored(&app).await;
    assert_eq!(
        (&second["status"], &second["trial_end"]),
        (&json!("active"), &Value::Null)
    );
    let yes = || Some("true".to_owned());
    assert_eq!(asked(&app), [(Some("14".to_owned()), yes()), (None, yes())]);
}

#[actix_web::test]
async fn a_tier_without_them_asks_for_neither() {
    let (app, _file) = generous().await;
    subscribe(&app, "acme", "scale").await;
    assert_eq!(stored(&app).await["status"], "active");
    assert_eq!(asked(&app), [(None, None)]);
}

#[actix_web::test]
async fn a_repeated_attempt_asks_for_the_same_trial() {
    let (app, _file) = generous().await;
    app.stripe()
        .fail(Endpoint::CreateSession, Fault::DropAfterEffect, 3);
    let order = json!({"plan_tier": "pro"});
    let lost = ask(&app, "create-checkout", order.clone()).await;
    lost.problem(502, "provider-failed");
    ask(&app, "create-checkout", order).await.expect(201);
    let asked = asked(&app);
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|each| *each == asked[0]), "{asked:?}");
    assert_eq!(asked[0].0.as_deref(), Some("14"));
    assert_eq!(app.stripe().sessions().len(), 1);
}
