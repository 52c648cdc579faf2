//! Corrections of usage, and reconciliation.

use chrono::TimeDelta;
use diesel::prelude::*;
use serde_json::{Value, json};

use super::{check, put_override};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{
    assert_counters_equal_ledger, consume, count, grant, travel, usage_of,
};

const RUNS: &str = "attribution_runs";

async fn adjust(app: &TestApp, feature: &str, delta: i64, key: &str) -> Answer {
    let body = json!({"customer_id": "acme", "feature": feature, "delta": delta, "reason": "a ticket",
                      "idempotency_key": key});
    app.post("/admin/usage/adjust").json(body).send().await
}

async fn reconcile(app: &TestApp, body: Value) -> Value {
    app.post("/admin/reconcile-usage")
        .json(body)
        .send()
        .await
        .ok()
}

fn run(app: &TestApp, statement: &str) {
    diesel::sql_query(statement)
        .execute(&mut app.connect())
        .unwrap();
}

/// Writes into the ledger behind the service's back, a row for each quantity.
fn forge(app: &TestApp, feature: &str, period_start: &str, quantities: &[i64]) {
    for quantity in quantities {
        run(
            app,
            &format!(
                "INSERT INTO usage_events (customer_id, event_id, metric_name, period_start, operation, quantity, \
                                           occurred_at, recorded_at) \
                 VALUES ('acme', gen_random_uuid(), '{feature}', '{period_start}', 'consume', {quantity}, now(), now())"
            ),
        );
    }
}

