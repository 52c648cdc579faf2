//! Events that come too early, in any order, or while the provider fails.

use std::time::Duration;

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::domain::provider_event::ProviderName;
use plangate::store::clock::Clock as _;
use plangate::store::schema::subscription_transitions;
use plangate::store::subscriptions;
use serde_json::{Value, json};

use super::{change, deliver, kept, plan, standing};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::{PRICE_SCALE, TestApp};
use crate::support::steps::{count, pay, subscribe, subscription_id};

/// A failure that is not worth another try within the call.
const DOWN: Fault = Fault::Status {
    status: 503,
    retry_after: None,
    should_retry: Some(false),
};

#[actix_web::test]
async fn what_cannot_be_applied_yet_is_parked_with_its_reason_and_applied_later() {
    let app = TestApp::with_stripe().await;
    let events = pay(&app, "acme", "pro").await;
    let id = subscription_id(&events);
    let created = &events[0];
    // The provider is down: more and more patience, and nobody has to send it again.
    app.stripe().fail(Endpoint::Subscription, DOWN, 3);
    deliver(&app, created).await;
    for (attempts, pause) in [(1, 2), (2, 4), (3, 8)] {
        app.apply_webhooks().await;
        let row = kept(&app, created);
        assert_eq!(
            (row.status.as_str(), row.attempts),
            ("parked", attempts),
            "{row:?}"
        );
        assert!(row.error.is_some());
        let wait = row.next_attempt_at - app.clock.now();
        let range = TimeDelta::seconds(pause)..TimeDelta::seconds(pause + 1);
        assert!(range.contains(&wait), "{wait}");
        app.advance(wait - TimeDelta::milliseconds(1));
        app.apply_webhooks().await;
        assert_eq!(
            kept(&app, created).attempts,
            attempts,
            "not before its time"
        );
        assert_eq!(standing(&app, "acme").await.0["tier"], "free");
        app.advance(TimeDelta::milliseconds(1));
    }
    app.apply_webhooks().await;
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    let row = kept(&app, created);
    assert_eq!(
        (row.status.as_str(), row.error, row.attempts),
        ("processed", None, 4)
    );

    // A page of somebody in between, and a connection that breaks, are no answers either.
    for fault in [Fault::Garbage, Fault::DropBeforeEffect] {
        app.stripe().fail(Endpoint::Subscription, fault, 3);
        let event = change(&app, &id, |_| {}).await;
        let row = kept(&app, &event);
        assert_eq!(row.status, "parked", "{fault:?} {row:?}");
        for _ in 0..4 {
            app.advance(TimeDelta::minutes(1));
            app.apply_webhooks().await;
        }
        assert_eq!(kept(&app, &event).status, "processed", "{fault:?}");
    }

    // A price that was never sold is not guessed.
    let odd = change(&app, &id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!("price_of_old");
    })
    .await;
    let row = kept(&app, &odd);
    assert_eq!(row.status, "parked");
    assert!(row.error.unwrap().contains("price_of_old"));
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    app.stripe().update_subscription(&id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
    });
    app.advance(TimeDelta::minutes(1));
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &odd).status, "processed");
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("scale", "active", "subscription")
    );

    // What ends needs no known price: it must not go on for ever because somebody gave it one in the dashboard.
    let odd_end = change(&app, &id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!("price_of_old");
        s["status"] = json!("unpaid");
    })
    .await;
    assert_eq!(kept(&app, &odd_end).status, "processed");
    assert_eq!(standing(&app, "acme").await.0["tier"], "free");
    change(&app, &id, |s| {
        s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
        s["status"] = json!("active");
    })
    .await;

    // Under a status that this version does not know, what is stored stays.
    let wobbly = change(&app, &id, |s| s["status"] = json!("wobbly")).await;
    let row = kept(&app, &wobbly);
    assert_eq!(row.status, "parked");
    assert!(row.error.unwrap().contains("wobbly"));
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("scale", "active", "subscription")
    );
    app.stripe()
        .update_subscription(&id, |s| s["status"] = json!("past_due"));
    app.advance(TimeDelta::minutes(1));
    app.apply_webhooks().await;
    assert_eq!(kept(&app, &wobbly).status, "processed");
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("scale", "past_due", "subscription")
    );
}

#[actix_web::test]
async fn an_event_before_its_binding_waits_for_it() {
    let app = TestApp::with_stripe().await;
    let events = pay(&app, "acme", "pro").await;
    let id = subscription_id(&events);
    // As if it had been made by hand at the provider: nothing on it says whose it is.
    let updated = app.stripe().update_subscription(&id, |s| {
        s["metadata"] = json!({});
        s["customer"] = json!("cus_of_nobody");
    });
    for event in [&events[0], &updated] {
        deliver(&app, event).await;
    }
    app.apply_webhooks().await;
    for event in [&events[0], &updated] {
        let row = kept(&app, event);
        assert_eq!(row.status, "parked");
        assert!(row.error.unwrap().contains("no customer"));
    }
    assert_eq!(count(&app, "SELECT count(*) FROM subscriptions"), 0);
    // The checkout tells, and the others follow without waiting for their time.
    deliver(&app, &events[2]).await;
    app.apply_webhooks().await;
    for event in [&events[0], &updated, &events[2]] {
        assert_eq!(kept(&app, event).status, "processed");
    }
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    assert_eq!(count(&app, "SELECT count(*) FROM subscriptions"), 1);
}

