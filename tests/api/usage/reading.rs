//! Looking back at what was used.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{changed, event, record};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, consume, travel};

#[actix_web::test]
async fn history_sums_usage_by_the_time_it_happened() {
    let app = TestApp::start().await;
    travel(&app, "2026-02-02T12:00:00Z");
    let on = |id: &str, quantity: i64, occurred_at: &str| {
        changed(&event(id, quantity), json!({"occurred_at": occurred_at}))
    };
    record(
        &app,
        &[
            on("a", 1, "2026-01-10T00:00:00Z"),
            on("b", 2, "2026-01-10T00:59:59Z"),
            on("c", 4, "2026-01-10T01:00:00Z"),
            on("d", 8, "2026-01-31T23:59:59Z"),
            on("e", 16, "2026-02-01T00:00:00Z"),
        ],
    )
    .await;
    consume(&app, "acme", "attribution_runs", 32).await;
    let put = json!({"customer_id": "acme", "feature": "models", "value": 3});
    app.put("/entitlements/allocated")
        .json(put)
        .send()
        .await
        .ok();
    let give = json!({"customer_id": "acme", "feature": "models", "quantity": 2});
    app.post("/entitlements/release")
        .json(give)
        .send()
        .await
        .ok();
    let history = async |query: &str| {
        let path = format!("/usage/history?customer_id=acme&{query}");
        app.get(&path).send().await
    };
    let point = |start: &str, quantity: i64, events: i64| json!({"start": start, "quantity": quantity, "events": events});
    let runs = "feature=attribution_runs";
    // By default the days of the current period, what happened at this very instant included.
    assert_eq!(
        history(runs).await.ok(),
        json!({"customer_id": "acme", "feature": "attribution_runs", "granularity": "day",
               "from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z",
               "data": [point("2026-02-01T00:00:00Z", 16, 1), point("2026-02-02T00:00:00Z", 32, 1)]})
    );
    for (query, data) in [
        (
            "granularity=hour&from=2026-01-10&to=2026-01-11",
            json!([
                point("2026-01-10T00:00:00Z", 3, 2),
                point("2026-01-10T01:00:00Z", 4, 1)
            ]),
        ),
        (
            "granularity=day&from=2026-01-01T00:00:00Z&to=2026-02-03",
            json!([
                point("2026-01-10T00:00:00Z", 7, 3),
                point("2026-01-31T00:00:00Z", 8, 1),
                point("2026-02-01T00:00:00Z", 16, 1),
                point("2026-02-02T00:00:00Z", 32, 1)
            ]),
        ),
        (
            "granularity=month&from=2026-01-01&to=2026-02-03",
            json!([
                point("2026-01-01T00:00:00Z", 15, 4),
                point("2026-02-01T00:00:00Z", 48, 2)
            ]),
        ),
        // `from` belongs to it, `to` does not; a zone is understood.
        (
            "granularity=day&from=2026-01-10T00:59:59Z&to=2026-01-31T23:59:59Z",
            json!([point("2026-01-10T00:00:00Z", 6, 2)]),
        ),
        (
            "granularity=hour&from=2026-01-10T03:00:00%2B02:00&to=2026-01-10T04:00:00%2B02:00",
            json!([point("2026-01-10T01:00:00Z", 4, 1)]),
        ),
        ("from=2030-01-01&to=2030-01-02", json!([])),
    ] {
        assert_eq!(
            history(&format!("{runs}&{query}")).await.ok()["data"],
            data,
            "{query}"
        );
    }
    app.advance(TimeDelta::seconds(1));
    let models = history("feature=models&granularity=month").await.ok();
    assert_eq!(models["data"], json!([point("2026-02-01T00:00:00Z", 1, 2)]));

    for (query, pointer) in [
        ("feature=attribution_runs&granularity=week", "/granularity"),
        ("feature=attribution_runs&from=yesterday", "/from"),
        ("feature=attribution_runs&to=2026-02-30", "/to"),
        (
            "feature=attribution_runs&from=2026-01-02&to=2026-01-02",
            "/from",
        ),
        (
            "feature=attribution_runs&from=2026-01-03&to=2026-01-02",
            "/from",
        ),
        (
            "feature=attribution_runs&granularity=hour&from=1970-01-01&to=2026-01-01",
            "/from",
        ),
        ("feature=attribution_runs&page=2", "/page"),
        ("feature=attribution_runs&feature=models", "/feature"),
        ("feature=lookback_days", "/feature"),
        ("feature=export", "/feature"),
        ("granularity=day", "/feature"),
    ] {
        let problem = history(query).await.problem(400, "malformed-request");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{query}: {problem}"
        );
    }
    history("feature=time_travel")
        .await
        .problem(404, "unknown-feature");
    let nobody = app.get("/usage/history?feature=models").send().await;
    let problem = nobody.problem(400, "malformed-request");
    assert_eq!(problem["errors"][0]["pointer"], "/customer_id");
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn the_ledger_is_read_page_by_page_newest_first() {
    let app = TestApp::start().await;
    let events: Vec<Value> = (0..22)
        .map(|n| event(&format!("run-{n:02}"), n + 1))
        .collect();
    record(&app, &events).await;
    let body = json!({"customer_id": "acme", "feature": "models", "idempotency_key": "model-1",
                      "properties": {"name": "linear"}});
    let consumed = app
        .post("/entitlements/consume")
        .json(body)
        .send()
        .await
        .ok();
    let others = changed(&event("theirs", 1), json!({"customer_id": "globex"}));
    record(&app, &[others]).await;

    let page = async |query: &str| {
        let path = format!("/usage/events?customer_id=acme{query}");
        app.get(&path).send().await
    };
    let first = page("").await.ok();
    assert_eq!(first["data"].as_array().unwrap().len(), 20);
    assert_eq!(
        first["data"][0],
        json!({"event_id": consumed["event_id"], "feature": "models", "operation": "consume", "quantity": 1,
               "idempotency_key": "model-1", "source": null, "properties": {"name": "linear"},
               "occurred_at": "2026-01-12T00:00:00Z", "recorded_at": "2026-01-12T00:00:00Z"})
    );
    assert!(consumed["event_id"].as_str().unwrap().starts_with("evt_"));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = page(&format!("&cursor={cursor}")).await.ok();
    assert_eq!(second["data"].as_array().unwrap().len(), 3);
    assert_eq!(second["next_cursor"], Value::Null);

    // Small pages tile the list: nothing twice, nothing left out, though something new arrives meanwhile.
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let listing = page(&format!("&feature=attribution_runs&limit=5{cursor}"))
            .await
            .ok();
        keys.extend(
            listing["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["idempotency_key"].clone()),
        );
        if keys.len() == 5 {
            record(&app, &[event("meanwhile", 1)]).await;
        }
        match listing["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let newest_first: Vec<Value> = (0..22)
        .rev()
        .map(|n| json!(format!("run-{n:02}")))
        .collect();
    assert_eq!(keys, newest_first);
    let exact = page("&limit=100").await.ok();
    assert_eq!(exact["data"].as_array().unwrap().len(), 24);
    assert_eq!(exact["next_cursor"], Value::Null);

    for (query, pointer) in [
        ("&limit=0", "/limit"),
        ("&limit=101", "/limit"),
        ("&limit=-1", "/limit"),
        ("&limit=abc", "/limit"),
        ("&limit=1.0", "/limit"),
        ("&limit=", "/limit"),
        ("&limit=99999999999999999999", "/limit"),
        ("&cursor=abc", "/cursor"),
        ("&cursor=", "/cursor"),
        // A well-made cursor of no list: `["x"]`.
        ("&cursor=WyJ4Il0", "/cursor"),
        ("&limit=5&limit=6", "/limit"),
        ("&offset=5", "/offset"),
    ] {
        let problem = page(query).await.problem(400, "malformed-request");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{query}: {problem}"
        );
    }
    page("&feature=time_travel")
        .await
        .problem(404, "unknown-feature");
    assert_counters_equal_ledger(&app);
}
