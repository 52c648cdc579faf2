//! Customers who are deleted at the provider.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{news, plan, standing};
use crate::fake_stripe::Endpoint;
use crate::support::app::TestApp;
use crate::support::steps::{count, subscribe};

const BOUND: &str =
    "SELECT count(*) FROM provider_customers WHERE provider_customer_id IS NOT NULL";

#[actix_web::test]
async fn a_deleted_customer_is_unbound_and_buys_as_a_new_one() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let theirs = app.stripe().customers()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.advance(TimeDelta::days(1));
    // A change that is heard of only when the customer is gone.
    let late = app.stripe().update_subscription(&id, |_| {});
    let gone = app.stripe().delete_customer(&theirs);
    let deleted: Vec<&Value> = gone
        .iter()
        .filter(|event| event["type"] == "customer.deleted")
        .collect();
    assert_eq!(deleted.len(), 1);
    news(&app, deleted).await;
    let (now, grace) = standing(&app, "acme").await;
    assert_eq!(now, plan("free", "canceled", "grace"));
    assert_eq!(grace["tier"], "pro");
    assert_eq!(count(&app, BOUND), 0);
    // Nothing that comes later binds them again, and all of it is settled.
    news(&app, gone.iter().chain([&late])).await;
    let sale = app.stripe().event(
        "checkout.session.completed",
        &json!({"id": "cs_1", "mode": "subscription", "subscription": id, "metadata": {"customer_id": "acme"}}),
    );
    news(&app, [&sale]).await;
    assert_eq!(count(&app, BOUND), 0);
    let unsettled = "SELECT count(*) FROM webhooks WHERE status NOT IN ('processed', 'ignored')";
    assert_eq!(count(&app, unsettled), 0);

    let again = subscribe(&app, "acme", "pro").await;
    assert_ne!(again, id);
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
    assert_eq!(count(&app, BOUND), 1);
    let made = app.stripe().requests_to(Endpoint::CreateCustomer);
    let keys: Vec<_> = made
        .iter()
        .map(|request| request.idempotency_key.clone().unwrap())
        .collect();
    assert_eq!(keys, ["customer:acme:1", "customer:acme:2"]);
    // The old one's deletion, told once more, concerns nobody.
    let mut retold = app.stripe().event(
        "customer.deleted",
        &json!({"id": theirs, "object": "customer"}),
    );
    retold["id"] = json!("evt_retold");
    news(&app, [&retold]).await;
    assert_eq!(count(&app, BOUND), 1);
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");
}

#[actix_web::test]
async fn an_open_checkout_of_a_deleted_customer_is_not_handed_out_again() {
    let app = TestApp::with_stripe().await;
    let order = json!({"customer_id": "acme", "plan_tier": "pro"});
    let buy = async || {
        let opened = app
            .post("/billing/create-checkout")
            .json(order.clone())
            .send()
            .await
            .expect(201);
        opened["session_id"].as_str().unwrap().to_owned()
    };
    let session = buy().await;
    assert_eq!(buy().await, session);
    let theirs = app.stripe().customers()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    news(&app, &app.stripe().delete_customer(&theirs)).await;
    let another = buy().await;
    assert_ne!(another, session);
    news(&app, &app.stripe().complete_checkout(&another)).await;
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");
}

#[actix_web::test]
async fn strangers_who_are_deleted_concern_nobody() {
    let app = TestApp::with_stripe().await;
    subscribe(&app, "acme", "pro").await;
    let stranger = app.stripe().event(
        "customer.deleted",
        &json!({"id": "cus_stranger", "object": "customer"}),
    );
    news(&app, [&stranger]).await;
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM webhooks WHERE status = 'ignored'"
        ),
        1
    );
    assert_eq!(count(&app, BOUND), 1);
    assert_eq!(standing(&app, "acme").await.0["tier"], "pro");
}