/// A small generator, so that a failing order can be had again.
fn shuffled(events: &[Value], seed: u64) -> Vec<Value> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 1_000_003).unwrap() % below
    };
    let mut order = events.to_vec();
    for _ in 0..events.len() / 2 {
        let twice = events[next(events.len())].clone();
        order.push(twice);
    }
    for last in (1..order.len()).rev() {
        order.swap(last, next(last + 1));
    }
    order
}

#[actix_web::test]
async fn any_order_with_duplicates_ends_in_the_same_state() {
    let app = TestApp::with_stripe().await;
    let mut ends = Vec::new();
    for seed in 0..6_u64 {
        let customer = format!("customer-{seed}");
        let mut events = pay(&app, &customer, "pro").await;
        let id = subscription_id(&events);
        // Some of it arrives while the story goes on, the rest, and all of it again, afterwards.
        let mut happens = async |event: Vec<Value>| {
            for (index, event) in event.into_iter().enumerate() {
                if (seed + index as u64).is_multiple_of(3) {
                    deliver(&app, &event).await;
                    app.apply_webhooks().await;
                }
                events.push(event);
            }
        };
        let stripe = app.stripe();
        happens(vec![stripe.update_subscription(&id, |s| {
            s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
        })])
        .await;
        happens(stripe.fail_payment(&id)).await;
        happens(stripe.renew_subscription(&id)).await;
        happens(vec![
            stripe.update_subscription(&id, |s| s["status"] = json!("active")),
        ])
        .await;
        happens(vec![stripe.update_subscription(&id, |s| {
            s["cancel_at_period_end"] = json!(true);
        })])
        .await;
        for event in shuffled(&events, seed) {
            deliver(&app, &event).await;
            if event["created"].is_number() && seed.is_multiple_of(2) {
                app.apply_webhooks().await;
            }
        }
        app.apply_webhooks().await;
        let path = format!("/billing/subscription?customer_id={customer}");
        let mut shown = app.get(&path).send().await.ok();
        assert_eq!(shown["provider_subscription_id"], id);
        shown["provider_subscription_id"] = json!("sub");
        let (plan, grace) = standing(&app, &customer).await;
        ends.push((shown, plan, grace));
    }
    assert_eq!(ends[0].1, plan("scale", "active", "subscription"));
    assert_eq!(ends[0].2, Value::Null);
    assert_eq!(ends[0].0["cancel_at_period_end"], true);
    for (seed, end) in ends.iter().enumerate() {
        assert_eq!(end, &ends[0], "seed {seed}");
    }
    let waiting = count(
        &app,
        "SELECT count(*) FROM webhooks WHERE status <> 'processed'",
    );
    assert_eq!(waiting, 0);
}

#[actix_web::test]
async fn a_fetch_that_was_overtaken_is_not_written() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let before = app.stripe().requests_to(Endpoint::Subscription).len();
    let transitions = || -> i64 {
        subscription_transitions::table
            .count()
            .get_result(&mut app.connect())
            .unwrap()
    };
    let recorded = transitions();
    // The provider has made up its answer and is slow to send it …
    let stall = Fault::StallAfterEffect(Duration::from_millis(400));
    app.stripe().fail(Endpoint::Subscription, stall, 1);
    let event = app
        .stripe()
        .update_subscription(&id, |s| s["status"] = json!("past_due"));
    deliver(&app, &event).await;
    let overtaken = app.apply_webhooks();
    // … while it changes its mind, and another worker takes the lease.
    let overtaking = async {
        while app.stripe().requests_to(Endpoint::Subscription).len() == before {
            tokio::task::yield_now().await;
        }
        app.stripe()
            .update_subscription(&id, |s| s["status"] = json!("active"));
        subscriptions::lease(&mut app.connect(), ProviderName::Stripe, &id).unwrap();
    };
    tokio::join!(overtaken, overtaking);
    // The event is tried again soon with a fetch of its own, as if it had not been; of the first one nothing is left.
    let row = kept(&app, &event);
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("parked", 0),
        "{row:?}"
    );
    let wait = row.next_attempt_at - app.clock.now();
    assert!((50..=250).contains(&wait.num_milliseconds()), "{wait}");
    app.advance(wait);
    app.apply_webhooks().await;
    let row = kept(&app, &event);
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("processed", 1),
        "{row:?}"
    );
    assert_eq!(
        app.stripe().requests_to(Endpoint::Subscription).len(),
        before + 2
    );
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    assert_eq!(transitions(), recorded);
}
