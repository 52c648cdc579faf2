//! Two live subscriptions at the provider: one stays.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use plangate::domain::provider_event::ProviderName;
use plangate::jobs::Jobs;
use plangate::providers::CheckoutRequest;
use serde_json::{Value, json};

use super::{audited, echoes, end_due, ending, given_back, news, plan, standing};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::{PRICE_PRO, PRICE_SCALE, TestApp};
use crate::support::steps::{assert_counters_equal_ledger, consume, count, pay, subscription_id};

/// The customer pays in a second tab, in a session that was opened at the same moment as the first. Returns the events.
async fn pay_in_another_tab(app: &TestApp, customer: &str, tier: &str) -> Vec<Value> {
    let customers = app.stripe().customers();
    let payer = customers
        .iter()
        .find(|found| found["metadata"]["customer_id"] == customer);
    let base = if tier == "pro" {
        PRICE_PRO
    } else {
        PRICE_SCALE
    };
    let request = CheckoutRequest {
        provider_customer_id: payer.unwrap()["id"].as_str().unwrap().to_owned(),
        base_price_id: base.to_owned(),
        overage_price_id: None,
        customer_id: customer.to_owned(),
        plan_tier: tier.to_owned(),
        plan_version: 1,
        success_url: "https://app.example.com/paid".to_owned(),
        cancel_url: "https://app.example.com/plans".to_owned(),
        trial_days: None,
        promotion_codes: false,
        starts_at: None,
        begun_at: chrono::DateTime::UNIX_EPOCH,
        idempotency_key: format!("another tab of {customer}"),
    };
    let stripe = app.context().storefront(ProviderName::Stripe).unwrap();
    let session = stripe.provider.create_checkout(&request).await.unwrap();
    app.stripe().complete_checkout(&session.id)
}

/// Both tabs are paid, one second after the other, and nothing of it was told yet. Returns the events of each.
async fn pay_in_two_tabs(
    app: &TestApp,
    customer: &str,
    (first, second): (&str, &str),
) -> (Vec<Value>, Vec<Value>) {
    let one = pay(app, customer, first).await;
    app.advance(TimeDelta::seconds(1));
    let other = pay_in_another_tab(app, customer, second).await;
    (one, other)
}

fn status(app: &TestApp, id: &str) -> Value {
    app.stripe().subscription(id)["status"].clone()
}

#[actix_web::test]
async fn one_that_took_another_ones_place_is_not_ended_for_it() {
    let app = TestApp::with_stripe().await;
    let old = subscription_id(&pay(&app, "acme", "pro").await);
    let old_news = app.stripe().update_subscription(&old, |_| {});
    news(&app, [&old_news]).await;
    app.advance(TimeDelta::days(1));
    // Ended in the dashboard and sold anew there; the news of the end comes last.
    let ended = app.stripe().delete_subscription(&old);
    let events = pay_in_another_tab(&app, "acme", "pro").await;
    let new = subscription_id(&events);
    news(&app, &events).await;
    assert!(
        ending(&app, &new).is_some(),
        "by what was known it was one too many"
    );
    end_due(&app).await;
    news(&app, [&ended]).await;
    end_due(&app).await;
    assert_eq!(ending(&app, &new), None);
    assert_eq!(status(&app, &new), json!("active"));
    assert_eq!(given_back(&app), Vec::<i64>::new());
    let in_force = standing(&app, "acme").await.0;
    assert_eq!(in_force, plan("pro", "active", "subscription"));
}

