//! Periods end and clocks jump between two requests of one customer.
//!
//! What is promised: a use counts in the period that the clock shows when it is decided, and in no other. A clock that is set back
//! continues the earlier period where it stood. Whatever the clock does, nothing is lost, nothing is counted twice, no period
//! passes its cap, and a key's answer stays what it was.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::judgement::used_by;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::{assert_counters_equal_ledger, at, grant};

const RUNS: &str = "attribution_runs";
/// What the free plan admits in a period.
const CAP: i64 = 110;

async fn consume(app: &TestApp, quantity: i64, key: &str) -> Answer {
    let body = json!({"customer_id": "acme", "feature": RUNS, "quantity": quantity, "idempotency_key": key});
    app.post("/entitlements/consume").json(body).send().await
}

/// Consumes what must be admitted, in the period that the clock shows.
async fn admit(app: &TestApp, quantity: i64, key: &str) -> Value {
    let decision = consume(app, quantity, key).await.ok();
    let instant = |value: &Value| at(value.as_str().unwrap());
    let (start, end) = (&decision["period"]["start"], &decision["period"]["end"]);
    let now = instant(&decision["as_of"]);
    assert!(
        instant(start) <= now && now < instant(end),
        "counted in another period: {decision}"
    );
    decision
}

/// Records usage that happened at this instant. Returns what became of it.
async fn record(
    app: &TestApp,
    id: &str,
    quantity: i64,
    occurred_at: Option<DateTime<Utc>>,
) -> Value {
    let mut event = json!({"id": id, "customer_id": "acme", "feature": RUNS, "quantity": quantity});
    if let Some(instant) = occurred_at {
        event["occurred_at"] = json!(instant);
    }
    let body = json!({"events": [event]});
    let answer = app.post("/usage").json(body).send().await.ok();
    answer["results"][0]["status"].clone()
}

/// Every key is answered as it was before.
async fn assert_repeats(app: &TestApp, answers: &[(i64, String, Value)]) {
    for (quantity, key, first) in answers {
        let again = consume(app, *quantity, key).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{key}");
        assert_eq!(again.ok(), *first, "{key}");
    }
}

/// Start, end and value of each counter, in order of time.
fn counters(app: &TestApp) -> Vec<(DateTime<Utc>, DateTime<Utc>, i64)> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        period_start: DateTime<Utc>,
        #[diesel(sql_type = Timestamptz)]
        period_end: DateTime<Utc>,
        #[diesel(sql_type = BigInt)]
        value: i64,
    }
    let statement =
        "SELECT period_start, period_end, value FROM usage_metrics ORDER BY period_start";
    let rows: Vec<Row> = diesel::sql_query(statement)
        .load(&mut app.connect())
        .unwrap();
    let counter = |row: Row| (row.period_start, row.period_end, row.value);
    rows.into_iter().map(counter).collect()
}

fn moment() -> TimeDelta {
    TimeDelta::microseconds(1)
}

