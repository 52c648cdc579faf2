//! Refunds and disputes.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{audited, echoes, end_due, ending, news, plan, standing};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{assert_counters_equal_ledger, consume, count, subscribe};

#[actix_web::test]
async fn a_full_refund_ends_the_subscription_without_grace() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    consume(&app, "acme", "attribution_runs", 90).await;
    app.advance(TimeDelta::days(1));
    // In parts: nothing follows before they add up to the whole.
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, Some(4000))).await;
    end_due(&app).await;
    assert_eq!(ending(&app, &id), None);
    assert_eq!(
        standing(&app, "acme").await,
        (plan("pro", "active", "subscription"), Value::Null)
    );
    let kept = "SELECT amount_refunded FROM charges WHERE customer_id = 'acme' AND amount = 4900 AND currency = 'usd'";
    assert_eq!(count(&app, kept), 4000);

    let rest = app.stripe().refund_charge(&charge, None);
    for _ in 0..2 {
        news(&app, rest.iter().chain(&rest)).await;
    }
    assert_eq!(count(&app, kept), 4900);
    let noted = ending(&app, &id).unwrap();
    assert_eq!(
        (noted.reason.as_str(), noted.state.as_str(), noted.refund),
        ("full_refund", "due", false)
    );
    end_due(&app).await;
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    assert_eq!(app.stripe().subscription(&id)["status"], "canceled");
    let on_free = (plan("free", "canceled", "default"), Value::Null);
    assert_eq!(standing(&app, "acme").await, on_free);
    // What Stripe says of it afterwards gives no grace either.
    echoes(&app).await;
    assert_eq!(standing(&app, "acme").await, on_free);
    assert_eq!(
        app.stripe().requests_to(Endpoint::CancelSubscription).len(),
        1
    );
    assert_eq!(
        app.stripe().refunds().len(),
        2,
        "we gave nothing back ourselves"
    );
    let details = json!({"reason": "full_refund", "refunded": false, "refund_error": null});
    assert_eq!(
        audited(&app).await,
        [("subscription.end".to_owned(), id, details)]
    );
    assert_counters_equal_ledger(&app);

    // Come back: a new purchase is a new subscription.
    let again = subscribe(&app, "acme", "pro").await;
    end_due(&app).await;
    assert_eq!(ending(&app, &again), None);
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
}

#[actix_web::test]
async fn a_refund_after_the_end_takes_the_grace_away() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    app.advance(TimeDelta::days(1));
    news(&app, [&app.stripe().delete_subscription(&id)]).await;
    assert_eq!(standing(&app, "acme").await.1["tier"], "pro");
    consume(&app, "acme", "attribution_runs", 4000).await;
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    let on_free = (plan("free", "canceled", "default"), Value::Null);
    assert_eq!(standing(&app, "acme").await, on_free);
    assert_eq!(ending(&app, &id), None);
    // A period of its own began with the default tier, and nothing brings the grace back.
    let run = consume(&app, "acme", "attribution_runs", 1).await;
    assert_eq!(run["used"], 1);
    assert_eq!(run["period"]["start"], "2026-01-13T00:00:00Z");
    app.advance(TimeDelta::hours(1));
    news(&app, [&app.stripe().update_subscription(&id, |_| {})]).await;
    assert_eq!(standing(&app, "acme").await, on_free);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn news_of_the_money_may_come_before_that_of_the_subscription() {
    let app = TestApp::with_stripe().await;
    // The customer is known from an earlier purchase.
    let first = subscribe(&app, "acme", "pro").await;
    news(&app, [&app.stripe().delete_subscription(&first)]).await;
    app.advance(TimeDelta::days(1));
    let bought = crate::support::steps::pay(&app, "acme", "pro").await;
    let id = crate::support::steps::subscription_id(&bought);
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    end_due(&app).await;
    news(&app, &bought).await;
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("free", "canceled", "default")
    );
    assert_eq!(standing(&app, "acme").await.1, Value::Null);

    // Nothing tells whose it is: it waits for what does.
    let bought = crate::support::steps::pay(&app, "globex", "pro").await;
    let id = crate::support::steps::subscription_id(&bought);
    app.stripe()
        .update_subscription(&id, |s| s["metadata"] = json!({}));
    crate::support::steps::count(&app, "SELECT 1");
    diesel::RunQueryDsl::execute(
        diesel::sql_query("UPDATE provider_customers SET provider_customer_id = NULL WHERE customer_id = 'globex'"),
        &mut app.connect(),
    )
    .unwrap();
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    assert_eq!(ending(&app, &id), None);
    news(&app, &bought).await;
    app.advance(TimeDelta::minutes(1));
    app.apply_webhooks().await;
    end_due(&app).await;
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    assert_eq!(standing(&app, "globex").await.0["tier"], "free");
}

