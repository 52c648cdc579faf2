//! Customers, plans and subscriptions.

use serde_json::json;

use super::{get, kinds, post, ready, subscribe};

#[tokio::test]
async fn a_subscription_is_paid_for_on_its_page_and_renewed() {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({"notes": {"attempt": "a"}})).await;
    let events = razorpay.pay_checkout(&id);
    assert_eq!(
        kinds(&events),
        [
            "subscription.authenticated",
            "subscription.activated",
            "subscription.charged"
        ]
    );
    let shown = get(&razorpay, &format!("/v1/subscriptions/{id}"))
        .await
        .ok();
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["paid_count"], 1);
    assert_eq!(shown["remaining_count"], 119);
    // 2026-02-28T10:00:00Z: February has no 31st.
    assert_eq!(shown["current_end"], 1_772_272_800);
    let events = razorpay.end_period(&id);
    assert_eq!(kinds(&events), ["subscription.charged"]);
    // And back to the 31st.
    let shown = razorpay.subscription(&id);
    assert_eq!(shown["current_end"], 1_774_951_200);
    assert_eq!(events[0].entity("subscription"), &shown);
    assert_eq!(events[0].entity("payment")["amount"], 399_900);
}

#[tokio::test]
async fn a_customer_exists_once_for_each_address() {
    let razorpay = ready();
    let acme = json!({"name": "Acme", "email": "a@acme.example", "fail_existing": "0"});
    let first = post(&razorpay, "/v1/customers", acme.clone()).await.id();
    assert_eq!(
        post(&razorpay, "/v1/customers", acme.clone()).await.id(),
        first
    );
    let mut again = acme;
    again["fail_existing"] = json!("1");
    let refused = post(&razorpay, "/v1/customers", again).await;
    assert_eq!(
        refused.refusal(),
        "Customer already exists for the merchant"
    );
}