#[actix_web::test]
async fn a_period_that_ends_between_two_uses_keeps_its_count_and_the_next_begins_at_zero() {
    let app = TestApp::start().await;
    let [january, february, march] = [
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
        "2026-03-01T00:00:00Z",
    ]
    .map(at);
    app.clock.set(february - moment());
    let old = admit(&app, 108, "old").await;
    assert_eq!(old["used"], 108);
    consume(&app, 5, "retried")
        .await
        .problem(402, "limit-exceeded");

    app.clock.set(february);
    let new = admit(&app, 5, "retried").await;
    assert_eq!(
        (&new["used"], &new["warnings_crossed"]),
        (&json!(5), &json!([]))
    );
    assert_repeats(
        &app,
        &[(108, "old".to_owned(), old), (5, "retried".to_owned(), new)],
    )
    .await;
    assert_eq!(
        record(&app, "late", 7, Some(february - moment())).await,
        "recorded"
    );
    assert_eq!(record(&app, "now", 1, None).await, "recorded");
    assert_eq!(
        counters(&app),
        [(january, february, 115), (february, march, 6)]
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn uses_at_both_ends_of_each_period_of_an_anchor_on_the_31st_count_there_through_a_leap_year()
{
    let app = TestApp::start().await;
    let starts = [
        "2027-12-31T10:00:00Z",
        "2028-01-31T10:00:00Z",
        "2028-02-29T10:00:00Z",
        "2028-03-31T10:00:00Z",
        "2028-04-30T10:00:00Z",
    ]
    .map(at);
    app.clock.set(starts[0]);
    grant(&app, "acme", "pro").await;
    for (n, period) in starts.windows(2).enumerate() {
        let (start, end) = (period[0], period[1]);
        app.clock.set(start);
        assert_eq!(admit(&app, 2, &format!("{n}-first")).await["used"], 2);
        if n > 0 {
            let late = Some(start - moment());
            app.clock.set(start + TimeDelta::days(3) - moment());
            assert_eq!(
                record(&app, &format!("{n}-late"), 1, late).await,
                "recorded"
            );
            app.clock.set(start + TimeDelta::days(3));
            assert_eq!(
                record(&app, &format!("{n}-too-late"), 1, late).await,
                "invalid"
            );
        }
        app.clock.set(end - moment());
        assert_eq!(admit(&app, 3, &format!("{n}-last")).await["used"], 5);
    }
    let expected = [0, 1, 2, 3].map(|n| {
        let late = i64::from(n < 3);
        (starts[n], starts[n + 1], 5 + late)
    });
    assert_eq!(counters(&app), expected);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_clock_that_is_set_back_over_a_periods_end_loses_and_doubles_nothing() {
    let app = TestApp::start().await;
    let [january, february, march] = [
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
        "2026-03-01T00:00:00Z",
    ]
    .map(at);
    let mut answers = Vec::new();
    for (n, (seconds, used)) in [(-1, 30), (1, 30), (-2, 60), (2, 60), (-3, 90)]
        .into_iter()
        .enumerate()
    {
        app.clock.set(february + TimeDelta::seconds(seconds));
        let key = format!("jump-{n}");
        let decision = admit(&app, 30, &key).await;
        assert_eq!(decision["used"], used, "{decision}");
        answers.push((30, key, decision));
        assert_repeats(&app, &answers).await;
    }
    // The earlier period is as full as it was, and the later one is not.
    consume(&app, 30, "over")
        .await
        .problem(402, "limit-exceeded");
    app.clock.set(february);
    answers.push((30, "over".to_owned(), admit(&app, 30, "over").await));
    app.clock.set(february - moment());
    assert_eq!(record(&app, "back", 9, None).await, "recorded");
    assert_repeats(&app, &answers).await;
    assert_eq!(
        counters(&app),
        [(january, february, 99), (february, march, 90)]
    );
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn a_clock_that_is_set_back_before_a_new_anchor_loses_and_doubles_nothing() {
    let app = TestApp::start().await;
    let anchor = at("2026-01-12T00:00:00Z");
    let mut answers = Vec::new();
    let mut granted = false;
    for (n, (hours, quantity)) in [(-2, 5), (2, 7), (-1, 3), (3, 2), (-3, 1)]
        .into_iter()
        .enumerate()
    {
        if hours > 0 && !granted {
            app.clock.set(anchor);
            grant(&app, "acme", "pro").await;
            granted = true;
        }
        app.clock.set(anchor + TimeDelta::hours(hours));
        let key = format!("jump-{n}");
        answers.push((quantity, key.clone(), admit(&app, quantity, &key).await));
        assert_eq!(record(&app, &key, 10, None).await, "recorded");
        assert_repeats(&app, &answers).await;
        assert_eq!(record(&app, &key, 10, None).await, "duplicate");
        assert_counters_equal_ledger(&app);
    }
    assert_eq!(used_by(&mut app.connect(), "acme"), (68, 68));
}

#[actix_web::test]
async fn callers_under_a_clock_that_jumps_to_and_fro_over_a_periods_end_pass_neither_cap() {
    let app = TestApp::start().await;
    let end = at("2026-02-01T00:00:00Z");
    let calls = (0..320).map(|n| {
        let app = &app;
        async move {
            let key = format!("call-{n}");
            loop {
                // Each caller moves it under the feet of all the others.
                app.clock
                    .set(end + TimeDelta::seconds(if n % 2 == 0 { -1 } else { 1 }));
                let answer = consume(app, 1, &key).await;
                match answer.status {
                    // Too many at a time.
                    503 => {}
                    402 => return 0,
                    _ => {
                        answer.ok();
                        return 1;
                    }
                }
            }
        }
    });
    let mut admitted: i64 = join_all(calls).await.into_iter().sum();
    // Whichever period the burst has met, the other is met now.
    for seconds in [-1, 1] {
        app.clock.set(end + TimeDelta::seconds(seconds));
        let answer = consume(&app, 1, &format!("last-{seconds}")).await;
        admitted += i64::from(answer.status == 200);
    }
    let values: Vec<i64> = counters(&app)
        .into_iter()
        .map(|(_, _, value)| value)
        .collect();
    assert_eq!(values.len(), 2, "both periods were met: {values:?}");
    assert!(values.iter().all(|value| *value <= CAP), "{values:?}");
    assert_eq!(used_by(&mut app.connect(), "acme"), (admitted, admitted));
    assert_counters_equal_ledger(&app);
}
