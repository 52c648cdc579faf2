//! Recording what already happened.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{changed, event, post, record, runs_used, statuses};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, count};

const CLOUD_EVENT: &str = "application/cloudevents+json";
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

#[actix_web::test]
async fn recorded_usage_counts_once_for_each_id_of_a_customer() {
    let app = TestApp::start().await;
    let first = record(&app, &[event("a", 3), event("b", 4), event("b", 4)]).await;
    assert_eq!(
        first,
        [
            json!({"id": "a", "status": "recorded"}),
            json!({"id": "b", "status": "recorded"}),
            json!({"id": "b", "status": "duplicate"}),
        ]
    );
    let others = changed(&event("a", 5), json!({"customer_id": "globex"}));
    let again = record(&app, &[event("a", 3), event("b", 5), others, event("c", 1)]).await;
    assert_eq!(
        statuses(&again),
        ["duplicate", "invalid", "recorded", "recorded"]
    );
    let reused = again[1]["error"].as_str().unwrap();
    assert!(reused.contains("idempotency key"), "{reused}");
    // Whatever differs makes another payload.
    for difference in [
        json!({"occurred_at": "2026-01-11T00:00:00Z"}),
        json!({"properties": {"model": "linear"}}),
        json!({"feature": "models"}),
    ] {
        let results = record(&app, &[changed(&event("a", 3), difference.clone())]).await;
        assert_eq!(statuses(&results), ["invalid"], "{difference}");
    }
    assert_eq!(runs_used(&app, "acme").await, 8);
    assert_eq!(runs_used(&app, "globex").await, 5);
    // A consume under the same key is another operation.
    let body =
        json!({"customer_id": "acme", "feature": "attribution_runs", "idempotency_key": "a"});
    let consumed = app.post("/entitlements/consume").json(body).send().await;
    assert_eq!(consumed.header("idempotency-replayed"), None);
    assert_eq!(consumed.ok()["used"], 9);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn one_bad_event_does_not_fail_the_others() {
    let app = TestApp::start().await;
    let good = event("bad", 1);
    let bad = [
        (json!({"quantity": -1}), "at least 1"),
        (json!({"quantity": 0}), "at least 1"),
        (json!({"quantity": 1.5}), "quantity"),
        (json!({"quantity": 2.0}), "quantity"),
        (json!({"quantity": "2"}), "quantity"),
        (json!({"quantity": true}), "quantity"),
        (
            json!({"quantity": 9_223_372_036_854_775_808_u64}),
            "quantity",
        ),
        (json!({"quantity": 1e300}), "quantity"),
        (json!({"quantity": null}), "quantity"),
        (json!({"customer_id": null}), "customer_id"),
        (json!({"customer_id": ".."}), "customer"),
        (json!({"customer_id": "a b"}), "customer"),
        (json!({"customer_id": "a\u{0}"}), "U+0000"),
        (json!({"feature": null}), "feature"),
        (json!({"feature": "time_travel"}), "time_travel"),
        (json!({"feature": "models"}), "metered"),
        (json!({"feature": "lookback_days"}), "metered"),
        (json!({"feature": "export"}), "metered"),
        (json!({"id": ""}), "idempotency key"),
        (json!({"id": "x".repeat(256)}), "idempotency key"),
        (json!({"id": "a\u{0}b"}), "U+0000"),
        (json!({"id": "a\nb"}), "idempotency key"),
        (json!({"id": 7}), "id"),
        (json!({"id": null}), "id"),
        (json!({"occurred_at": "yesterday"}), "occurred_at"),
        (json!({"occurred_at": "2026-01-12T00:05:01Z"}), "future"),
        (json!({"occurred_at": 1_767_225_600}), "occurred_at"),
        (json!({"properties": [1]}), "properties"),
        (json!({"properties": {"note": "\u{0}"}}), "U+0000"),
        (json!({"value": 1}), "value"),
    ];
    let mut events = vec![event("first", 1)];
    events.extend(bad.iter().map(|(change, _)| changed(&good, change.clone())));
    events.extend([json!(5), json!("x"), json!([]), json!([1, 2]), Value::Null]);
    events.push(event("last", 2));
    let results = record(&app, &events).await;
    assert_eq!(results.len(), events.len());
    assert_eq!(results[0], json!({"id": "first", "status": "recorded"}));
    assert_eq!(
        results.last().unwrap(),
        &json!({"id": "last", "status": "recorded"})
    );
    for ((change, named), result) in bad.iter().zip(&results[1..]) {
        assert_eq!(result["status"], "invalid", "{change}: {result}");
        let error = result["error"].as_str().unwrap();
        assert!(error.contains(named), "{change}: {error}");
        let id = change.get("id").unwrap_or(&good["id"]);
        if id.is_string() || id.is_null() {
            assert_eq!(&result["id"], id, "{change}");
        }
    }
    assert!(
        results[bad.len() + 1..results.len() - 1]
            .iter()
            .all(|r| r["status"] == "invalid" && r["id"].is_null())
    );
    // What no JSON value of ours can hold, and a repeated member, are the fault of their event as well.
    let body = br#"{"events":[
        {"id":"huge","customer_id":"acme","feature":"attribution_runs","quantity":1e400},
        {"id":"twice","customer_id":"acme","feature":"attribution_runs","quantity":1,"quantity":2},
        {"id":"fine","customer_id":"acme","feature":"attribution_runs","quantity":4}]}"#;
    let answer = app
        .post("/usage")
        .body("application/json", body.as_slice())
        .send()
        .await
        .ok();
    assert_eq!(
        statuses(answer["results"].as_array().unwrap()),
        ["invalid", "invalid", "recorded"],
        "{answer}"
    );
    assert_eq!(runs_used(&app, "acme").await, 7);
    assert_eq!(
        count(&app, "SELECT count(*) FROM customers"),
        1,
        "bad events make no customer"
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_call_takes_one_to_a_thousand_events() {
    let app = TestApp::start().await;
    let many: Vec<Value> = (0..=1000).map(|n| event(&format!("{n}"), 1)).collect();
    for (body, pointer) in [
        (json!({"events": []}), "/events"),
        (json!({"events": many}), "/events"),
        (json!({"events": 5}), "/events"),
        (json!({}), "/events"),
        (
            json!({"events": [event("a", 1)], "dry_run": true}),
            "/dry_run",
        ),
        (json!([event("a", 1)]), ""),
        (json!([[event("a", 1)]]), ""),
        (Value::Null, ""),
    ] {
        let problem = post(&app, body).await.problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 0);
    let results = record(&app, &many[..1000]).await;
    assert!(results.iter().all(|result| result["status"] == "recorded"));
    let again = record(&app, &many[1..]).await;
    assert_eq!(
        again.iter().filter(|r| r["status"] == "duplicate").count(),
        999
    );
    assert_eq!(again[999]["status"], "recorded");
    assert_eq!(runs_used(&app, "acme").await, 1001);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn cloud_events_are_taken_single_and_in_batches() {
    let app = TestApp::start().await;
    let cloud = json!({"specversion": "1.0", "id": "1", "source": "runner", "type": "attribution_runs", "subject": "acme",
                       "time": "2026-01-11T00:00:00Z", "data": {"quantity": 3, "model": "linear"},
                       "datacontenttype": "application/json", "traceparent": "00-0-0-00"});
    let send = async |media_type: &str, body: &Value| {
        let call = app.post("/usage").body(media_type, body.to_string());
        call.send().await
    };
    let status = async |media_type: &str, body: &Value| {
        let body = send(media_type, body).await.ok();
        assert_eq!(body["results"].as_array().unwrap().len(), 1);
        body["results"][0]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(CLOUD_EVENT, &cloud).await, "recorded");
    assert_eq!(
        status("application/cloudevents+json; charset=UTF-8", &cloud).await,
        "duplicate"
    );
    let batch = json!([
        cloud,
        changed(&cloud, json!({"source": "another"})),
        changed(&cloud, json!({"data": {"quantity": 4}})),
        changed(&cloud, json!({"id": "2", "data": null, "time": null})),
        changed(&cloud, json!({"id": "3", "data": {"model": "linear"}})),
        changed(&cloud, json!({"id": "4", "specversion": "0.3"})),
        changed(&cloud, json!({"id": "5", "specversion": null})),
        changed(&cloud, json!({"id": "6", "subject": null})),
        changed(&cloud, json!({"id": "7", "source": ""})),
        changed(&cloud, json!({"id": "8", "source": "s".repeat(256)})),
        changed(&cloud, json!({"id": "9", "data": {"quantity": -1}})),
        changed(&cloud, json!({"id": "10", "data": {"quantity": "3"}})),
        changed(&cloud, json!({"id": "11", "data": "text"})),
        changed(&cloud, json!({"id": "12", "type": "models"})),
        "no event",
    ]);
    let answer = send(CLOUD_EVENTS, &batch).await.ok();
    let results = answer["results"].as_array().unwrap();
    let mut words = vec!["duplicate", "recorded", "invalid", "recorded", "recorded"];
    words.resize(results.len(), "invalid");
    assert_eq!(statuses(results), words, "{answer}");
    assert!(
        results[5]["error"]
            .as_str()
            .unwrap()
            .contains("specversion")
    );
    // 3 and 3 by two sources, 1 and 1 without a quantity.
    assert_eq!(runs_used(&app, "acme").await, 8);
    // An event of ours under the same id has no source, and is another one.
    assert_eq!(
        statuses(&record(&app, &[event("1", 1)]).await),
        ["recorded"]
    );
    let ledger = app
        .get("/usage/events?customer_id=acme&limit=5")
        .send()
        .await
        .ok();
    let oldest = &ledger["data"][4];
    assert_eq!(oldest["source"], "runner");
    assert_eq!(oldest["properties"], json!({"model": "linear"}));
    assert_eq!(oldest["occurred_at"], "2026-01-11T00:00:00Z");

    let many: Vec<Value> = (0..=1000)
        .map(|n| changed(&cloud, json!({"id": n.to_string()})))
        .collect();
    for body in [json!([]), json!(many), cloud.clone()] {
        send(CLOUD_EVENTS, &body)
            .await
            .problem(422, "validation-failed");
    }
    let unsupported = [
        "application/xml",
        "text/plain",
        "application/cloudevents",
        "application/cloudevents+json; charset=latin1",
        "application/vnd.x+json",
        "json",
    ];
    for media_type in unsupported {
        send(media_type, &cloud)
            .await
            .problem(415, "unsupported-media-type");
    }
    let answer = app.post("/usage").send().await;
    answer.problem(415, "unsupported-media-type");
    let coded = app
        .post("/usage")
        .json(json!({"events": []}))
        .header("content-encoding", "gzip");
    coded.send().await.problem(415, "unsupported-media-type");
    for body in ["", "{", "{\"events\": [}", "\u{feff}{}"] {
        let call = app.post("/usage").body("application/json", body);
        call.send().await.problem(400, "malformed-json");
    }
    app.advance(TimeDelta::days(1));
    assert_eq!(runs_used(&app, "acme").await, 9);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_instant_that_no_calendar_writes_is_the_fault_of_its_event_alone() {
    let app = TestApp::start().await;
    let event = |id: &str, occurred_at: &str| {
        json!({"id": id, "customer_id": "acme", "feature": "attribution_runs", "quantity": 1,
        "occurred_at": occurred_at})
    };
    let events = [
        event("good", "2026-01-12T00:00:00Z"),
        event("before-christ", "-9000-01-01T00:00:00Z"),
        event("first-year", "0000-01-01T00:00:00Z"),
        event("blank", "2026-01-12 00:00:00Z"),
        event("far", "+262142-12-31T23:59:59Z"),
        event("last-year", "9999-12-31T23:59:59Z"),
    ];
    let answer = app
        .post("/usage")
        .json(json!({"events": events}))
        .send()
        .await
        .ok();
    let statuses: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        [
            "recorded", "invalid", "invalid", "invalid", "invalid", "invalid"
        ],
        "{answer}"
    );
    let history = "/usage/history?customer_id=acme&feature=attribution_runs&granularity=month";
    for range in [
        "from=-9000-01-01&to=-8900-01-01",
        "from=2026-01-01T00:00:00Z&to=%2B262142-12-31T23:59:59Z",
    ] {
        app.get(&format!("{history}&{range}"))
            .send()
            .await
            .problem(400, "malformed-request");
    }
    let until = json!({"customer_id": "acme", "plan_tier": "pro", "until": "+262142-12-31T23:59:59Z", "reason": "x"});
    let refused = app
        .post("/admin/subscriptions")
        .json(until)
        .send()
        .await
        .problem(422, "validation-failed");
    assert_eq!(refused["errors"][0]["pointer"], "/until");
}
