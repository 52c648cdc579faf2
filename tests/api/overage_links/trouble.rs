//! Whatever breaks off, at the provider or in a worker, neither loses an invoice nor asks for it twice.

use std::time::Duration;

use chrono::TimeDelta;
use plangate::providers::razorpay::{Razorpay, RazorpaySettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use plangate::service::overage_invoices::bill_next;

use super::{
    LIMIT, RUNS, asked, at_the_limit, bill, bill_with, invoice, invoices, only_link, reports, wait,
};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{consume, travel};

/// Longer than a claim holds.
const CLAIM: TimeDelta = TimeDelta::minutes(3);

/// An application whose customer `acme` owes 165 paise for a period that is closed, and was not asked yet.
async fn owing() -> TestApp {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 2).await;
    travel(&app, "2026-02-12T00:05:00Z");
    app
}

#[actix_web::test]
async fn whatever_the_provider_answers_there_is_one_link() {
    let faults = [
        Fault::DropAfterEffect,
        Fault::DropBeforeEffect,
        Fault::SERVER_ERROR,
        Fault::rate_limited(0),
        Fault::Garbage,
    ];
    for fault in faults {
        let app = owing().await;
        app.razorpay().fail(Endpoint::CreatePaymentLink, fault, 1);
        bill(&app).await;
        assert_eq!(invoice(&app).state, "sealed", "{fault:?}");
        assert!(invoice(&app).error.is_some(), "{fault:?}");
        app.advance(TimeDelta::seconds(4));
        bill(&app).await;
        assert_eq!(invoice(&app).state, "asked", "{fault:?}");
        assert_eq!(invoice(&app).error, None, "{fault:?}");
        assert_eq!(invoice(&app).provider_link_id, Some(only_link(&app)));
    }
}

#[actix_web::test]
async fn what_the_provider_refuses_is_tried_again_every_hour() {
    let app = owing().await;
    let refusal = Fault::Refuse("payment links are not enabled");
    app.razorpay().fail(Endpoint::CreatePaymentLink, refusal, 3);
    for _ in 0..3 {
        bill(&app).await;
        assert_eq!(invoice(&app).state, "sealed");
        let reason = invoice(&app).error.unwrap();
        assert!(reason.contains("not enabled"), "{reason}");
        let pause = wait(&app);
        assert!(pause >= TimeDelta::hours(1), "{pause}");
        assert!(
            pause < TimeDelta::hours(1) + TimeDelta::seconds(2),
            "{pause}"
        );
        let checks = app.get("/readyz?verbose").send().await.ok()["checks"].clone();
        assert_eq!(checks["overage_invoices"]["due"], 1, "{checks}");
        app.advance(pause);
    }
    let checks = app.get("/readyz?verbose").send().await.ok()["checks"].clone();
    assert_eq!(checks["overage_invoices"]["late"], true, "{checks}");
    bill(&app).await;
    assert_eq!(invoice(&app).state, "asked");
    assert_eq!(asked(&app), [165]);
}

#[actix_web::test]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let app = owing().await;
    app.razorpay()
        .fail(Endpoint::CreatePaymentLink, Fault::rate_limited(90), 1);
    bill(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    assert!(wait(&app) >= TimeDelta::seconds(90), "{}", wait(&app));
}

#[actix_web::test]
async fn a_worker_that_dies_before_the_answer_loses_nothing() {
    let app = owing().await;
    // Whoever listens there never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dying = app.context().clone();
    let settings = RazorpaySettings {
        api_base: format!("http://{}", silent.local_addr().unwrap())
            .parse()
            .unwrap(),
        ..app.razorpay().settings()
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    dying.storefronts[0].provider =
        std::sync::Arc::new(Razorpay::new(settings, transport).unwrap());
    let died = tokio::time::timeout(Duration::from_millis(500), bill_next(&dying)).await;
    assert!(died.is_err());
    assert_eq!(invoice(&app).state, "sealed");
    assert_eq!(reports(&app), [("sent".to_owned(), 2, true)]);
    // Its claim still holds.
    bill(&app).await;
    assert_eq!(asked(&app), [0; 0]);
    app.advance(CLAIM);
    bill(&app).await;
    assert_eq!(asked(&app), [165]);
    assert_eq!(invoice(&app).state, "asked");
}

#[actix_web::test]
async fn workers_at_once_seal_and_ask_once() {
    let app = owing().await;
    for customer in ["a", "b", "c"] {
        // Others whose periods began with the first of them close at the same time.
        super::subscribe(&app, customer, "scale").await;
        consume(&app, customer, RUNS, LIMIT + 2).await;
    }
    app.advance(TimeDelta::days(31));
    let workers = (0..4).map(|_| bill_with(app.context()));
    futures_util::future::join_all(workers).await;
    assert_eq!(asked(&app), [165; 4]);
    assert!(
        invoices(&app)
            .iter()
            .all(|invoice| invoice.state == "asked")
    );
    assert_eq!(
        app.razorpay()
            .requests_to(Endpoint::CreatePaymentLink)
            .len(),
        4
    );
}
