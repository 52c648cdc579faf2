//! What operators see and put right: refused reports, and what the provider counts.

use chrono::TimeDelta;
use serde_json::json;

use super::{
    LIMIT, RUNS, assert_reports, at_the_limit, billed, gather_and_tell, reconcile, reports, tell,
};
use crate::fake_stripe::Endpoint;
use crate::support::app::TestApp;
use crate::support::steps::{consume, count, subscribe};

/// Ten and then five units were told; the provider finds out that it cannot use the five.
async fn refused() -> TestApp {
    let app = at_the_limit().await;
    for quantity in [10, 5] {
        consume(&app, "acme", RUNS, quantity).await;
        gather_and_tell(&app).await;
    }
    let identifier = app.stripe().meter_events()[1].identifier.clone();
    let event = app
        .stripe()
        .meter_error(&[&identifier], "meter_event_customer_not_found");
    app.deliver([&event]).await;
    app.apply_webhooks().await;
    app
}

#[actix_web::test]
async fn what_the_provider_could_not_use_is_kept_and_told_anew_when_asked_to() {
    let app = refused().await;
    assert_reports(&app, &[("sent", 10), ("refused", 5)]);
    tell(&app).await;
    assert_eq!(billed(&app), 10, "nothing is told again by itself");
    app.advance(TimeDelta::minutes(11));
    let found = reconcile(&app, false).await;
    let mut drift = json!({
        "customer_id": "acme", "feature": RUNS,
        "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"},
        "ledger": LIMIT + 15, "counter": LIMIT + 15, "reported_to_provider": 10, "provider_total": 10,
        "repaired": false
    });
    assert_eq!(found["drifts"], json!([drift]));
    drift["repaired"] = json!(true);
    assert_eq!(reconcile(&app, true).await["drifts"], json!([drift]));
    tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("retracted", 5), ("sent", 5)]);
    assert_eq!(billed(&app), 15);
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'usage.report_again' AND customer_id = 'acme'";
    assert_eq!(count(&app, audited), 1);
    app.advance(TimeDelta::minutes(11));
    assert_eq!(reconcile(&app, true).await["drifts"], json!([]));
}

#[actix_web::test]
async fn a_refusal_of_what_nobody_here_told_is_only_noted() {
    let app = at_the_limit().await;
    let event = app
        .stripe()
        .meter_error(&["somebody-else"], "meter_event_customer_not_found");
    app.deliver([&event]).await;
    app.apply_webhooks().await;
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM webhooks WHERE status = 'processed' AND event_id LIKE 'evt%' AND type LIKE 'v1.billing%'"
        ),
        1
    );
    assert_eq!(reports(&app), []);
}

#[actix_web::test]
async fn what_the_provider_counts_is_compared_with_what_it_was_told() {
    let app = at_the_limit().await;
    subscribe(&app, "other", "scale").await;
    consume(&app, "other", RUNS, LIMIT + 3).await;
    consume(&app, "acme", RUNS, 4).await;
    let asked = |app: &TestApp| app.stripe().requests_to(Endpoint::MeterSummaries).len();
    gather_and_tell(&app).await;
    assert_eq!(reconcile(&app, false).await["drifts"], json!([]));
    assert_eq!(asked(&app), 0, "its sums lag");
    app.advance(TimeDelta::minutes(11));
    let everybody = async || {
        let call = app.post("/admin/reconcile-usage").json(json!({}));
        call.send().await.ok()
    };
    let found = everybody().await;
    assert_eq!(
        (&found["checked"], &found["drifts"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(asked(&app), 2);
    // The provider lost one behind everybody's back.
    let identifier = app.stripe().meter_events()[0].identifier.clone();
    app.stripe().meter_error(&[&identifier], "lost");
    let found = everybody().await;
    let drifts = found["drifts"].as_array().unwrap();
    assert_eq!(drifts.len(), 1, "{found}");
    let told = drifts[0]["reported_to_provider"].as_i64().unwrap();
    assert!(told == 3 || told == 4);
    assert_eq!(drifts[0]["provider_total"], 0);
    assert_eq!(drifts[0]["repaired"], false);
}
