//! What becomes of a link is followed, whoever tells of it, in whatever order.

use chrono::TimeDelta;
use plangate::store::clock::Clock as _;
use serde_json::{Value, json};

use super::{LIMIT, RUNS, asked, at_the_limit, bill, close, invoice, only_link, record, warnings};
use crate::fake_razorpay::{Endpoint, FakeEvent, Fault, KEY_ID, KEY_SECRET};
use crate::support::app::TestApp;
use crate::support::steps::{at, consume, count, travel};

/// An application whose customer `acme` was asked for the overage of the first period.
async fn asked_for() -> TestApp {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    close(&app).await;
    assert_eq!(invoice(&app).state, "asked");
    app
}

async fn hear(app: &TestApp, events: &[FakeEvent]) {
    app.deliver_razorpay(events).await;
    app.apply_webhooks().await;
}

#[actix_web::test]
async fn a_link_that_is_paid_settles_its_invoice_once() {
    let app = asked_for().await;
    assert_eq!(warnings(&app).await.len(), 1);
    let paid = app.razorpay().pay_link(&only_link(&app));
    hear(&app, &paid).await;
    let settled = invoice(&app);
    assert_eq!(settled.state, "paid");
    assert_eq!(settled.paid_at, Some(app.clock.now()));
    let payment = paid[0].entity("payment")["id"].as_str().unwrap();
    assert_eq!(settled.payment_id.as_deref(), Some(payment));
    assert_eq!(warnings(&app).await, [""; 0]);

    // The same event again, and the same news under another id.
    app.advance(TimeDelta::hours(1));
    hear(&app, &paid).await;
    let mut again = paid[0].clone();
    again.id = "evt_again".to_owned();
    hear(&app, &[again]).await;
    bill(&app).await;
    assert_eq!(invoice(&app), settled);
    assert_eq!(asked(&app), [165]);
}

#[actix_web::test]
async fn news_of_a_link_may_be_quicker_than_our_own_note_of_it() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    travel(&app, "2026-02-12T00:05:00Z");
    // The link is made, and the answer is lost.
    app.razorpay()
        .fail(Endpoint::CreatePaymentLink, Fault::DropAfterEffect, 1);
    bill(&app).await;
    assert_eq!(invoice(&app).state, "sealed");
    assert_eq!(invoice(&app).provider_link_id, None);

    let link = only_link(&app);
    let paid = app.razorpay().pay_link(&link);
    hear(&app, &paid).await;
    let settled = invoice(&app);
    assert_eq!(settled.state, "paid");
    assert_eq!(settled.provider_link_id, Some(link));
    app.advance(TimeDelta::hours(2));
    bill(&app).await;
    assert_eq!(invoice(&app), settled);
    assert_eq!(asked(&app), [165]);
}

#[actix_web::test]
async fn a_link_that_was_paid_before_it_was_found_again_is_paid() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    travel(&app, "2026-02-12T00:05:00Z");
    app.razorpay()
        .fail(Endpoint::CreatePaymentLink, Fault::DropAfterEffect, 1);
    bill(&app).await;
    app.razorpay().pay_link(&only_link(&app));
    app.advance(TimeDelta::hours(2));
    bill(&app).await;
    assert_eq!(invoice(&app).state, "paid");
    assert_eq!(asked(&app), [165]);
}

#[actix_web::test]
async fn a_payment_of_which_no_event_tells_is_found_within_a_day() {
    let app = asked_for().await;
    app.razorpay().pay_link(&only_link(&app));
    app.advance(TimeDelta::hours(23));
    bill(&app).await;
    assert_eq!(invoice(&app).state, "asked");
    app.advance(TimeDelta::hours(1) + TimeDelta::seconds(1));
    bill(&app).await;
    assert_eq!(invoice(&app).state, "paid");
}

#[actix_web::test]
async fn a_link_that_can_no_longer_be_paid_is_left_to_an_operator() {
    for expires in [true, false] {
        let app = asked_for().await;
        let link = only_link(&app);
        let closed = if expires {
            app.razorpay().expire_link(&link)
        } else {
            app.razorpay().cancel_link(&link)
        };
        hear(&app, &closed).await;
        // Where no event tells, the next look does.
        app.advance(TimeDelta::days(2));
        bill(&app).await;
        assert_eq!(invoice(&app).state, "closed");
        assert_eq!(warnings(&app).await, [""; 0]);
        // The next period is billed as if nothing had been.
        let used = at("2026-02-20T00:00:00Z");
        travel(&app, "2026-02-21T00:00:00Z");
        assert_eq!(record(&app, "next", LIMIT + 4, used).await, "recorded");
        travel(&app, "2026-03-12T00:05:00Z");
        bill(&app).await;
        assert_eq!(asked(&app), [165, 330]);
    }
}

#[actix_web::test]
async fn what_was_paid_is_never_unpaid_by_older_news() {
    let app = asked_for().await;
    let link = only_link(&app);
    let paid = app.razorpay().pay_link(&link);
    hear(&app, &paid).await;
    let shown = app.razorpay().links()[0].clone();
    let mut stale = shown.clone();
    stale["status"] = json!("expired");
    let stale = app
        .razorpay()
        .event("payment_link.expired", &[("payment_link", &stale)]);
    hear(&app, &[stale]).await;
    assert_eq!(invoice(&app).state, "paid");
}

#[actix_web::test]
async fn links_of_others_at_the_same_account_are_none_of_ours() {
    let app = asked_for().await;
    let url = app.razorpay().base().join("/v1/payment_links").unwrap();
    let order = json!({"amount": 500, "currency": "INR", "reference_id": "an order", "description": "Shoes"});
    let made = reqwest::Client::new()
        .post(url)
        .basic_auth(KEY_ID, Some(KEY_SECRET))
        .header("content-type", "application/json")
        .body(order.to_string())
        .send()
        .await
        .unwrap();
    let made: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
    let paid = app.razorpay().pay_link(made["id"].as_str().unwrap());
    hear(&app, &paid).await;
    let ignored =
        "SELECT count(*) FROM webhooks WHERE type = 'payment_link.paid' AND status = 'ignored'";
    assert_eq!(count(&app, ignored), 1);
    assert_eq!(invoice(&app).state, "asked");
}
