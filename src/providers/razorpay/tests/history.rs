//! Razorpay's subscriptions one page after the other, and the events that it does not keep.

use chrono::DateTime;
use serde_json::{Value, json};

use super::script::{Script, list};
use crate::domain::provider_event::Hint;
use crate::providers::{Provider as _, ProviderError};

#[tokio::test]
async fn subscriptions_are_paged_and_one_that_is_unreadable_hides_none() {
    let mut full: Vec<Value> = (0..99)
        .map(|nth| json!({"id": format!("sub_{nth}"), "status": "active", "notes": []}))
        .collect();
    full.push(json!({"id": ["sub_bad"]}));
    let last = json!([{"id": "sub_last", "status": "cancelled"}]);
    let script = Script::of([list(json!(full)), list(last)]).await;
    let razorpay = script.razorpay();
    let first = razorpay.subscriptions(None).await.unwrap();
    assert_eq!(
        (first.items.len(), first.next.as_deref()),
        (99, Some("100"))
    );
    let second = razorpay.subscriptions(first.next.as_deref()).await.unwrap();
    assert_eq!(second.items[0].id, "sub_last");
    assert_eq!(second.next, None);
    assert_eq!(
        script.asked(),
        [
            "GET /v1/subscriptions count=100 skip=0",
            "GET /v1/subscriptions count=100 skip=100"
        ]
    );
    let nowhere = razorpay.subscriptions(Some("sub_1")).await;
    assert_eq!(nowhere, Err(ProviderError::NotFound));
}

#[tokio::test]
async fn events_of_our_own_stand_for_those_that_are_not_kept() {
    let script = Script::of([]).await;
    let razorpay = script.razorpay();
    let made = razorpay.event_about("sub_1", "backfill-2026010100-sub_1");
    let about = Hint::Subscription {
        provider_subscription_id: "sub_1".to_owned(),
    };
    assert_eq!(made.event.event_id, "backfill-2026010100-sub_1");
    assert_eq!((made.event.livemode, &made.event.hint), (false, &about));
    assert_eq!(razorpay.hint(&made.body), Ok(about));
    let now = DateTime::UNIX_EPOCH;
    assert_eq!(razorpay.events_known_since(now), now);
    let none = razorpay.events(now, None).await.unwrap();
    assert_eq!((none.items.len(), none.next), (0, None));
}
