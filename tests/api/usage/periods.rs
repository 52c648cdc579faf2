//! Usage and its periods.

use serde_json::{Value, json};

use super::{changed, event, record, runs_used, statuses};
use crate::support::app::TestApp;
use crate::support::steps::{
    assert_counters_equal_ledger, consume, count, grant, travel, usage_of,
};

#[actix_web::test]
async fn recording_is_never_denied_and_usage_tells_how_full_it_is() {
    let app = TestApp::start().await;
    let expected = |used: i64, remaining: i64, percent: f64, level: Value| {
        json!({"feature": "attribution_runs", "kind": "metered", "used": used, "held": 0, "limit": 100, "hard_limit": 110,
               "remaining": remaining, "percent_used": percent, "warning_level": level, "overage": null,
               "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
               "resets_at": "2026-02-01T00:00:00Z"})
    };
    for (id, quantity, metric) in [
        ("a", 79, expected(79, 21, 79.0, Value::Null)),
        ("b", 1, expected(80, 20, 80.0, json!(80))),
        ("c", 15, expected(95, 5, 95.0, json!(90))),
        ("d", 5, expected(100, 0, 100.0, json!(100))),
        ("e", 1033, expected(1133, 0, 1133.0, json!(100))),
    ] {
        record(&app, &[event(id, quantity)]).await;
        assert_eq!(usage_of(&app, "acme", "attribution_runs").await, metric);
    }
    let largest = record(&app, &[event("f", i64::MAX), event("g", i64::MAX - 1133)]).await;
    assert_eq!(statuses(&largest), ["invalid", "recorded"]);
    assert!(largest[0]["error"].as_str().unwrap().contains("64 bits"));
    assert_eq!(runs_used(&app, "acme").await, i64::MAX);

    consume(&app, "acme", "models", 1).await;
    let usage = app.get("/usage?customer_id=acme").send().await.ok();
    assert_eq!(usage["customer_id"], "acme");
    assert_eq!(usage["as_of"], "2026-01-12T00:00:00Z");
    assert_eq!(
        usage["plan"],
        json!({"tier": "free", "version": 1, "status": "none", "source": "default"})
    );
    assert_eq!(
        usage["metrics"][1],
        json!({"feature": "models", "kind": "allocated", "used": 1, "held": 0, "limit": 1, "hard_limit": 1, "remaining": 0,
               "percent_used": 100.0, "warning_level": 100, "overage": null, "period": null, "resets_at": null})
    );
    assert_eq!(usage["metrics"].as_array().unwrap().len(), 2);

    grant(&app, "big", "scale").await;
    let runs = changed(&event("big", 25_012), json!({"customer_id": "big"}));
    record(&app, &[runs]).await;
    assert_eq!(
        usage_of(&app, "big", "attribution_runs").await,
        json!({"feature": "attribution_runs", "kind": "metered", "used": 25_012, "held": 0, "limit": 25_000,
               "hard_limit": null, "remaining": 0, "percent_used": 100.04, "warning_level": 100,
               "overage": {"quantity": 12, "amount_decimal": "12", "currency": "usd"},
               "period": {"start": "2026-01-12T00:00:00Z", "end": "2026-02-12T00:00:00Z"},
               "resets_at": "2026-02-12T00:00:00Z"})
    );
    // A customer never seen has used nothing, and looking at one makes none.
    assert_eq!(runs_used(&app, "nobody").await, 0);
    assert_eq!(count(&app, "SELECT count(*) FROM customers"), 2);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn late_usage_belongs_to_its_own_period_until_three_days_after_its_end() {
    let app = TestApp::start().await;
    let on =
        |id: &str, occurred_at: &str| changed(&event(id, 2), json!({"occurred_at": occurred_at}));
    consume(&app, "acme", "attribution_runs", 5).await;
    travel(&app, "2026-02-03T23:59:59Z");
    consume(&app, "acme", "attribution_runs", 1).await;
    let results = record(
        &app,
        &[
            on("january", "2026-01-31T23:59:59.999Z"),
            on("february", "2026-02-01T00:00:00Z"),
            on("skewed", "2026-02-04T00:04:00Z"),
            on("zoned", "2026-02-01T01:30:00+02:00"),
            on("december", "2025-12-31T23:59:59Z"),
            on("long ago", "1970-01-01T00:00:00Z"),
        ],
    )
    .await;
    let words = [
        "recorded", "recorded", "recorded", "recorded", "invalid", "invalid",
    ];
    assert_eq!(statuses(&results), words, "{results:?}");
    assert!(results[4]["error"].as_str().unwrap().contains("closed"));
    assert_eq!(runs_used(&app, "acme").await, 5);
    let counter = |start: &str| {
        format!("SELECT coalesce(sum(value), 0) FROM usage_metrics WHERE period_start = '{start}'")
    };
    assert_eq!(count(&app, &counter("2026-01-01T00:00:00Z")), 9);

    travel(&app, "2026-02-04T00:00:00Z");
    let late = record(
        &app,
        &[
            on("too late", "2026-01-31T23:59:59Z"),
            on("january", "2026-01-31T23:59:59.999Z"),
        ],
    )
    .await;
    assert_eq!(statuses(&late), ["invalid", "duplicate"]);
    assert_eq!(count(&app, &counter("2026-01-01T00:00:00Z")), 9);
    assert_eq!(runs_used(&app, "acme").await, 5);

    // A new anchor closed the calendar month when it took over, and the days run from there.
    grant(&app, "acme", "pro").await;
    travel(&app, "2026-02-06T23:59:59Z");
    let before = record(
        &app,
        &[
            on("before", "2026-02-03T23:00:00Z"),
            on("after", "2026-02-04T00:00:00Z"),
        ],
    )
    .await;
    assert_eq!(statuses(&before), ["recorded", "recorded"]);
    assert_eq!(runs_used(&app, "acme").await, 2);
    assert_eq!(count(&app, &counter("2026-02-01T00:00:00Z")), 7);
    travel(&app, "2026-02-07T00:00:00Z");
    let late = record(&app, &[on("late", "2026-02-03T23:00:00Z")]).await;
    assert_eq!(statuses(&late), ["invalid"]);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn periods_step_by_the_clock_from_an_anchor_on_the_31st() {
    let app = TestApp::start().await;
    travel(&app, "2026-01-31T10:00:00Z");
    grant(&app, "acme", "pro").await;
    let crossed = async |quantity: i64| {
        let decision = consume(&app, "acme", "attribution_runs", quantity).await;
        (
            decision["used"].clone(),
            decision["warnings_crossed"].clone(),
        )
    };
    assert_eq!(crossed(3999).await, (json!(3999), json!([])));
    assert_eq!(crossed(1).await, (json!(4000), json!([80])));
    assert_eq!(crossed(1).await, (json!(4001), json!([])));
    // Recording crosses a level quietly: it was announced all the same.
    record(&app, &[event("quiet", 499)]).await;
    assert_eq!(crossed(1).await, (json!(4501), json!([])));
    assert_eq!(crossed(499).await, (json!(5000), json!([100])));
    let periods = [
        (
            "2026-02-28T09:59:59Z",
            "2026-01-31T10:00:00Z",
            "2026-02-28T10:00:00Z",
            5000,
        ),
        (
            "2026-02-28T10:00:00Z",
            "2026-02-28T10:00:00Z",
            "2026-03-31T10:00:00Z",
            0,
        ),
        (
            "2026-03-31T09:59:59Z",
            "2026-02-28T10:00:00Z",
            "2026-03-31T10:00:00Z",
            0,
        ),
        (
            "2026-03-31T10:00:00Z",
            "2026-03-31T10:00:00Z",
            "2026-04-30T10:00:00Z",
            0,
        ),
        (
            "2027-02-28T09:00:00Z",
            "2027-01-31T10:00:00Z",
            "2027-02-28T10:00:00Z",
            0,
        ),
        (
            "2028-02-29T10:00:00Z",
            "2028-02-29T10:00:00Z",
            "2028-03-31T10:00:00Z",
            0,
        ),
    ];
    for (now, start, end, used) in periods {
        travel(&app, now);
        let metric = usage_of(&app, "acme", "attribution_runs").await;
        assert_eq!(
            metric["period"],
            json!({"start": start, "end": end}),
            "{now}"
        );
        assert_eq!(metric["used"], used, "{now}");
        assert_eq!(metric["resets_at"], end);
    }
    // Each period warns anew; a jump crosses every level.
    assert_eq!(crossed(5500).await, (json!(5500), json!([80, 90, 100])));
    assert_counters_equal_ledger(&app);
}