#[actix_web::test]
async fn an_adjustment_is_an_entry_of_the_ledger() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    let first = adjust(&app, RUNS, -3, "down").await.ok();
    let event_id = first["event_id"].as_str().unwrap();
    assert!(event_id.starts_with("evt_"));
    assert_eq!(
        first,
        json!({"customer_id": "acme", "feature": RUNS, "kind": "metered", "allowed": true, "enforced": true,
            "reason": "within_limit", "requested": -3, "limit": 100, "limit_source": "plan", "hard_limit": 110,
            "used": 2, "held": 0, "remaining": 98, "percent_used": 2.0, "warning_level": null, "warnings_crossed": [],
            "overage": null, "plan": {"tier": "free", "version": 1, "status": "none", "source": "default"},
            "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "grace": null,
            "upgrade": {"tier": "pro", "reason": "higher_limit"}, "event_id": event_id, "as_of": "2026-01-12T00:00:00Z"})
    );
    let ledger = app.get("/usage/events?customer_id=acme").send().await.ok();
    let entry = &ledger["data"][0];
    assert_eq!(
        (
            &entry["operation"],
            &entry["quantity"],
            &entry["event_id"],
            &entry["idempotency_key"]
        ),
        (
            &json!("adjust"),
            &json!(-3),
            &json!(event_id),
            &json!("down")
        )
    );
    assert_eq!(
        ledger["data"].as_array().unwrap().len(),
        2,
        "nothing is ever overwritten"
    );
    let audit = app.get("/admin/audit").send().await.ok();
    let row = &audit["data"][0];
    assert_eq!(
        (&row["actor"], &row["action"], &row["customer_id"]),
        (&json!("admin-key"), &json!("usage.adjust"), &json!("acme"))
    );
    assert_eq!(
        (&row["details"]["delta"], &row["details"]["reason"]),
        (&json!(-3), &json!("a ticket"))
    );

    // Above the limit it is carried out all the same, and nothing more is admitted.
    let above = adjust(&app, RUNS, 500, "up").await.ok();
    assert_eq!(
        (&above["allowed"], &above["used"]),
        (&json!(true), &json!(502))
    );
    let more = json!({"customer_id": "acme", "feature": RUNS});
    app.post("/entitlements/consume")
        .json(more)
        .send()
        .await
        .problem(402, "limit-exceeded");
    // A gauge, and a customer who was never seen to use it.
    assert_eq!(adjust(&app, "models", 2, "models").await.ok()["used"], 2);
    assert_eq!(adjust(&app, "models", -2, "back").await.ok()["used"], 0);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_adjustment_counts_once_and_in_the_period_it_is_made_in() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    let first = adjust(&app, RUNS, 7, "k").await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.ok();
    for days in [0, 40, 400] {
        app.advance(TimeDelta::days(days));
        let again = adjust(&app, RUNS, 7, "k").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(), first);
    }
    adjust(&app, RUNS, 8, "k")
        .await
        .problem(422, "idempotency-key-reused");
    let adjustments = "SELECT count(*) FROM audit_log WHERE action = 'usage.adjust'";
    assert_eq!(count(&app, adjustments), 1);
    // By now nothing is used: what was counted earlier cannot be taken away from this period.
    adjust(&app, RUNS, -1, "late")
        .await
        .problem(409, "below-zero");
    assert_eq!(adjust(&app, RUNS, 1, "now").await.ok()["used"], 1);
    let by_header =
        json!({"customer_id": "acme", "feature": RUNS, "delta": 1, "reason": "a ticket"});
    let again = app
        .post("/admin/usage/adjust")
        .header("idempotency-key", "now")
        .json(by_header);
    let again = again.send().await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok()["used"], 1);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn an_adjustment_that_cannot_be_leaves_nothing_behind() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    adjust(&app, RUNS, -6, "k").await.problem(409, "below-zero");
    adjust(&app, RUNS, -i64::MAX, "k")
        .await
        .problem(409, "below-zero");
    adjust(&app, "models", -1, "k")
        .await
        .problem(409, "below-zero");
    adjust(&app, "nothing", 1, "k")
        .await
        .problem(404, "unknown-feature");
    for feature in ["lookback_days", "export"] {
        let problem = adjust(&app, feature, 1, "k")
            .await
            .problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], "/feature");
    }
    adjust(&app, RUNS, i64::MAX, "k")
        .await
        .problem(409, "conflict");
    let sound = json!({"customer_id": "acme", "feature": RUNS, "delta": 1, "reason": "r", "idempotency_key": "k"});
    for (change, pointer) in [
        (json!({"delta": 0}), "/delta"),
        (json!({"delta": i64::MIN}), "/delta"),
        (json!({"delta": 9_223_372_036_854_775_808_u64}), "/delta"),
        (json!({"delta": 1.5}), "/delta"),
        (json!({"delta": "1"}), "/delta"),
        (json!({"reason": ""}), "/reason"),
        (json!({"reason": "  "}), "/reason"),
        (json!({"reason": "r".repeat(501)}), "/reason"),
        (json!({"reason": "a\u{7}b"}), "/reason"),
        (json!({"idempotency_key": ""}), "/idempotency_key"),
        (json!({"idempotency_key": null}), "/idempotency_key"),
        (json!({"customer_id": "a b"}), "/customer_id"),
        (json!({"quantity": 1}), "/quantity"),
    ] {
        let mut body = sound.clone();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let answer = app.post("/admin/usage/adjust").json(body.clone());
        let problem = answer.send().await.problem(422, "validation-failed");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
    }
    for missing in [
        "customer_id",
        "feature",
        "delta",
        "reason",
        "idempotency_key",
    ] {
        let mut body = sound.clone();
        body.as_object_mut().unwrap().remove(missing);
        let answer = app.post("/admin/usage/adjust").json(body);
        let problem = answer.send().await.problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], format!("/{missing}"));
    }
    assert_eq!(usage_of(&app, "acme", RUNS).await["used"], 5);
    assert_eq!(count(&app, "SELECT count(*) FROM usage_events"), 1);
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM audit_log WHERE action = 'usage.adjust'"
        ),
        0
    );
    // To the last unit of 64 bits, and back to nothing.
    let top = i64::MAX - 5;
    assert_eq!(adjust(&app, RUNS, top, "k").await.ok()["used"], i64::MAX);
    let down = adjust(&app, RUNS, -i64::MAX, "down").await.ok();
    assert_eq!(down["used"], 0);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn reconciliation_finds_drifts_and_repairs_them_where_asked_to() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    consume(&app, "acme", "models", 1).await;
    consume(&app, "globex", RUNS, 3).await;
    assert_eq!(
        reconcile(&app, json!({})).await,
        json!({"checked": 3, "drifts": []})
    );
    assert_eq!(
        reconcile(&app, json!({"customer_id": "acme"})).await,
        json!({"checked": 2, "drifts": []})
    );
    assert_eq!(
        reconcile(&app, json!({"customer_id": "nobody", "repair": true})).await,
        json!({"checked": 0, "drifts": []})
    );

    run(&app, "UPDATE usage_metrics SET value = value + 7");
    let drift = |customer: &str, feature: &str, ledger: i64, repaired: bool| {
        let period = if feature == RUNS {
            json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"})
        } else {
            Value::Null
        };
        json!({"customer_id": customer, "feature": feature, "period": period, "ledger": ledger, "counter": ledger + 7,
               "reported_to_provider": null, "provider_total": null, "repaired": repaired})
    };
    let all = |repaired: bool| {
        json!([
            drift("acme", RUNS, 5, repaired),
            drift("acme", "models", 1, repaired),
            drift("globex", RUNS, 3, repaired)
        ])
    };
    let found = json!({"checked": 3, "drifts": all(false)});
    assert_eq!(reconcile(&app, json!({})).await, found);
    // Looking repairs nothing.
    assert_eq!(reconcile(&app, json!({"repair": false})).await, found);
    let repairs = "SELECT count(*) FROM audit_log WHERE action = 'usage.repair'";
    assert_eq!(count(&app, repairs), 0);

    let one = reconcile(&app, json!({"customer_id": "globex", "repair": true})).await;
    assert_eq!(
        one,
        json!({"checked": 1, "drifts": [drift("globex", RUNS, 3, true)]})
    );
    assert_eq!(usage_of(&app, "globex", RUNS).await["used"], 3);
    app.advance(TimeDelta::hours(1));
    let rest = reconcile(&app, json!({"repair": true})).await;
    assert_eq!(
        rest,
        json!({"checked": 3, "drifts": [drift("acme", RUNS, 5, true), drift("acme", "models", 1, true)]})
    );
    assert_eq!(
        reconcile(&app, json!({})).await,
        json!({"checked": 3, "drifts": []})
    );
    assert_eq!(consume(&app, "acme", RUNS, 1).await["used"], 6);
    assert_eq!(count(&app, repairs), 3);
    let audit = app.get("/admin/audit").send().await.ok();
    let row = audit["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["customer_id"] == "acme" && row["target"] == RUNS)
        .unwrap();
    assert_eq!(
        (&row["actor"], &row["action"]),
        (&json!("admin-key"), &json!("usage.repair"))
    );
    assert_eq!(
        row["details"],
        json!({"period_start": "2026-01-01T00:00:00Z", "counter": 12, "ledger": 5})
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_repair_shows_in_checks_at_once() {
    let app = TestApp::builder()
        .set("PLANGATE_CHECK_MAX_AGE_MS", "60000")
        .start()
        .await;
    consume(&app, "acme", RUNS, 5).await;
    run(&app, "UPDATE usage_metrics SET value = 12");
    let question = json!({"feature": RUNS});
    assert_eq!(check(&app, "acme", question.clone()).await["used"], 12);
    let repaired = reconcile(&app, json!({"repair": true})).await;
    assert_eq!(repaired["drifts"][0]["repaired"], true);
    assert_eq!(check(&app, "acme", question).await["used"], 5);
}

#[actix_web::test]
async fn a_missing_counter_comes_back_where_its_period_can_be_told() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    consume(&app, "acme", "models", 1).await;
    travel(&app, "2026-01-31T10:00:00Z");
    grant(&app, "acme", "pro").await;
    consume(&app, "acme", RUNS, 6).await;
    travel(&app, "2026-02-28T10:00:00Z");
    consume(&app, "acme", RUNS, 7).await;
    let counters = "SELECT count(*) FROM usage_metrics WHERE (metric_name, value, period_start, period_end) IN \
        (('attribution_runs', 5, '2026-01-01Z', '2026-01-31T10:00:00Z'), \
         ('attribution_runs', 6, '2026-01-31T10:00:00Z', '2026-02-28T10:00:00Z'), \
         ('attribution_runs', 7, '2026-02-28T10:00:00Z', '2026-03-31T10:00:00Z'))";
    assert_eq!(count(&app, counters), 3);
    run(&app, "DELETE FROM usage_metrics");
    // No period of this customer ever began there.
    forge(&app, RUNS, "2025-12-24T00:00:00Z", &[9]);

    let seen = reconcile(&app, json!({})).await;
    assert_eq!(seen["checked"], 0);
    let shown = |found: &Value| -> Vec<(Value, Value, Value)> {
        let drifts = found["drifts"].as_array().unwrap();
        drifts
            .iter()
            .map(|drift| {
                (
                    drift["ledger"].clone(),
                    drift["period"]["end"].clone(),
                    drift["repaired"].clone(),
                )
            })
            .collect()
    };
    let unknown = |ledger: i64| (json!(ledger), Value::Null, json!(false));
    assert_eq!(
        shown(&seen),
        [unknown(9), unknown(5), unknown(6), unknown(7), unknown(1)]
    );
    let repaired = reconcile(&app, json!({"repair": true})).await;
    let until = |ledger: i64, end: &str| (json!(ledger), json!(end), json!(true));
    assert_eq!(
        shown(&repaired),
        [
            unknown(9),
            until(5, "2026-01-31T10:00:00Z"),
            until(6, "2026-02-28T10:00:00Z"),
            until(7, "2026-03-31T10:00:00Z"),
            (json!(1), Value::Null, json!(true)),
        ]
    );
    assert_eq!(
        repaired["drifts"][0]["period"]["start"],
        "2025-12-24T00:00:00Z"
    );
    assert_eq!(repaired["drifts"][4]["period"], Value::Null);
    assert_eq!(count(&app, counters), 3);
    assert_eq!(usage_of(&app, "acme", RUNS).await["used"], 7);
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 1);
}

