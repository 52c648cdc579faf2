//! Usage: what is told, taken back and counted.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::script::{Answer, Script, no, ok};
use crate::providers::{
    Provider as _, ProviderError, RefusedUsage, Reported, Retracted, UsageReport,
};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn report() -> UsageReport {
    UsageReport {
        provider_customer_id: "cus_1".to_owned(),
        quantity: 12,
        identifier: "acme-7".to_owned(),
        at: at("2026-01-31T23:59:59Z"),
    }
}

#[tokio::test]
async fn usage_is_told_once_whatever_gets_lost() {
    let taken = json!({"object": "billing.meter_event", "identifier": "acme-7"});
    let script = Script::of([Answer::Lost, ok(taken)]).await;
    let told = script.stripe().report_usage(&report()).await;
    assert_eq!(told, Ok(Reported::Taken));
    let line = "POST /v1/billing/meter_events event_name=runs identifier=acme-7 \
                payload[stripe_customer_id]=cus_1 payload[value]=12 timestamp=1769903999";
    assert_eq!(script.asked(), [line, line]);
    let keys = script.keys();
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0].as_ref().unwrap().starts_with("acme-7~"));

    for (code, message) in [
        ("", "An event already exists with identifier acme-7."),
        ("duplicate_meter_event", "?"),
    ] {
        let script = Script::of([no(400, code, message)]).await;
        let told = script.stripe().report_usage(&report()).await;
        assert_eq!(told, Ok(Reported::Known), "{message}");
    }
    for (status, message) in [
        (400, "timestamp too old"),
        (403, "already exists with identifier"),
    ] {
        let script = Script::of([no(status, "", message)]).await;
        let told = script.stripe().report_usage(&report()).await;
        assert!(
            matches!(told, Err(ProviderError::Rejected { .. })),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_report_is_taken_back_or_stands() {
    let param = |param: &str, message: &str| {
        Answer::Of(
            400,
            json!({"error": {"type": "invalid_request_error", "param": param, "message": message}}),
        )
    };
    for (answer, expected) in [
        (
            ok(json!({"object": "billing.meter_event_adjustment", "status": "pending"})),
            Some(Retracted::Done),
        ),
        (
            no(400, "", "The event has already been canceled."),
            Some(Retracted::Done),
        ),
        (
            no(400, "", "The event was sent more than 24 hours ago."),
            Some(Retracted::TooLate),
        ),
        (
            no(400, "", "It was already billed and cannot be cancelled."),
            Some(Retracted::TooLate),
        ),
        (
            no(404, "resource_missing", "No such event."),
            Some(Retracted::TooLate),
        ),
        (
            param("cancel[identifier]", "Unknown event"),
            Some(Retracted::TooLate),
        ),
        (param("event_name", "No such meter"), None),
        (no(401, "", "Invalid API Key"), None),
    ] {
        let script = Script::of([answer]).await;
        let outcome = script.stripe().retract_usage("acme-7").await;
        assert_eq!(outcome.clone().ok(), expected, "{outcome:?}");
        assert_eq!(
            script.asked(),
            [
                "POST /v1/billing/meter_event_adjustments cancel[identifier]=acme-7 event_name=runs type=cancel"
            ]
        );
    }
}

fn meters() -> [Value; 2] {
    [
        json!({"data": [{"id": "mtr_0", "event_name": "others"}], "has_more": true}),
        json!({"data": [{"id": "mtr_1", "event_name": "runs", "default_aggregation": {"formula": "sum"}}], "has_more": false}),
    ]
}

async fn counted(values: &str) -> Result<i64, ProviderError> {
    let [first, second] = meters();
    let summaries: Value = serde_json::from_str(values).unwrap();
    let script = Script::of([first, second, summaries].map(ok)).await;
    let from = at("2026-01-01T00:00:30Z");
    let until = at("2026-01-31T23:59:00.5Z");
    let counted = script.stripe().usage_counted("cus_1", from, until).await;
    assert_eq!(
        script.asked(),
        [
            "GET /v1/billing/meters limit=100 status=active",
            "GET /v1/billing/meters limit=100 starting_after=mtr_0 status=active",
            "GET /v1/billing/meters/mtr_1/event_summaries customer=cus_1 end_time=1769904000 limit=100 start_time=1767225600",
        ]
    );
    counted
}

#[tokio::test]
async fn counted_usage_is_read_to_the_unit() {
    let one = |value: &str| {
        format!(
            r#"{{"data": [{{"id": "mtrusg_1", "aggregated_value": {value}}}], "has_more": false}}"#
        )
    };
    for (value, units) in [
        ("0", 0),
        ("10.0", 10),
        // One more than a floating number of this size can tell from its neighbour.
        ("9007199254740993", 9_007_199_254_740_993),
        ("1.5e3", 1500),
        ("-3.0", -3),
    ] {
        assert_eq!(counted(&one(value)).await, Ok(units), "{value}");
    }
    for value in ["1.5", "1e30", "null", "true"] {
        let counted = counted(&one(value)).await;
        assert!(
            matches!(counted, Err(ProviderError::Unreadable { .. })),
            "{value} {counted:?}"
        );
    }
    let several = r#"{"data": [{"id": "a", "aggregated_value": 2.0}, {"id": "b", "aggregated_value": 40}], "has_more": false}"#;
    assert_eq!(counted(several).await, Ok(42));
    assert_eq!(counted(r#"{"data": [], "has_more": false}"#).await, Ok(0));
}

#[tokio::test]
async fn no_time_has_no_usage() {
    let script = Script::of([]).await;
    let noon = at("2026-01-01T12:00:00Z");
    assert_eq!(
        script.stripe().usage_counted("cus_1", noon, noon).await,
        Ok(0)
    );
    assert_eq!(script.asked(), [""; 0]);
}

#[tokio::test]
async fn only_a_meter_that_adds_up_is_believed() {
    let counts = json!({"data": [{"id": "mtr_1", "event_name": "runs", "default_aggregation": {"formula": "count"}}]});
    let script = Script::of([ok(counts)]).await;
    let day = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    let outcome = script.stripe().usage_counted("cus_1", day.0, day.1).await;
    assert!(matches!(outcome, Err(ProviderError::Unreadable { .. })));
    let script = Script::of([ok(json!({"data": []}))]).await;
    let outcome = script.stripe().usage_counted("cus_1", day.0, day.1).await;
    assert_eq!(outcome, Err(ProviderError::NotFound));
}

#[tokio::test]
async fn unusable_usage_is_fetched_by_its_event() {
    let sample =
        |identifier: &str| json!({"error_message": "gone", "request": {"identifier": identifier}});
    let key = "acme-8~019b7a3c-0000-7000-8000-000000000000";
    let body = json!({
        "id": "evt_1", "object": "v2.core.event",
        "data": {"reason": {"error_types": [{"code": "no_meter", "error_count": 2, "sample_errors": [sample("acme~7"), sample(key)]}]}},
    });
    let script = Script::of([ok(body)]).await;
    let refused = |identifier: &str| RefusedUsage {
        identifier: Some(identifier.to_owned()),
        reason: "no_meter: gone".to_owned(),
    };
    assert_eq!(
        script.stripe().refused_usage("evt_1").await.unwrap(),
        [refused("acme~7"), refused("acme-8")]
    );
    assert_eq!(script.asked(), ["GET /v2/core/events/evt_1"]);
    // Whatever it says, it says that something was refused.
    let script = Script::of([ok(
        json!({"id": "evt_1", "data": {"developer_message_summary": "bad"}}),
    )])
    .await;
    let bare = script.stripe().refused_usage("evt_1").await.unwrap();
    assert_eq!(bare[0].reason, "bad");
}
