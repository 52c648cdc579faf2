//! A change of plan at Razorpay is a new subscription; until the customer has paid or agreed to it, nothing changes.

use chrono::TimeDelta;
use plangate::service::billing::send_ends;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    at_razorpay, behind, billed, change, counting, news, on, order, pay, refunds, settle, standing,
    stored, subscribe,
};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;

/// The ends that are due are sent to Razorpay, as the job would, and what comes of it is applied.
async fn send(app: &TestApp) {
    let token = CancellationToken::new();
    send_ends(app.context(), &token).await.unwrap();
    settle(app).await;
}

fn planned(tier: &str, at: &str) -> Value {
    json!({"plan_tier": tier, "plan_version": 1, "at": at})
}

#[actix_web::test]
async fn a_higher_plan_begins_when_it_is_paid() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    let before = counting(&app).await;
    app.advance(TimeDelta::days(10));
    let answer = change(&app, "scale", None).await.ok();
    let new = behind(&app, &answer);
    // The answer is the subscription as it is, and where its successor is paid.
    let mut shown = answer.clone();
    shown.as_object_mut().unwrap().remove("checkout_url");
    assert_eq!(shown, before);
    assert_eq!(counting(&app).await, before);
    assert_eq!(standing(&app).await, on("pro"));
    assert_eq!(billed(&app), std::slice::from_ref(&old));
    let made = app.razorpay().subscription(&new);
    assert_eq!(made["start_at"], Value::Null);
    assert_eq!(made["notes"]["plan_tier"], "scale");

    let paid = app.razorpay().payment_of(&old);
    let events = app.razorpay().pay_checkout(&new);
    assert_eq!(at_razorpay(&app, &old), "active");
    news(&app, &events).await;
    assert_eq!(standing(&app).await, on("scale"));
    assert_eq!(billed(&app), std::slice::from_ref(&new));
    assert_eq!(stored(&app, &old).as_deref(), Some("canceled"));
    // 21 of 31 days, of ₹3 999.
    assert_eq!(refunds(&app), [(paid, 399_900 * 21 / 31)]);
    assert_eq!(counting(&app).await["provider_subscription_id"], *new);
    // Nothing is left to be done, however often it is heard of.
    news(&app, &events).await;
    assert_eq!(refunds(&app).len(), 1);
    assert_eq!(billed(&app), [new]);
    let problem = change(&app, "scale", None).await.expect(409);
    assert_eq!(problem["type"], "/problems/already-subscribed");
}

#[actix_web::test]
async fn the_first_word_of_a_payment_is_enough() {
    for word in 0..3 {
        let app = TestApp::with_razorpay().await;
        let old = subscribe(&app, "pro").await;
        let new = behind(&app, &change(&app, "scale", None).await.ok());
        let events = app.razorpay().pay_checkout(&new);
        news(&app, [&events[word]]).await;
        assert_eq!(standing(&app).await, on("scale"));
        assert_eq!(at_razorpay(&app, &old), "cancelled");
        assert_eq!(refunds(&app).len(), 1);
    }
}

#[actix_web::test]
async fn a_lower_plan_now_leaves_the_grace_of_the_higher_one() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "scale").await;
    app.advance(TimeDelta::days(1));
    let new = behind(&app, &change(&app, "pro", Some("now")).await.ok());
    pay(&app, &new).await;
    let grace = Some("scale".to_owned());
    assert_eq!(
        standing(&app).await,
        ("pro".to_owned(), "subscription".to_owned(), grace)
    );
    assert_eq!(billed(&app), [new]);
    assert_eq!(refunds(&app)[0].1, 1_599_900 * 30 / 31);
    assert_eq!(at_razorpay(&app, &old), "cancelled");
    app.advance(TimeDelta::days(7));
    assert_eq!(standing(&app).await, on("pro"));
}

#[actix_web::test]
async fn money_goes_back_once_whatever_answers_are_lost() {
    for (endpoint, fault) in [
        (Endpoint::CancelSubscription, Fault::DropAfterEffect),
        (Endpoint::CancelSubscription, Fault::SERVER_ERROR),
        (Endpoint::CreateRefund, Fault::DropAfterEffect),
        (Endpoint::CreateRefund, Fault::SERVER_ERROR),
        (Endpoint::Invoices, Fault::SERVER_ERROR),
    ] {
        let app = TestApp::with_razorpay().await;
        let old = subscribe(&app, "pro").await;
        app.advance(TimeDelta::days(10));
        let new = behind(&app, &change(&app, "scale", None).await.ok());
        app.razorpay().fail(endpoint, fault, 4);
        pay(&app, &new).await;
        for _ in 0..4 {
            app.advance(TimeDelta::hours(1));
            settle(&app).await;
        }
        assert_eq!(standing(&app).await, on("scale"), "{endpoint:?} {fault:?}");
        assert_eq!(at_razorpay(&app, &old), "cancelled");
        let amounts: Vec<i64> = refunds(&app).into_iter().map(|refund| refund.1).collect();
        assert_eq!(amounts, [399_900 * 21 / 31], "{endpoint:?} {fault:?}");
    }
}

