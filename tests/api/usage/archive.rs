//! Old months of the ledger, moved aside as the runbook says.

use chrono::TimeDelta;
use diesel::prelude::*;
use serde_json::json;

use super::{event, record, statuses};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, consume, travel};

/// Runs the operator's statement; returns how many rows it moved.
fn archive(app: &TestApp, before: &str) -> usize {
    let statement = include_str!("../../../ops/archive-ledger.sql");
    let statement = statement.replace(":before", &format!("'{before}'"));
    diesel::sql_query(statement)
        .execute(&mut app.connect())
        .unwrap()
}

#[actix_web::test]
async fn archived_months_still_count_and_their_keys_are_still_remembered() {
    let app = TestApp::start().await;
    let keyed = json!({"customer_id": "acme", "feature": "attribution_runs", "quantity": 7, "idempotency_key": "k"});
    let consume_keyed = || app.post("/entitlements/consume").json(keyed.clone()).send();
    let first = consume_keyed().await.ok();
    record(&app, &[event("late", 3)]).await;
    consume(&app, "acme", "models", 1).await;
    let history = "/usage/history?customer_id=acme&feature=attribution_runs&from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
    let before = (
        app.get("/usage/events?customer_id=acme").send().await.ok(),
        app.get(history).send().await.ok(),
    );

    travel(&app, "2026-03-10T00:00:00Z");
    consume(&app, "acme", "attribution_runs", 5).await;
    assert_eq!(archive(&app, "2026-03-01"), 3);
    assert_eq!(archive(&app, "2026-03-01"), 0);
    let left: i64 = plangate::store::schema::usage_events::table
        .count()
        .get_result(&mut app.connect())
        .unwrap();
    assert_eq!(left, 1);

    let again = consume_keyed().await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    assert_eq!(
        statuses(&record(&app, &[event("late", 3)]).await),
        ["duplicate"]
    );
    assert_eq!(app.get(history).send().await.ok()["data"], before.1["data"]);
    let events = app.get("/usage/events?customer_id=acme").send().await.ok();
    assert_eq!(
        events["data"].as_array().unwrap()[1..],
        before.0["data"].as_array().unwrap()[..]
    );
    assert_counters_equal_ledger(&app);
    app.advance(TimeDelta::days(1));
    consume(&app, "acme", "attribution_runs", 5).await;
    assert_counters_equal_ledger(&app);
}
