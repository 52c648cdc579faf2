//! Whatever breaks off, at the provider, in the database or in the worker, neither loses nor doubles a unit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use plangate::providers::stripe::{Stripe, StripeSettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use plangate::service::usage_reports::tell_due;
use plangate::store::clock::Clock as _;

use super::{
    GATHERS, RUNS, assert_reports, at_the_limit, billed, gather_and_tell, reports, rows, run, tell,
};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::steps::consume;

/// Longer than a claim holds.
const CLAIM: TimeDelta = TimeDelta::minutes(3);

#[actix_web::test]
async fn whatever_the_provider_answers_each_unit_is_billed_once() {
    let app = at_the_limit().await;
    // With how often each is tried before it is given up.
    let faults = [
        (Fault::DropAfterEffect, 3),
        (Fault::DropBeforeEffect, 3),
        (Fault::CONFLICT, 3),
        (Fault::SERVER_ERROR, 3),
        (Fault::rate_limited(0), 3),
        (Fault::Garbage, 1),
        (Fault::status(404), 1),
        (Fault::status(401), 1),
    ];
    let mut owed = 0;
    for (n, (fault, attempts)) in (1..).zip(faults) {
        consume(&app, "acme", RUNS, n).await;
        owed += n;
        app.stripe()
            .fail(Endpoint::CreateMeterEvent, fault, attempts);
        gather_and_tell(&app).await;
        assert_eq!(reports(&app).last().unwrap().0, "sealed", "{fault:?}");
        assert!(rows(&app).last().unwrap().error.is_some());
        app.advance(TimeDelta::seconds(4));
        tell(&app).await;
        assert_eq!(reports(&app).last().unwrap().0, "sent", "{fault:?}");
        assert_eq!(billed(&app), owed, "{fault:?}");
    }
}

#[actix_web::test]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    app.stripe()
        .fail(Endpoint::CreateMeterEvent, Fault::rate_limited(90), 1);
    gather_and_tell(&app).await;
    let due = rows(&app)[0].next_attempt_at - app.clock.now();
    assert!(due >= TimeDelta::seconds(90), "{due}");
    app.advance(TimeDelta::seconds(89));
    tell(&app).await;
    assert_eq!(
        app.stripe().requests_to(Endpoint::CreateMeterEvent).len(),
        1
    );
    app.advance(TimeDelta::seconds(3));
    tell(&app).await;
    assert_eq!(billed(&app), 2);
}

#[actix_web::test]
async fn a_worker_that_dies_before_the_provider_hears_of_it_loses_nothing() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    app.advance(GATHERS);
    // Whoever listens there never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dying = app.context().clone();
    let settings = StripeSettings {
        api_base: format!("http://{}", silent.local_addr().unwrap())
            .parse()
            .unwrap(),
        ..app.stripe().settings()
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    dying.storefronts[0].provider = Arc::new(Stripe::new(settings, transport).unwrap());
    let worker = tokio::spawn(async move { tell_due(&dying).await });
    until(|| reports(&app)[0].0 == "sealed").await;
    worker.abort();
    consume(&app, "acme", RUNS, 1).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sealed", 2), ("open", 1)]);
    app.advance(CLAIM);
    tell(&app).await;
    assert_reports(&app, &[("sent", 2), ("sent", 1)]);
    assert_eq!(billed(&app), 3);
}

#[actix_web::test]
async fn a_worker_that_dies_before_it_hears_the_answer_doubles_nothing() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    app.advance(GATHERS);
    let slow = Fault::StallAfterEffect(Duration::from_secs(5));
    app.stripe().fail(Endpoint::CreateMeterEvent, slow, 1);
    let context = app.context().clone();
    let worker = tokio::spawn(async move { tell_due(&context).await });
    until(|| billed(&app) == 2).await;
    worker.abort();
    app.advance(CLAIM);
    tell(&app).await;
    assert_reports(&app, &[("sent", 2)]);
    assert_eq!((billed(&app), app.stripe().meter_events().len()), (2, 1));
}

#[actix_web::test]
async fn a_worker_that_cannot_write_down_the_answer_doubles_nothing() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 6).await;
    let break_off = |state: &str| {
        run(
            &app,
            &format!(
                "ALTER TABLE usage_reports ADD CONSTRAINT broken CHECK (state <> '{state}') NOT VALID"
            ),
        );
    };
    let mend = || run(&app, "ALTER TABLE usage_reports DROP CONSTRAINT broken");
    app.advance(GATHERS);
    for state in ["sealed", "sent", "retracting", "retracted"] {
        if state == "retracting" {
            super::adjust(&app, -2, "down").await.ok();
            app.advance(GATHERS);
        }
        break_off(state);
        let before = reports(&app);
        tell_due(app.context()).await.unwrap_err();
        assert!(
            !reports(&app).iter().any(|(now, _)| now == state),
            "{before:?}"
        );
        mend();
        app.advance(CLAIM);
        if state != "sealed" && state != "retracting" {
            tell(&app).await;
        }
    }
    assert_reports(&app, &[("retracted", 6), ("sent", 4)]);
    assert_eq!(billed(&app), 4);
}

#[actix_web::test]
async fn a_worker_that_comes_back_late_changes_nothing_of_what_another_found_out() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    app.advance(GATHERS);
    let slow = Fault::StallAfterEffect(Duration::from_millis(500));
    app.stripe().fail(Endpoint::CreateMeterEvent, slow, 1);
    let context = app.context().clone();
    let late = tokio::spawn(async move { tell_due(&context).await });
    until(|| billed(&app) == 2).await;
    app.advance(CLAIM);
    tell(&app).await;
    assert_reports(&app, &[("sent", 2)]);
    super::adjust(&app, -2, "down").await.ok();
    gather_and_tell(&app).await;
    late.await.unwrap().unwrap();
    assert_reports(&app, &[("retracted", 2)]);
    assert_eq!(billed(&app), 0);
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