#[actix_web::test]
async fn of_two_tabs_that_were_both_paid_one_subscription_is_left() {
    let app = TestApp::with_stripe().await;
    let mut paid_back = Vec::new();
    let mut expected = Vec::new();
    for (tiers, keeps_first, amount) in [
        (("pro", "scale"), false, 4900),
        (("scale", "pro"), true, 4900),
        (("pro", "pro"), true, 4900),
    ] {
        for second_is_heard_of_first in [false, true] {
            let customer = format!("{}-{}-{second_is_heard_of_first}", tiers.0, tiers.1);
            let (one, other) = pay_in_two_tabs(&app, &customer, tiers).await;
            let (first, second) = (subscription_id(&one), subscription_id(&other));
            let (kept, surplus, tier) = if keeps_first {
                (&first, &second, tiers.0)
            } else {
                (&second, &first, tiers.1)
            };
            let events = if second_is_heard_of_first {
                [other, one]
            } else {
                [one, other]
            };
            for events in &events {
                news(&app, events).await;
                // Used at once, on whatever is in force.
                consume(&app, &customer, "attribution_runs", 10).await;
            }
            end_due(&app).await;
            echoes(&app).await;
            // Told again, it is nothing new.
            for events in &events {
                news(&app, events).await;
            }
            end_due(&app).await;
            let case = &customer;
            assert_eq!(
                (status(&app, kept), status(&app, surplus)),
                (json!("active"), json!("canceled")),
                "{case}"
            );
            assert_eq!(
                standing(&app, &customer).await,
                (plan(tier, "active", "subscription"), Value::Null),
                "{case}"
            );
            let shown = app
                .get(&format!("/billing/subscription?customer_id={customer}"))
                .send()
                .await
                .ok();
            assert_eq!(&shown["provider_subscription_id"], kept, "{case}");
            let noted = ending(&app, surplus).unwrap();
            assert_eq!(
                (noted.reason.as_str(), noted.state.as_str(), noted.refund),
                ("duplicate", "done", true),
                "{case}"
            );
            assert_eq!(ending(&app, kept), None, "{case}");
            paid_back.push(amount);
            let lower = if tiers == ("scale", "pro") {
                tiers.1
            } else {
                tiers.0
            };
            expected.push(("subscription.duplicate".to_owned(), surplus.clone(),
                json!({"action": "refund", "plan_tier": lower, "kept": kept, "kept_plan_tier": tier})));
            expected.push((
                "subscription.end".to_owned(),
                surplus.clone(),
                json!({"reason": "duplicate", "refunded": true, "refund_error": null}),
            ));
        }
    }
    assert_eq!(given_back(&app), paid_back);
    assert_eq!(audited(&app).await, expected);
    let unsettled = "SELECT count(*) FROM webhooks WHERE status <> 'processed'";
    assert_eq!(count(&app, unsettled), 0);
    assert_counters_equal_ledger(&app);
}

#[actix_web::test]
async fn whatever_stripe_answers_the_surplus_one_is_refunded_exactly_once() {
    let app = TestApp::with_stripe().await;
    let down = Fault::Status {
        status: 503,
        retry_after: None,
        should_retry: Some(false),
    };
    // Once within a call, and for longer than a call tries.
    let faults = [
        (Fault::DropAfterEffect, 1),
        (Fault::DropAfterEffect, 9),
        (Fault::DropBeforeEffect, 1),
        (Fault::rate_limited(0), 2),
        (Fault::SERVER_ERROR, 2),
        (Fault::CONFLICT, 1),
        (down, 3),
    ];
    for (case, (fault, times)) in faults.into_iter().enumerate() {
        let customer = format!("customer-{case}");
        let (one, other) = pay_in_two_tabs(&app, &customer, ("pro", "scale")).await;
        for endpoint in [
            Endpoint::CreateRefund,
            Endpoint::CancelSubscription,
            Endpoint::InvoicePayments,
        ] {
            app.stripe().fail(endpoint, fault, times);
        }
        news(&app, one.iter().chain(&other)).await;
        let surplus = subscription_id(&one);
        let mut rounds = 0;
        while ending(&app, &surplus).unwrap().state == "due" {
            end_due(&app).await;
            app.advance(TimeDelta::minutes(10));
            rounds += 1;
            assert!(rounds < 20, "{fault:?}: {:?}", ending(&app, &surplus));
        }
        echoes(&app).await;
        assert_eq!(given_back(&app).len(), case + 1, "{fault:?}");
        // Asked for under one key, so that not even another payment could be taken for it.
        let asked = app.stripe().requests_to(Endpoint::CreateRefund);
        let key = format!("refund:{surplus}");
        let last = asked.last().unwrap().idempotency_key.as_ref();
        assert_eq!(last, Some(&key), "{fault:?}");
        assert_eq!(status(&app, &surplus), "canceled", "{fault:?}");
        assert_eq!(status(&app, &subscription_id(&other)), "active");
        assert_eq!(
            standing(&app, &customer).await,
            (plan("scale", "active", "subscription"), Value::Null)
        );
    }
}

