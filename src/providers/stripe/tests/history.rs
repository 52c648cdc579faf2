//! What Stripe remembers.

use serde_json::json;

use super::super::event;
use super::super::history::TELLING;
use super::script::{Script, ok};
use crate::domain::provider_event::Hint;
use crate::providers::Provider as _;

#[tokio::test]
async fn past_events_are_read_one_by_one() {
    let subscription = json!({"id": "evt_3", "object": "event", "type": "customer.subscription.updated", "livemode": false,
                              "data": {"object": {"id": "sub_1"}}});
    let broken = json!({"id": "evt_2", "object": "event", "type": "invoice.paid", "livemode": false, "data": {"object": []}});
    let nameless = json!({"object": "event"});
    let page =
        json!({"object": "list", "data": [subscription, broken, nameless], "has_more": true});
    let script = Script::of([ok(page), ok(json!({"data": [], "has_more": false}))]).await;
    let stripe = script.stripe();
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    let first = stripe.events(since, None).await.unwrap();
    assert_eq!(first.items.len(), 1);
    assert_eq!(first.items[0].event.event_id, "evt_3");
    assert_eq!(
        stripe.hint(&first.items[0].body).unwrap(),
        first.items[0].event.hint
    );
    assert_eq!(first.next.as_deref(), Some("evt_2"));
    let last = stripe.events(since, first.next.as_deref()).await.unwrap();
    assert_eq!((last.items.len(), last.next), (0, None));
    let asked = script.asked();
    assert!(asked[0].starts_with("GET /v1/events created[gte]=1767225600 limit=100 types[0]="));
    assert_eq!(asked[0].matches(" types[").count(), 20);
    assert!(asked[1].contains(" starting_after=evt_2 "), "{}", asked[1]);
}

#[test]
fn every_event_that_is_asked_for_gives_a_hint() {
    let object =
        json!({"id": "x_1", "mode": "subscription", "subscription": "sub_1", "charge": "ch_1"});
    for kind in TELLING {
        let body = json!({"id": "evt_1", "object": "event", "type": kind, "livemode": false, "data": {"object": object}});
        let read = event::parse(body.to_string().as_bytes()).unwrap();
        assert_ne!(read.hint, Hint::Ignored, "{kind}");
    }
}

#[tokio::test]
async fn all_subscriptions_are_listed_with_what_is_planned() {
    let good = json!({"id": "sub_2", "status": "canceled", "schedule": null});
    let broken = json!({"id": "sub_1", "status": 7});
    let script = Script::of([ok(json!({"data": [good, broken], "has_more": true}))]).await;
    let page = script.stripe().subscriptions(Some("sub_3")).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.next.as_deref(), Some("sub_1"));
    assert_eq!(
        script.asked(),
        [
            "GET /v1/subscriptions expand[0]=data.schedule expand[1]=data.latest_invoice limit=100 starting_after=sub_3 status=all"
        ]
    );
}

#[tokio::test]
async fn an_event_of_our_own_making_reads_back_as_it_says() {
    let stripe = Script::of([]).await.stripe();
    let made = stripe.event_about("sub_1", "backfill_1");
    assert_eq!(stripe.hint(&made.body).unwrap(), made.event.hint);
    assert!(matches!(made.event.hint, Hint::Subscription { .. }));
    let now = "2026-01-31T00:00:00Z".parse().unwrap();
    assert_eq!(
        stripe.events_known_since(now).to_rfc3339(),
        "2026-01-01T00:00:00+00:00"
    );
}