#[actix_web::test]
async fn a_sum_that_is_no_count_is_told_and_left_alone() {
    let app = TestApp::start().await;
    consume(&app, "acme", RUNS, 5).await;
    put_override(&app, "acme", "models", json!({"limit": 9, "reason": "r"}))
        .await
        .ok();
    consume(&app, "acme", "models", 2).await;
    forge(&app, RUNS, "2026-01-01T00:00:00Z", &[i64::MAX, i64::MAX]);
    forge(&app, "models", "1970-01-01T00:00:00Z", &[-3]);
    let found = reconcile(&app, json!({"repair": true})).await;
    let drifts = found["drifts"].as_array().unwrap();
    // Past 64 bits, which only the text of the answer still has exactly.
    let answer = app.post("/admin/reconcile-usage").json(json!({}));
    let text = answer.send().await.text;
    assert!(
        text.contains(r#""ledger":18446744073709551619,"counter":5"#),
        "{text}"
    );
    assert_eq!(
        (&drifts[1]["ledger"], &drifts[1]["counter"]),
        (&json!(-1), &json!(2))
    );
    for drift in drifts {
        assert_eq!(drift["repaired"], false, "{drift}");
    }
    assert_eq!(drifts.len(), 2);
    assert_eq!(usage_of(&app, "acme", RUNS).await["used"], 5);
    assert_eq!(usage_of(&app, "acme", "models").await["used"], 2);
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM audit_log WHERE action = 'usage.repair'"
        ),
        0
    );
}

#[actix_web::test]
async fn a_reconciliation_takes_nothing_else() {
    let app = TestApp::start().await;
    for (body, pointer) in [
        (json!({"customer_id": "a b"}), "/customer_id"),
        (json!({"repair": "yes"}), "/repair"),
        (json!({"repair": null}), "/repair"),
        (json!({"feature": RUNS}), "/feature"),
    ] {
        let call = app.post("/admin/reconcile-usage").json(body.clone());
        let problem = call.send().await.problem(422, "validation-failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
}