#[actix_web::test]
async fn workers_share_what_is_to_be_ended() {
    let app = TestApp::with_stripe().await;
    let mut surplus = Vec::new();
    let mut events = Vec::new();
    for customer in 0..3 {
        let (one, other) =
            pay_in_two_tabs(&app, &format!("customer-{customer}"), ("pro", "scale")).await;
        surplus.push(subscription_id(&one));
        events.extend(one.into_iter().chain(other));
    }
    app.deliver(&events).await;
    tokio::join!(
        app.apply_webhooks(),
        app.apply_webhooks(),
        end_due(&app),
        end_due(&app)
    );
    while count(
        &app,
        "SELECT count(*) FROM webhooks WHERE status <> 'processed'",
    ) > 0
    {
        app.advance(TimeDelta::seconds(1));
        app.apply_webhooks().await;
    }
    let slow = Fault::StallAfterEffect(Duration::from_millis(100));
    app.stripe().fail(Endpoint::CreateRefund, slow, 6);
    tokio::join!(end_due(&app), end_due(&app));
    for surplus in &surplus {
        let noted = ending(&app, surplus).unwrap();
        assert_eq!((noted.state.as_str(), noted.attempts), ("done", 1));
        assert_eq!(status(&app, surplus), "canceled");
    }
    assert_eq!(app.stripe().requests_to(Endpoint::CreateRefund).len(), 3);
    assert_eq!(given_back(&app), [4900, 4900, 4900]);

    // A worker so slow that it is taken for dead: another one does the same again, and it is done once.
    let (one, other) = pay_in_two_tabs(&app, "acme", ("pro", "scale")).await;
    news(&app, one.iter().chain(&other)).await;
    let before = app.stripe().requests_to(Endpoint::CreateRefund).len();
    app.stripe().fail(
        Endpoint::CreateRefund,
        Fault::StallAfterEffect(Duration::from_millis(600)),
        1,
    );
    let quicker = async {
        while app.stripe().requests_to(Endpoint::CreateRefund).len() == before {
            tokio::task::yield_now().await;
        }
        app.advance(TimeDelta::minutes(5));
        end_due(&app).await;
    };
    tokio::join!(end_due(&app), quicker);
    let noted = ending(&app, &subscription_id(&one)).unwrap();
    assert_eq!((noted.state.as_str(), noted.attempts), ("done", 2));
    assert_eq!(
        app.stripe().requests_to(Endpoint::CreateRefund).len(),
        before + 2
    );
    assert_eq!(given_back(&app).len(), 4);
    let ends = audited(&app).await;
    assert_eq!(
        ends.iter()
            .filter(|(action, ..)| action == "subscription.end")
            .count(),
        4
    );
}

