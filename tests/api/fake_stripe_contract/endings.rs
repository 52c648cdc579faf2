//! Ends of subscriptions and customers.

use serde_json::json;

use super::{delete, get, kinds, post, ready, session_params, sold};
use crate::fake_stripe::METER_EVENT_NAME;

#[tokio::test]
async fn a_subscription_is_cancelled_once() {
    let (stripe, _, id) = sold().await;
    let path = format!("/v1/subscriptions/{id}");
    let refused = delete(&stripe, &format!("{path}?at_period_end=true")).await;
    assert_eq!(refused.error(), (400, "parameter_unknown", "at_period_end"));
    let ended = delete(&stripe, &format!("{path}?invoice_now=true&prorate=false")).await;
    assert_eq!(ended.body["status"], "canceled");
    assert!(ended.body["ended_at"].is_i64());
    assert_eq!(
        kinds(&stripe.take_events()),
        ["customer.subscription.deleted"]
    );
    let again = delete(&stripe, &path).await;
    assert_eq!(again.error(), (404, "resource_missing", "id"));
    let refused = post(&stripe, &path, &[("cancel_at_period_end", "false")], None).await;
    assert_eq!(refused.status, 400);
    post(&stripe, &path, &[("metadata[a]", "1")], None)
        .await
        .id();
    assert_eq!(get(&stripe, &path).await.body["metadata"]["a"], "1");
}

#[tokio::test]
async fn the_last_invoice_bills_the_usage() {
    let (stripe, customer) = ready().await;
    let params = session_params(&customer);
    let session = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    let events = stripe.complete_checkout(&session.id());
    let id = events[0]["data"]["object"]["id"].as_str().unwrap();
    let usage = [
        ("event_name", METER_EVENT_NAME),
        ("payload[stripe_customer_id]", customer.as_str()),
        ("payload[value]", "70"),
    ];
    let told = post(&stripe, "/v1/billing/meter_events", &usage, None).await;
    assert_eq!(told.status, 200);
    let path = format!("/v1/subscriptions/{id}?invoice_now=true");
    assert_eq!(delete(&stripe, &path).await.status, 200);
    assert_eq!(
        kinds(&stripe.take_events()),
        [
            "invoice.created",
            "invoice.paid",
            "customer.subscription.deleted"
        ]
    );
    assert_eq!(stripe.charges()[1]["amount"], 70);
}

#[tokio::test]
async fn only_a_paused_subscription_is_resumed() {
    let (stripe, _, id) = sold().await;
    let path = format!("/v1/subscriptions/{id}/resume");
    assert_eq!(post(&stripe, &path, &[], None).await.status, 400);
    stripe.update_subscription(&id, |s| s["status"] = json!("paused"));
    let refused = post(&stripe, &path, &[("billing_cycle_anchor", "now")], None).await;
    assert_eq!(refused.error().1, "parameter_unknown");
    let params = [
        ("billing_cycle_anchor[type]", "unchanged"),
        ("proration_behavior", "none"),
    ];
    let resumed = post(&stripe, &path, &params, None).await;
    assert_eq!(resumed.body["status"], "active");
    assert_eq!(
        kinds(&stripe.take_events()),
        [
            "customer.subscription.updated",
            "customer.subscription.resumed"
        ]
    );
    stripe.update_subscription(&id, |s| s["status"] = json!("paused"));
    stripe.decline_payments(true);
    let unpaid = post(&stripe, &path, &[], None).await;
    assert_eq!(unpaid.body["status"], "paused");
}

#[tokio::test]
async fn a_deleted_customer_takes_the_subscriptions_along() {
    let (stripe, customer, id) = sold().await;
    let path = format!("/v1/customers/{customer}");
    let gone = delete(&stripe, &path).await.body;
    assert_eq!(
        gone,
        json!({"id": customer, "object": "customer", "deleted": true})
    );
    assert_eq!(
        kinds(&stripe.take_events()),
        ["customer.subscription.deleted", "customer.deleted"]
    );
    assert_eq!(get(&stripe, &path).await.body, gone);
    assert_eq!(stripe.subscription(&id)["status"], "canceled");
    assert_eq!(delete(&stripe, &path).await.status, 404);
    let params = session_params(&customer);
    let refused = post(&stripe, "/v1/checkout/sessions", &params, None).await;
    assert_eq!(refused.error(), (400, "resource_missing", "customer"));

    let (stripe, customer, _) = sold().await;
    let events = stripe.delete_customer(&customer);
    assert_eq!(
        kinds(&events),
        ["customer.subscription.deleted", "customer.deleted"]
    );
    assert!(stripe.take_events().is_empty());
}
