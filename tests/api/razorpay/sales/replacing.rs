//! A subscription takes another one's place: whatever happens meanwhile, one is billed, and none is given back twice.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{
    at_razorpay, behind, billed, change, counting, news, on, pay, refunds, settle, standing,
    stored, subscribe,
};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;

/// On pro for ten days, with scale to be paid. Both ids.
async fn offered(app: &TestApp) -> (String, String) {
    let old = subscribe(app, "pro").await;
    app.advance(TimeDelta::days(10));
    let new = behind(app, &change(app, "scale", None).await.ok());
    (old, new)
}

#[actix_web::test]
async fn every_order_of_the_news_comes_to_the_same() {
    let mut ends: Vec<Value> = Vec::new();
    for turn in 0..6 {
        let app = TestApp::with_razorpay().await;
        let (old, new) = offered(&app).await;
        let mut events = app.razorpay().pay_checkout(&new);
        events.rotate_left(turn % 3);
        if turn >= 3 {
            events.reverse();
        }
        app.deliver_razorpay(events.iter().chain(&events)).await;
        settle(&app).await;
        assert_eq!(billed(&app), std::slice::from_ref(&new));
        assert_eq!(stored(&app, &old).as_deref(), Some("canceled"));
        assert_eq!(refunds(&app).len(), 1);
        let mut shown = counting(&app).await;
        assert_eq!(shown["provider_subscription_id"], *new);
        shown["provider_subscription_id"] = Value::Null;
        ends.push(json!([shown, standing(&app).await, refunds(&app)[0].1]));
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[actix_web::test]
async fn the_old_one_ends_also_where_the_new_one_has_ended_first() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = offered(&app).await;
    // Nothing can be ended for a while.
    app.razorpay()
        .fail(Endpoint::CancelSubscription, Fault::SERVER_ERROR, 3);
    pay(&app, &new).await;
    assert_eq!(at_razorpay(&app, &old), "active");
    assert_eq!(standing(&app).await, on("scale"));
    // Its payment goes back, and it ends.
    let payment = app.razorpay().payment_of(&new);
    let mut events = app.razorpay().refund_payment(&payment, None);
    events.extend(app.razorpay().cancel(&new));
    news(&app, &events).await;
    assert_eq!(at_razorpay(&app, &old), "active");
    for _ in 0..4 {
        app.advance(TimeDelta::hours(1));
        settle(&app).await;
    }
    // As if the job had been quicker: whoever left for another plan is not billed for this one again.
    assert_eq!(billed(&app), Vec::<String>::new());
    assert_eq!(stored(&app, &old).as_deref(), Some("canceled"));
    let of_old = app.razorpay().payment_of(&old);
    let unused: Vec<i64> = refunds(&app)
        .into_iter()
        .filter(|(payment, _)| *payment == of_old)
        .map(|(_, amount)| amount)
        .collect();
    assert_eq!(unused, [399_900 * 21 / 31]);
}

#[actix_web::test]
async fn what_goes_back_of_the_old_one_takes_nothing_else() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = offered(&app).await;
    pay(&app, &new).await;
    let payment = app.razorpay().payment_of(&old);
    // The news of the refund have come; the rest goes back, too.
    let rest = 399_900 - 399_900 * 21 / 31;
    news(&app, &app.razorpay().refund_payment(&payment, Some(rest))).await;
    assert_eq!(standing(&app).await, on("scale"));
    assert_eq!(billed(&app), [new]);
}

#[actix_web::test]
async fn a_customer_whose_old_one_is_still_being_ended_means_the_new_one() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "scale").await;
    let new = behind(&app, &change(&app, "pro", Some("now")).await.ok());
    app.razorpay()
        .fail(Endpoint::CancelSubscription, Fault::SERVER_ERROR, 4);
    pay(&app, &new).await;
    assert_eq!(at_razorpay(&app, &old), "active");
    let body = json!({"customer_id": "acme"});
    let shown = app.post("/billing/cancel").json(body).send().await.ok();
    assert_eq!(shown["provider_subscription_id"], *new);
    for _ in 0..4 {
        app.advance(TimeDelta::hours(1));
        settle(&app).await;
    }
    assert_eq!(billed(&app), [new]);
    assert_eq!(counting(&app).await["cancel_at_period_end"], true);
}

#[actix_web::test]
async fn one_that_is_past_due_when_its_successor_is_paid_ends_without_a_refund() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    app.advance(TimeDelta::days(30) + TimeDelta::hours(12));
    let new = behind(&app, &change(&app, "scale", Some("now")).await.ok());
    app.advance(TimeDelta::hours(12));
    news(&app, &app.razorpay().fail_renewal(&old)).await;
    assert_eq!(stored(&app, &old).as_deref(), Some("past_due"));
    pay(&app, &new).await;
    assert_eq!(billed(&app), [new]);
    assert_eq!(refunds(&app), []);
    assert_eq!(standing(&app).await, on("scale"));
}

#[actix_web::test]
async fn a_payment_that_was_quicker_than_a_change_of_mind_stands() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = offered(&app).await;
    // Paid in another tab; nobody here has heard of it.
    app.razorpay().pay_checkout(&new);
    let problem = change(&app, "pro", None).await.expect(409);
    assert_eq!(problem["type"], "/problems/conflict");
    settle(&app).await;
    assert_eq!(standing(&app).await, on("scale"));
    assert_eq!(billed(&app), [new]);
    assert_eq!(at_razorpay(&app, &old), "cancelled");
    assert_eq!(refunds(&app).len(), 1);
}

#[actix_web::test]
async fn customers_who_share_a_payer_s_name_are_not_taken_for_each_other() {
    let app = TestApp::with_razorpay().await;
    for customer in ["acme", "other"] {
        let body = json!({"email": "billing@acme.example"});
        app.put(&format!("/customers/{customer}"))
            .json(body)
            .send()
            .await;
        let order = json!({"customer_id": customer, "plan_tier": "pro", "provider": "razorpay"});
        let answer = app.post("/billing/create-checkout").json(order).send();
        let checkout = answer.await.expect(201);
        pay(&app, checkout["session_id"].as_str().unwrap()).await;
    }
    assert_eq!(app.razorpay().customers().len(), 1);
    let owners: Vec<Value> = app
        .razorpay()
        .subscriptions()
        .into_iter()
        .map(|one| one["notes"]["customer_id"].clone())
        .collect();
    assert_eq!(owners, ["acme", "other"]);
    let named = app.razorpay().customers()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let provider = plangate::domain::provider_event::ProviderName::Razorpay;
    let conn = &mut app.connect();
    let nobody = plangate::store::provider_customers::customer_of(conn, provider, &named);
    assert_eq!(nobody.unwrap(), None);
    assert_eq!(standing(&app).await, on("pro"));
}