#[tokio::test]
async fn the_job_is_woken_and_ends_the_surplus_one() {
    let app = TestApp::with_stripe().await;
    // It waits for the bell, which is rung by whoever finds the second one.
    let (one, other) = pay_in_two_tabs(&app, "globex", ("pro", "scale")).await;
    news(&app, one.iter().chain(&other)).await;
    let rung = app.context().bells.endings.notified();
    assert!(
        tokio::time::timeout(Duration::from_secs(1), rung)
            .await
            .is_ok()
    );

    let (one, other) = pay_in_two_tabs(&app, "acme", ("pro", "scale")).await;
    let jobs = Jobs::start(app.context(), None);
    app.deliver(one.iter().chain(&other)).await;
    let surplus = subscription_id(&one);
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let noted = ending(&app, &surplus);
        match &noted {
            Some(noted) if noted.state == "done" => break,
            // Other news of it was quicker to take the lease: it is tried again in a moment, and time stands still here.
            Some(noted) if noted.error.is_some() => app.advance(TimeDelta::milliseconds(300)),
            _ => {}
        }
        assert!(Instant::now() < deadline, "{noted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    jobs.stop().await;
    app.apply_webhooks().await;
    assert_eq!(status(&app, &surplus), "canceled");
    assert_eq!(status(&app, &subscription_id(&other)), "active");
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
    let mut order: Vec<Value> = events.iter().chain(events).cloned().collect();
    for last in (1..order.len()).rev() {
        order.swap(last, next(last + 1));
    }
    order
}

#[actix_web::test]
async fn any_order_of_both_tabs_news_ends_in_the_same_state() {
    let app = TestApp::with_stripe().await;
    for seed in 0..12_u64 {
        let customer = format!("customer-{seed}");
        let tiers = if seed.is_multiple_of(2) {
            ("pro", "scale")
        } else {
            ("pro", "pro")
        };
        let (one, other) = pay_in_two_tabs(&app, &customer, tiers).await;
        let (kept, surplus) = if tiers.0 == tiers.1 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let events: Vec<Value> = one.iter().chain(&other).cloned().collect();
        for (index, event) in shuffled(&events, seed).iter().enumerate() {
            app.deliver([event]).await;
            if !(seed + index as u64).is_multiple_of(3) {
                app.apply_webhooks().await;
            }
            if (seed + index as u64).is_multiple_of(4) {
                end_due(&app).await;
            }
        }
        app.apply_webhooks().await;
        end_due(&app).await;
        news(&app, &shuffled(&app.stripe().take_events(), seed)).await;
        assert_eq!(
            status(&app, &subscription_id(kept)),
            "active",
            "seed {seed}"
        );
        assert_eq!(
            status(&app, &subscription_id(surplus)),
            "canceled",
            "seed {seed}"
        );
        assert_eq!(
            standing(&app, &customer).await,
            (plan(tiers.1, "active", "subscription"), Value::Null),
            "seed {seed}"
        );
        assert_eq!(given_back(&app).len() as u64, seed + 1, "seed {seed}");
    }
}

#[actix_web::test]
async fn an_operator_who_wants_to_decide_is_told_once() {
    let builder = TestApp::builder().with_stripe();
    let app = builder
        .set("PLANGATE_ON_DUPLICATE_SUBSCRIPTION", "alert")
        .start()
        .await;
    let (one, other) = pay_in_two_tabs(&app, "acme", ("pro", "scale")).await;
    for _ in 0..2 {
        news(&app, one.iter().chain(&other)).await;
        news(
            &app,
            [&app
                .stripe()
                .update_subscription(&subscription_id(&one), |_| {})],
        )
        .await;
        end_due(&app).await;
    }
    let (surplus, kept) = (subscription_id(&one), subscription_id(&other));
    let details =
        json!({"action": "alert", "plan_tier": "pro", "kept": kept, "kept_plan_tier": "scale"});
    assert_eq!(
        audited(&app).await,
        [(
            "subscription.duplicate".to_owned(),
            surplus.clone(),
            details
        )]
    );
    assert_eq!(
        (status(&app, &kept), status(&app, &surplus)),
        (json!("active"), json!("active"))
    );
    assert_eq!(given_back(&app), [0; 0]);
    assert_eq!(standing(&app, "acme").await.0["tier"], "scale");
}

#[actix_web::test]
async fn a_refund_that_stripe_refuses_for_days_is_left_to_a_person() {
    let app = TestApp::with_stripe().await;
    let (one, other) = pay_in_two_tabs(&app, "acme", ("pro", "scale")).await;
    news(&app, one.iter().chain(&other)).await;
    app.stripe()
        .fail(Endpoint::CreateRefund, Fault::status(402), 100);
    let surplus = subscription_id(&one);
    end_due(&app).await;
    echoes(&app).await;
    // Nobody is billed any more meanwhile.
    assert_eq!(status(&app, &surplus), "canceled");
    assert_eq!(
        standing(&app, "acme").await,
        (plan("scale", "active", "subscription"), Value::Null)
    );
    for _ in 0..2 {
        app.advance(TimeDelta::hours(30));
        end_due(&app).await;
        assert_eq!(ending(&app, &surplus).unwrap().state, "due");
    }
    app.advance(TimeDelta::hours(12));
    end_due(&app).await;
    assert_eq!(ending(&app, &surplus).unwrap().state, "done");
    let (action, target, details) = audited(&app).await.pop().unwrap();
    assert_eq!(
        (action.as_str(), &target, &details["refunded"]),
        ("subscription.end", &surplus, &json!(false))
    );
    assert!(details["refund_error"].is_string(), "{details}");
    assert_eq!(given_back(&app), [0; 0]);
}

#[actix_web::test]
async fn the_refund_of_a_surplus_one_concerns_nothing_else() {
    let app = TestApp::with_stripe().await;
    let (one, other) = pay_in_two_tabs(&app, "acme", ("pro", "scale")).await;
    news(&app, one.iter().chain(&other)).await;
    end_due(&app).await;
    let refund = app.stripe().refunds()[0]["id"].as_str().unwrap().to_owned();
    echoes(&app).await;
    // It comes back: an operator is told, and nothing is undone.
    news(&app, &app.stripe().fail_refund(&refund)).await;
    end_due(&app).await;
    assert_eq!(ending(&app, &subscription_id(&one)).unwrap().state, "done");
    assert_eq!(ending(&app, &subscription_id(&other)), None);
    assert_eq!(
        standing(&app, "acme").await,
        (plan("scale", "active", "subscription"), Value::Null)
    );
}
