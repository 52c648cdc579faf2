//! A checkout at Razorpay is the subscription itself, not paid yet.

use std::io::Write as _;

use chrono::TimeDelta;
use diesel::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    at_razorpay, attempts, billed, counting, news, on, order, pay, settle, standing, states,
    stored, subscribe,
};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;

/// Somebody looks at everything that Razorpay has, and writes down what is not known here.
async fn reconcile(app: &TestApp) -> Value {
    let path = "/admin/reconcile-subscriptions";
    let body = json!({"repair": true});
    app.post(path).json(body).send().await.ok()
}

/// The page's own subscription is looked at, as when a browser says that it was paid.
async fn look_at(app: &TestApp, id: &str) {
    let shown = app.razorpay().subscription(id);
    let event = app
        .razorpay()
        .event("subscription.updated", &[("subscription", &shown)]);
    news(app, [&event]).await;
}

#[actix_web::test]
async fn a_plan_is_bought_on_the_page_of_the_subscription() {
    let app = TestApp::with_razorpay().await;
    let checkout = order(&app, "pro").await.expect(201);
    let id = checkout["session_id"].as_str().unwrap();
    let made = app.razorpay().subscription(id);
    assert_eq!(made["short_url"], checkout["checkout_url"]);
    assert_eq!(made["notes"]["customer_id"], "acme");
    assert_eq!(checkout["provider"], "razorpay");
    assert_eq!(checkout["publishable_key"], "rzp_test_fake");
    assert_eq!(checkout["expires_at"], "2026-01-13T00:00:00Z");
    assert_eq!(standing(&app).await.0, "free");

    pay(&app, id).await;
    assert_eq!(standing(&app).await, on("pro"));
    assert_eq!(attempts(&app), states(&[("pro", "complete")]));
    let shown = counting(&app).await;
    assert_eq!(
        (&shown["provider_subscription_id"], &shown["status"]),
        (&json!(id), &json!("active"))
    );
    let problem = order(&app, "pro").await.expect(409);
    assert_eq!(problem["type"], "/problems/already-subscribed");
    let problem = order(&app, "scale").await.expect(409);
    assert_eq!(problem["type"], "/problems/use-change-plan");
}

#[actix_web::test]
async fn the_same_page_is_returned_whatever_was_heard_of_it() {
    let app = TestApp::with_razorpay().await;
    let first = order(&app, "pro").await.expect(201);
    assert_eq!(order(&app, "pro").await.expect(201), first);
    // A page that nobody has paid is no subscription that is missing here.
    assert_eq!(reconcile(&app).await["drifts"], json!([]));
    let id = first["session_id"].as_str().unwrap();
    look_at(&app, id).await;
    assert_eq!(stored(&app, id).as_deref(), Some("incomplete"));
    assert_eq!(order(&app, "pro").await.expect(201), first);
    assert_eq!(app.razorpay().subscriptions().len(), 1);
    assert_eq!(app.razorpay().customers().len(), 1);
    // Nothing was bought yet that could be cancelled or put on another plan.
    let body = json!({"customer_id": "acme"});
    for path in ["/billing/cancel", "/billing/resume"] {
        app.post(path).json(body.clone()).send().await.expect(404);
    }
    super::change(&app, "scale", None).await.expect(404);

    pay(&app, id).await;
    assert_eq!(standing(&app).await, on("pro"));
}

#[actix_web::test]
async fn a_page_for_another_plan_is_closed_first() {
    let app = TestApp::with_razorpay().await;
    let pro = order(&app, "pro").await.expect(201);
    let scale = order(&app, "scale").await.expect(201);
    let (pro, scale) = (
        pro["session_id"].as_str().unwrap(),
        scale["session_id"].as_str().unwrap(),
    );
    assert_eq!(at_razorpay(&app, pro), "cancelled");
    assert_eq!(
        attempts(&app),
        states(&[("pro", "expired"), ("scale", "open")])
    );
    // Razorpay tells of a cancellation, and nothing was ever cancelled.
    settle(&app).await;
    assert_eq!(stored(&app, pro).as_deref(), Some("incomplete_expired"));
    assert_eq!(standing(&app).await.0, "free");
    assert_eq!(at_razorpay(&app, scale), "created");
    pay(&app, scale).await;
    assert_eq!(standing(&app).await, on("scale"));
    assert_eq!(billed(&app), [scale]);
}

#[actix_web::test]
async fn a_page_that_expired_is_followed_by_a_new_one() {
    let app = TestApp::with_razorpay().await;
    let first = order(&app, "pro").await.expect(201);
    let id = first["session_id"].as_str().unwrap();
    look_at(&app, id).await;
    app.advance(TimeDelta::hours(24));
    let second = order(&app, "pro").await.expect(201);
    assert_ne!(second["session_id"], first["session_id"]);
    assert_eq!(stored(&app, id).as_deref(), Some("incomplete_expired"));
    assert_eq!(
        attempts(&app),
        states(&[("pro", "expired"), ("pro", "open")])
    );
    let problem = app
        .post("/billing/cancel")
        .json(json!({"customer_id": "acme"}))
        .send()
        .await;
    problem.expect(404);
    pay(&app, second["session_id"].as_str().unwrap()).await;
    assert_eq!(standing(&app).await, on("pro"));
    assert_eq!(app.razorpay().customers().len(), 1);
}

