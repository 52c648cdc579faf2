use std::time::Duration as StdDuration;

use uuid::Uuid;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn report(attempts: i32) -> Report {
    Report {
        customer_id: "acme".to_owned(),
        report_id: Uuid::from_u128(7),
        provider: "stripe".to_owned(),
        metric_name: "runs".to_owned(),
        period_start: at("2026-01-12T00:00:00Z"),
        period_end: Some(at("2026-02-12T00:00:00Z")),
        state: "sealed".to_owned(),
        quantity: 3,
        used_at: at("2026-01-13T00:00:00Z"),
        provider_customer_id: Some("cus_1".to_owned()),
        told_at: None,
        told_since: None,
        first_tried_at: Some(at("2026-01-13T00:00:15Z")),
        is_final: false,
        attempts,
        claimed_until: None,
    }
}

fn seconds(attempts: i32, error: &ProviderError, now: &str) -> i64 {
    patience(&report(attempts), error, at(now)).num_seconds()
}

#[test]
fn patience_doubles_up_to_what_the_trouble_is_worth_and_heeds_what_the_provider_asks() {
    let now = "2026-01-13T00:01:00Z";
    let away = |seconds: Option<u64>| ProviderError::Unavailable {
        reason: "away".to_owned(),
        retry_after: seconds.map(StdDuration::from_secs),
    };
    assert_eq!(seconds(1, &away(None), now), 2);
    assert_eq!(seconds(5, &away(None), now), 32);
    assert_eq!(seconds(i32::MAX, &away(None), now), 300);
    assert_eq!(seconds(1, &away(Some(90)), now), 90);
    assert_eq!(seconds(1, &away(Some(u64::MAX)), now), 3600);
    assert_eq!(seconds(i32::MAX, &ProviderError::NotFound, now), 3600);
}

#[test]
fn before_the_sums_are_compared_they_are_given_time() {
    let garbage = ProviderError::Unreadable {
        reason: "a page".to_owned(),
    };
    assert_eq!(seconds(1, &garbage, "2026-01-13T23:00:12Z"), 2);
    assert_eq!(seconds(1, &garbage, "2026-01-13T23:00:13Z"), 600);
}