#[actix_web::test]
async fn a_change_that_is_left_alone_leaves_everything_as_it_was() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    let before = counting(&app).await;
    for when in ["now", "period_end"] {
        let first = change(&app, "scale", Some(when)).await.ok();
        let again = change(&app, "scale", Some(when)).await.ok();
        assert_eq!(first, again);
        app.advance(TimeDelta::days(2));
        settle(&app).await;
        assert_eq!(counting(&app).await, before);
        assert_eq!(billed(&app), std::slice::from_ref(&old));
        assert_eq!(refunds(&app), []);
        let later = change(&app, "scale", Some(when)).await.ok();
        assert_ne!(later["checkout_url"], first["checkout_url"]);
    }
    assert_eq!(standing(&app).await, on("pro"));
}

#[actix_web::test]
async fn another_change_closes_the_page_of_the_one_before() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    let now = behind(&app, &change(&app, "scale", Some("now")).await.ok());
    let later = behind(&app, &change(&app, "scale", Some("period_end")).await.ok());
    assert_eq!(at_razorpay(&app, &now), "cancelled");
    assert_eq!(at_razorpay(&app, &later), "created");
    settle(&app).await;
    // And asking for the plan it is on closes that.
    let shown = change(&app, "pro", None).await.ok();
    assert_eq!(shown["checkout_url"], Value::Null);
    assert_eq!(at_razorpay(&app, &later), "cancelled");
    settle(&app).await;
    let problem = change(&app, "pro", None).await.expect(409);
    assert_eq!(problem["type"], "/problems/already-subscribed");
    assert_eq!(billed(&app), [old]);
    assert_eq!(standing(&app).await, on("pro"));
}

#[actix_web::test]
async fn a_lower_plan_follows_at_the_period_s_end() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "scale").await;
    let answer = change(&app, "pro", None).await.ok();
    let new = behind(&app, &answer);
    assert_eq!(answer["planned_change"], Value::Null);
    assert_eq!(answer["cancel_at_period_end"], false);
    pay(&app, &new).await;
    let end = "2026-02-12T00:00:00Z";
    let shown = counting(&app).await;
    assert_eq!(shown["provider_subscription_id"], *old);
    assert_eq!(shown["cancel_at_period_end"], true);
    assert_eq!(shown["planned_change"], planned("pro", end));
    assert_eq!(stored(&app, &new).as_deref(), Some("incomplete"));
    assert_eq!(standing(&app).await, on("scale"));
    // What was agreed to is not asked for again.
    let again = change(&app, "pro", None).await.ok();
    assert_eq!(again, shown);
    // Razorpay hears of the end shortly before.
    assert!(!app.razorpay().ends_with_its_cycle(&old));
    app.advance(TimeDelta::days(30) + TimeDelta::hours(23));
    send(&app).await;
    assert!(app.razorpay().ends_with_its_cycle(&old));
    assert_eq!(counting(&app).await["planned_change"], planned("pro", end));
    // Neither what was agreed to nor what it follows can be had otherwise now.
    for (tier, when) in [("scale", None), ("pro", Some("now"))] {
        let problem = change(&app, tier, when).await.expect(409);
        assert_eq!(problem["type"], "/problems/conflict");
    }
    assert_eq!(at_razorpay(&app, &new), "authenticated");

    app.advance(TimeDelta::hours(1));
    let ended = app.razorpay().end_period(&old);
    let begun = app.razorpay().begin(&new);
    // In whatever order it is heard of.
    news(&app, begun.iter().chain(&ended)).await;
    let grace = Some("scale".to_owned());
    assert_eq!(
        standing(&app).await,
        ("pro".to_owned(), "subscription".to_owned(), grace)
    );
    assert_eq!(billed(&app), std::slice::from_ref(&new));
    assert_eq!(refunds(&app), []);
    let shown = counting(&app).await;
    assert_eq!(shown["provider_subscription_id"], *new);
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["trial_end"], Value::Null);
    app.advance(TimeDelta::days(7));
    assert_eq!(standing(&app).await, on("pro"));
}

/// On scale, with pro agreed to for the next period. Both ids.
async fn planned_change(app: &TestApp) -> (String, String) {
    let old = subscribe(app, "scale").await;
    let new = behind(app, &change(app, "pro", None).await.ok());
    pay(app, &new).await;
    assert_eq!(counting(app).await["cancel_at_period_end"], true);
    (old, new)
}