#[actix_web::test]
async fn a_payment_whose_webhook_is_lost_is_found_by_the_next_order() {
    let app = TestApp::with_razorpay().await;
    let checkout = order(&app, "pro").await.expect(201);
    let id = checkout["session_id"].as_str().unwrap();
    app.razorpay().pay_checkout(id);
    let lost = app.razorpay().take_events();
    assert_eq!(lost, []);
    let problem = order(&app, "pro").await.expect(409);
    assert_eq!(problem["type"], "/problems/already-subscribed");
    assert_eq!(standing(&app).await, on("pro"));
    assert_eq!(attempts(&app), states(&[("pro", "complete")]));
}

#[actix_web::test]
async fn a_page_whose_answer_was_lost_is_found_again() {
    let app = TestApp::with_razorpay().await;
    for fault in [
        Fault::DropBeforeEffect,
        Fault::SERVER_ERROR,
        // Made, and nobody here knows.
        Fault::DropAfterEffect,
    ] {
        app.razorpay().fail(Endpoint::CreateSubscription, fault, 1);
        order(&app, "pro").await.expect(502);
        assert_eq!(attempts(&app).last().unwrap().1, "creating", "{fault:?}");
    }
    let found = order(&app, "pro").await.expect(201);
    let made = app.razorpay().subscriptions();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["id"], found["session_id"]);
    assert_eq!(attempts(&app), states(&[("pro", "open")]));
    assert_eq!(app.razorpay().customers().len(), 1);
}

#[actix_web::test]
async fn a_page_whose_answer_was_lost_is_closed_when_another_plan_is_bought() {
    let app = TestApp::with_razorpay().await;
    app.razorpay()
        .fail(Endpoint::CreateSubscription, Fault::DropAfterEffect, 1);
    order(&app, "pro").await.expect(502);
    let scale = order(&app, "scale").await.expect(201);
    let made = app.razorpay().subscriptions();
    assert_eq!(made.len(), 2);
    assert_eq!(made[0]["status"], "cancelled");
    assert_eq!(made[1]["id"], scale["session_id"]);
    settle(&app).await;
}

#[actix_web::test]
async fn a_customer_whose_answer_was_lost_is_made_once_where_the_address_is_known() {
    let app = TestApp::with_razorpay().await;
    let body = json!({"email": "billing@acme.example"});
    app.put("/customers/acme").json(body).send().await;
    app.razorpay()
        .fail(Endpoint::CreateCustomer, Fault::DropAfterEffect, 1);
    order(&app, "pro").await.expect(502);
    order(&app, "pro").await.expect(201);
    assert_eq!(app.razorpay().customers().len(), 1);
    assert_eq!(app.razorpay().subscriptions().len(), 1);
}

#[actix_web::test]
async fn whoever_died_while_asking_keeps_others_out_for_a_minute() {
    let app = TestApp::with_razorpay().await;
    app.razorpay()
        .fail(Endpoint::CreateSubscription, Fault::DropAfterEffect, 1);
    order(&app, "pro").await.expect(502);
    diesel::sql_query("UPDATE checkout_sessions SET claimed_until = created_at + interval '60 s'")
        .execute(&mut app.connect())
        .unwrap();
    let problem = order(&app, "pro").await.expect(409);
    assert_eq!(problem["type"], "/problems/checkout-in-progress");
    app.advance(TimeDelta::seconds(60));
    order(&app, "pro").await.expect(201);
    assert_eq!(app.razorpay().subscriptions().len(), 1);
}

#[actix_web::test]
async fn a_refusal_ends_the_attempt() {
    let app = TestApp::with_razorpay().await;
    let refused = Fault::Refuse("The plan id does not exist");
    app.razorpay()
        .fail(Endpoint::CreateSubscription, refused, 1);
    order(&app, "pro").await.expect(502);
    assert_eq!(attempts(&app), states(&[("pro", "failed")]));
    order(&app, "pro").await.expect(201);
    assert_eq!(
        attempts(&app),
        states(&[("pro", "failed"), ("pro", "open")])
    );
}

/// An application whose tier pro can be tried for two weeks.
async fn generous() -> (TestApp, NamedTempFile) {
    let mut catalogue: Value =
        serde_json::from_str(include_str!("../../../../catalogue/default.json")).unwrap();
    catalogue["tiers"][1]["trial_days"] = json!(14);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(catalogue.to_string().as_bytes()).unwrap();
    let app = TestApp::builder()
        .with_razorpay()
        .set("PLANGATE_CATALOGUE", file.path().to_str().unwrap())
        .start()
        .await;
    (app, file)
}

#[actix_web::test]
async fn a_page_that_was_left_costs_nobody_the_trial() {
    let (app, _file) = generous().await;
    order(&app, "pro").await.expect(201);
    order(&app, "scale").await.expect(201);
    settle(&app).await;
    let id = subscribe(&app, "pro").await;
    assert_eq!(counting(&app).await["status"], "trialing");
    assert_eq!(counting(&app).await["trial_end"], "2026-01-26T00:00:00Z");
    assert_eq!(standing(&app).await, on("pro"));
    // Left within the trial, it was one.
    news(&app, &app.razorpay().cancel(&id)).await;
    assert_eq!(stored(&app, &id).as_deref(), Some("canceled"));
    let again = order(&app, "pro").await.expect(201);
    let again = app
        .razorpay()
        .subscription(again["session_id"].as_str().unwrap());
    assert_eq!(again["start_at"], Value::Null);
}