#[actix_web::test]
async fn a_dispute_is_kept_and_ends_the_subscription_only_if_it_is_lost() {
    let app = TestApp::with_stripe().await;
    let (won, lost) = (
        subscribe(&app, "winner", "pro").await,
        subscribe(&app, "loser", "pro").await,
    );
    let state = |customer: &str| {
        let of = |state: &str| {
            let counted = format!(
                "SELECT count(*) FROM charges WHERE customer_id = '{customer}' AND dispute = '{state}'"
            );
            count(&app, &counted) == 1
        };
        ["under_review", "won", "lost"]
            .into_iter()
            .find(|state| of(state))
    };
    let mut disputes = Vec::new();
    for (customer, id) in [("winner", &won), ("loser", &lost)] {
        let charge = app.stripe().charge_of(id);
        let (dispute, opened) = app.stripe().open_dispute(&charge);
        news(&app, &opened).await;
        assert_eq!(state(customer), Some("under_review"));
        disputes.push(dispute);
    }
    end_due(&app).await;
    for customer in ["winner", "loser"] {
        assert_eq!(
            standing(&app, customer).await.0,
            plan("pro", "active", "subscription")
        );
    }
    news(&app, &app.stripe().close_dispute(&disputes[0], "won")).await;
    news(&app, &app.stripe().close_dispute(&disputes[1], "lost")).await;
    end_due(&app).await;
    echoes(&app).await;
    assert_eq!(
        (state("winner"), state("loser")),
        (Some("won"), Some("lost"))
    );
    assert_eq!(
        standing(&app, "winner").await.0,
        plan("pro", "active", "subscription")
    );
    assert_eq!(
        standing(&app, "loser").await,
        (plan("free", "canceled", "default"), Value::Null)
    );
    assert_eq!(ending(&app, &won), None);
    let noted = ending(&app, &lost).unwrap();
    assert_eq!(
        (noted.reason.as_str(), noted.state.as_str()),
        ("dispute_lost", "done")
    );
}

#[actix_web::test]
async fn refunds_can_be_ignored_and_are_recorded_all_the_same() {
    let builder = TestApp::builder().with_stripe();
    let app = builder
        .set("PLANGATE_ON_FULL_REFUND", "ignore")
        .start()
        .await;
    let id = subscribe(&app, "acme", "pro").await;
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    end_due(&app).await;
    let kept = "SELECT count(*) FROM charges WHERE amount_refunded = amount";
    assert_eq!(count(&app, kept), 1);
    assert_eq!(ending(&app, &id), None);
    assert_eq!(
        standing(&app, "acme").await.0,
        plan("pro", "active", "subscription")
    );
}

#[actix_web::test]
async fn an_end_that_stripe_does_not_answer_is_tried_until_it_does() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    let charge = app.stripe().charge_of(&id);
    app.advance(TimeDelta::days(1));
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    let down = Fault::Status {
        status: 503,
        retry_after: None,
        should_retry: Some(false),
    };
    app.stripe().fail(Endpoint::CancelSubscription, down, 2);
    for attempts in [1, 2] {
        end_due(&app).await;
        let noted = ending(&app, &id).unwrap();
        assert_eq!((noted.state.as_str(), noted.attempts), ("due", attempts));
        assert!(noted.error.is_some());
        end_due(&app).await;
        assert_eq!(
            ending(&app, &id).unwrap().attempts,
            attempts,
            "not before its time"
        );
        app.advance(TimeDelta::seconds(6));
    }
    // Done, and nobody heard of it. The next attempt finds it ended.
    app.stripe()
        .fail(Endpoint::CancelSubscription, Fault::DropAfterEffect, 1);
    end_due(&app).await;
    app.advance(TimeDelta::hours(1));
    end_due(&app).await;
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    // A worker died over another one: it comes up again when the claim runs out.
    let id = subscribe(&app, "globex", "pro").await;
    let charge = app.stripe().charge_of(&id);
    news(&app, &app.stripe().refund_charge(&charge, None)).await;
    let claim = format!(
        "UPDATE subscription_endings SET claimed_until = '{}', attempts = 1 WHERE state = 'due'",
        (plangate::store::clock::Clock::now(&app.clock) + TimeDelta::minutes(5)).to_rfc3339()
    );
    diesel::RunQueryDsl::execute(diesel::sql_query(claim), &mut app.connect()).unwrap();
    end_due(&app).await;
    assert_eq!(ending(&app, &id).unwrap().state, "due");
    app.advance(TimeDelta::minutes(5));
    end_due(&app).await;
    assert_eq!(ending(&app, &id).unwrap().state, "done");
    assert_eq!(
        standing(&app, "globex").await,
        (plan("free", "canceled", "default"), Value::Null)
    );
}

#[actix_web::test]
async fn a_payment_that_the_provider_does_not_show_is_read_from_its_event() {
    // Neither the payment nor what it paid, as to a key that may see neither.
    for (hidden, times) in [(Endpoint::Charge, 2), (Endpoint::InvoicePayments, 1)] {
        let app = TestApp::with_stripe().await;
        let id = subscribe(&app, "acme", "pro").await;
        app.stripe().fail(hidden, Fault::status(404), times);
        let refunded = app
            .stripe()
            .refund_charge(&app.stripe().charge_of(&id), None);
        news(
            &app,
            refunded
                .iter()
                .filter(|event| event["type"] == "charge.refunded"),
        )
        .await;
        end_due(&app).await;
        assert_eq!(ending(&app, &id).unwrap().state, "done", "{hidden:?}");
        assert_eq!(
            standing(&app, "acme").await,
            (plan("free", "canceled", "default"), Value::Null)
        );
    }
}
