//! The billing meter.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Answer, get, post, ready};
use crate::fake_stripe::{FakeStripe, METER_EVENT_NAME, MeterEvent};

fn noon() -> DateTime<Utc> {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

async fn tell(stripe: &FakeStripe, customer: &str, value: &str, extra: &[(&str, &str)]) -> Answer {
    let mut params = vec![
        ("event_name", METER_EVENT_NAME),
        ("payload[stripe_customer_id]", customer),
        ("payload[value]", value),
    ];
    params.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
    params.extend(extra.iter().filter(|(_, value)| !value.is_empty()));
    post(stripe, "/v1/billing/meter_events", &params, None).await
}

async fn take_back(stripe: &FakeStripe, identifier: &str) -> Answer {
    let params = [
        ("type", "cancel"),
        ("event_name", METER_EVENT_NAME),
        ("cancel[identifier]", identifier),
    ];
    post(stripe, "/v1/billing/meter_event_adjustments", &params, None).await
}

#[tokio::test]
async fn the_meter_takes_only_what_it_can_count() {
    let (stripe, customer) = ready().await;
    stripe.set_now(noon());
    let at = |by: TimeDelta| (noon() + by).timestamp().to_string();
    let too_old = at(TimeDelta::days(-35) - TimeDelta::seconds(1));
    let too_new = at(TimeDelta::seconds(301));
    let long = "i".repeat(101);
    for ((name, value), code) in [
        (("event_name", "steps"), "resource_missing"),
        (("event_name", ""), "parameter_missing"),
        (("payload[stripe_customer_id]", ""), "parameter_missing"),
        (("payload[value]", ""), "parameter_missing"),
        (("payload[value]", "1.5"), "meter_event_invalid_value"),
        (("timestamp", too_old.as_str()), "timestamp_too_far_in_past"),
        (("timestamp", too_new.as_str()), "timestamp_in_future"),
        (("timestamp", "noon"), "parameter_invalid_integer"),
        (("quantity", "1"), "parameter_unknown"),
        (("identifier", long.as_str()), ""),
    ] {
        let refused = tell(&stripe, &customer, "1", &[(name, value)]).await;
        let error = refused.error();
        assert_eq!((error.0, error.1, error.2), (400, code, name), "{value}");
    }
    assert!(stripe.meter_events().is_empty());
    for edge in [at(TimeDelta::days(-35)), at(TimeDelta::seconds(300))] {
        let taken = tell(&stripe, &customer, "2", &[("timestamp", &edge)]).await;
        assert_eq!(taken.body["object"], "billing.meter_event");
    }
    assert_eq!(stripe.meter_total(&customer), 4);
}

#[tokio::test]
async fn an_identifier_is_known_for_a_day() {
    let (stripe, customer) = ready().await;
    stripe.set_now(noon());
    let named = [("identifier", "u-1")];
    assert_eq!(tell(&stripe, &customer, "5", &named).await.status, 200);
    stripe.set_now(noon() + TimeDelta::hours(23));
    let again = tell(&stripe, &customer, "5", &named).await;
    assert_eq!(
        again.error(),
        (400, "duplicate_meter_event", "identifier"),
        "{}",
        again.body
    );
    assert_eq!(stripe.meter_total(&customer), 5);
    stripe.set_now(noon() + TimeDelta::hours(24));
    assert_eq!(tell(&stripe, &customer, "5", &named).await.status, 200);
    assert_eq!(stripe.meter_total(&customer), 10, "billed twice");
}

#[tokio::test]
async fn what_was_told_lately_can_be_taken_back() {
    let (stripe, customer) = ready().await;
    stripe.set_now(noon());
    for identifier in ["u-1", "u-2"] {
        tell(&stripe, &customer, "5", &[("identifier", identifier)]).await;
    }
    let done = take_back(&stripe, "u-1").await;
    assert_eq!(done.body["object"], "billing.meter_event_adjustment");
    assert_eq!(stripe.meter_total(&customer), 5);
    let expected = MeterEvent {
        identifier: "u-1".to_owned(),
        key: None,
        customer: customer.clone(),
        value: 5,
        timestamp: noon(),
        received_at: noon(),
        cancelled: true,
        refused: None,
    };
    assert_eq!(stripe.meter_events()[0], expected);
    assert_eq!(
        take_back(&stripe, "u-9").await.error().1,
        "resource_missing"
    );
    stripe.set_now(noon() + TimeDelta::hours(24));
    assert_eq!(take_back(&stripe, "u-2").await.status, 400, "too late");
    assert_eq!(stripe.meter_total(&customer), 5);
}

#[tokio::test]
async fn summaries_are_of_whole_minutes() {
    let (stripe, customer) = ready().await;
    stripe.set_now(noon());
    for (value, hours) in [("3", 0), ("4", 1), ("5", 30)] {
        let at = (noon() - TimeDelta::hours(hours)).timestamp().to_string();
        tell(&stripe, &customer, value, &[("timestamp", &at)]).await;
    }
    let (from, to) = (
        (noon() - TimeDelta::hours(12)).timestamp(),
        (noon() + TimeDelta::hours(12)).timestamp(),
    );
    let ask = async |from: i64, to: i64, more: &str| {
        let path = format!(
            "/v1/billing/meters/mtr_fake/event_summaries?customer={customer}&start_time={from}&end_time={to}{more}"
        );
        get(&stripe, &path).await
    };
    let values = |body: &Value| -> Vec<String> {
        let data = body["data"].as_array().unwrap();
        data.iter()
            .map(|s| s["aggregated_value"].to_string())
            .collect()
    };
    assert_eq!(values(&ask(from, to, "").await.body), ["7.0"]);
    let hourly = ask(from, to, "&value_grouping_window=hour").await.body;
    assert_eq!(values(&hourly), ["3.0", "4.0"]);
    let daily = ask(from - 86_400, to, "&value_grouping_window=day")
        .await
        .body;
    assert_eq!(values(&daily), ["7.0", "5.0"]);
    let before = ask(from - 86_400, from, "").await.body;
    assert_eq!(values(&before), ["5.0"]);
    assert_eq!(values(&ask(0, 60, "").await.body), [""; 0]);
    assert_eq!(ask(from + 1, to, "").await.error().2, "start_time");
    assert_eq!(ask(from, to + 59, "").await.error().2, "end_time");
    assert_eq!(
        ask(from + 60, to, "&value_grouping_window=hour")
            .await
            .error()
            .2,
        "start_time"
    );
    assert_eq!(ask(to, from, "").await.error().2, "end_time");

    stripe.lag_summaries(60);
    tell(&stripe, &customer, "9", &[]).await;
    assert_eq!(values(&ask(from, to, "").await.body), [""; 0]);
    stripe.set_now(noon() + TimeDelta::seconds(60));
    assert_eq!(values(&ask(from, to, "").await.body), ["16.0"]);

    let meters = get(&stripe, "/v1/billing/meters?status=active").await.body;
    assert_eq!(meters["data"][0]["event_name"], METER_EVENT_NAME);
    let none = get(&stripe, "/v1/billing/meters?status=inactive")
        .await
        .body;
    assert_eq!(none["data"], json!([]));
    let unknown = "/v1/billing/meters/mtr_no/event_summaries?customer=c&start_time=0&end_time=60";
    assert_eq!(get(&stripe, unknown).await.status, 404);
}

#[tokio::test]
async fn refused_usage_is_told_by_a_thin_event() {
    let (stripe, customer) = ready().await;
    for identifier in ["u-1", "u-2"] {
        tell(&stripe, &customer, "5", &[("identifier", identifier)]).await;
    }
    let event = stripe.meter_error(&["u-1"], "meter_event_customer_not_found");
    assert_eq!(event["object"], "v2.core.event");
    assert_eq!(event["related_object"]["id"], "mtr_fake");
    assert_eq!(event.get("data"), None);
    let path = format!("/v2/core/events/{}", event["id"].as_str().unwrap());
    let full = get(&stripe, &path).await.body;
    assert_eq!(full["type"], "v1.billing.meter.error_report_triggered");
    let kind = &full["data"]["reason"]["error_types"][0];
    assert_eq!(kind["code"], "meter_event_customer_not_found");
    assert_eq!(kind["sample_errors"][0]["request"]["identifier"], "u-1");
    assert_eq!(stripe.meter_total(&customer), 5);
    assert_eq!(get(&stripe, "/v2/core/events/evt_no").await.status, 404);
}
