//! Ends of billing periods.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{kinds, post, ready, session_params, sold};
use crate::fake_stripe::METER_EVENT_NAME;

#[tokio::test]
async fn a_period_is_renewed_with_the_usage_of_the_last_one() {
    let (stripe, customer) = ready().await;
    let now: DateTime<Utc> = "2026-01-31T10:00:00Z".parse().unwrap();
    stripe.set_now(now);
    let params = session_params(&customer);
    let session = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    let events = stripe.complete_checkout(&session.id());
    let id = events[0]["data"]["object"]["id"].as_str().unwrap();
    let usage = [
        ("event_name", METER_EVENT_NAME),
        ("payload[stripe_customer_id]", customer.as_str()),
        ("payload[value]", "25"),
    ];
    let told = post(&stripe, "/v1/billing/meter_events", &usage, None).await;
    assert_eq!(told.status, 200);

    let events = stripe.end_period(id);
    assert_eq!(
        kinds(&events),
        [
            "invoice.created",
            "customer.subscription.updated",
            "invoice.paid"
        ]
    );
    assert_eq!(events[0]["data"]["object"]["status"], "draft");
    assert_eq!(events[2]["data"]["object"]["amount_paid"], 4925);
    assert_eq!(stripe.charges()[1]["amount"], 4925);
    let item = |at: usize| stripe.subscription(id)["items"]["data"][at].clone();
    let at = |text: &str| json!(text.parse::<DateTime<Utc>>().unwrap().timestamp());
    assert_eq!(item(0)["current_period_start"], at("2026-02-28T10:00:00Z"));
    assert_eq!(item(1)["current_period_end"], at("2026-03-31T10:00:00Z"));
    assert!(stripe.take_events().is_empty());

    stripe.decline_payments(true);
    let events = stripe.end_period(id);
    assert_eq!(
        kinds(&events),
        [
            "invoice.created",
            "invoice.payment_failed",
            "customer.subscription.updated"
        ]
    );
    assert_eq!(stripe.subscription(id)["status"], "past_due");
    stripe.renew_subscription(id);
    assert_eq!(stripe.subscription(id)["status"], "active");
}

#[tokio::test]
async fn a_period_that_is_the_last_one_ends_the_subscription() {
    let (stripe, _, id) = sold().await;
    let path = format!("/v1/subscriptions/{id}");
    let params = [("cancel_at_period_end", "true")];
    let planned = post(&stripe, &path, &params, None).await.body;
    let events = stripe.end_period(&id);
    assert_eq!(kinds(&events), ["customer.subscription.deleted"]);
    let ended = stripe.subscription(&id);
    assert_eq!(ended["status"], "canceled");
    assert_eq!(ended["ended_at"], planned["cancel_at"]);
}