#[actix_web::test]
async fn what_was_agreed_to_can_be_taken_back() {
    for path in ["change-plan", "resume", "cancel"] {
        let app = TestApp::with_razorpay().await;
        let (old, new) = planned_change(&app).await;
        let mut body = json!({"customer_id": "acme"});
        if path == "change-plan" {
            body["plan_tier"] = json!("scale");
        }
        let answer = app.post(&format!("/billing/{path}")).json(body);
        let shown = answer.send().await.ok();
        assert_eq!(shown["planned_change"], Value::Null, "{path}");
        assert_eq!(shown["cancel_at_period_end"], path == "cancel", "{path}");
        assert_eq!(at_razorpay(&app, &new), "cancelled");
        settle(&app).await;
        assert_eq!(counting(&app).await, shown);
        assert_eq!(billed(&app), [old]);
        assert_eq!(standing(&app).await, on("scale"));
        assert_eq!(refunds(&app), []);
    }
}

#[actix_web::test]
async fn a_plan_for_later_can_be_had_now() {
    let app = TestApp::with_razorpay().await;
    let old = subscribe(&app, "pro").await;
    let later = behind(&app, &change(&app, "scale", Some("period_end")).await.ok());
    pay(&app, &later).await;
    let now = behind(&app, &change(&app, "scale", Some("now")).await.ok());
    assert_eq!(at_razorpay(&app, &later), "cancelled");
    settle(&app).await;
    assert_eq!(counting(&app).await["cancel_at_period_end"], false);
    pay(&app, &now).await;
    assert_eq!(billed(&app), [now]);
    assert_eq!(at_razorpay(&app, &old), "cancelled");
    assert_eq!(standing(&app).await, on("scale"));
}

#[actix_web::test]
async fn a_successor_that_never_begins_leaves_the_old_one_as_it_was() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = planned_change(&app).await;
    // The customer takes the mandate back.
    news(&app, &app.razorpay().cancel(&new)).await;
    let shown = counting(&app).await;
    assert_eq!(shown["planned_change"], Value::Null);
    assert_eq!(shown["cancel_at_period_end"], false);
    app.advance(TimeDelta::days(31));
    send(&app).await;
    news(&app, &app.razorpay().end_period(&old)).await;
    assert_eq!(standing(&app).await, on("scale"));
    assert_eq!(billed(&app), [old]);
}

#[actix_web::test]
async fn a_successor_that_is_lost_after_the_end_was_sent_leaves_an_end() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = planned_change(&app).await;
    app.advance(TimeDelta::days(30) + TimeDelta::hours(23));
    send(&app).await;
    news(&app, &app.razorpay().cancel(&new)).await;
    let shown = counting(&app).await;
    assert_eq!(shown["planned_change"], Value::Null);
    assert_eq!(shown["cancel_at_period_end"], true);
    app.advance(TimeDelta::hours(1));
    news(&app, &app.razorpay().end_period(&old)).await;
    assert_eq!(standing(&app).await.0, "free");
    assert_eq!(billed(&app), Vec::<String>::new());
    order(&app, "pro").await.expect(201);
}

#[actix_web::test]
async fn a_successor_whose_first_payment_fails_is_not_in_force() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = planned_change(&app).await;
    app.advance(TimeDelta::days(30) + TimeDelta::hours(23));
    send(&app).await;
    app.advance(TimeDelta::hours(1));
    news(&app, &app.razorpay().end_period(&old)).await;
    app.razorpay().decline_payments(true);
    news(&app, &app.razorpay().begin(&new)).await;
    app.razorpay().decline_payments(false);
    // Nothing was paid for it: what the old plan allowed is left for the grace.
    assert_eq!(stored(&app, &new).as_deref(), Some("incomplete"));
    assert_eq!(standing(&app).await.0, "free");
    assert_eq!(billed(&app), std::slice::from_ref(&new));
    assert_eq!(refunds(&app), []);
    news(&app, &app.razorpay().pay_overdue(&new)).await;
    assert_eq!(standing(&app).await.0, "pro");
    assert_eq!(counting(&app).await["provider_subscription_id"], *new);
}

#[actix_web::test]
async fn an_old_one_that_was_renewed_all_the_same_is_given_back_whole() {
    let app = TestApp::with_razorpay().await;
    let (old, new) = planned_change(&app).await;
    // Nobody told Razorpay of the end: the service was down.
    app.advance(TimeDelta::days(31));
    app.razorpay().end_period(&old);
    let paid = app.razorpay().payment_of(&old);
    news(&app, &app.razorpay().begin(&new)).await;
    assert_eq!(billed(&app), [new]);
    assert_eq!(refunds(&app), [(paid, 1_599_900)]);
    assert_eq!(standing(&app).await.0, "pro");
}

#[actix_web::test]
async fn only_what_is_paid_can_be_changed() {
    let app = TestApp::with_razorpay().await;
    let id = subscribe(&app, "pro").await;
    news(&app, &app.razorpay().fail_renewal(&id)).await;
    let problem = change(&app, "scale", None).await.expect(409);
    assert_eq!(problem["type"], "/problems/payment-due");
    assert_eq!(app.razorpay().subscriptions().len(), 1);
}
