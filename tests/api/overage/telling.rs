//! What is owed is told once, in time, and in its turn.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use plangate::domain::provider_event::ProviderName;
use plangate::jobs::Jobs;
use plangate::service::usage_reports::{flush, tell_due};
use serde_json::json;

use super::{
    GATHERS, LIMIT, RUNS, assert_reports, at_the_limit, billed, gather_and_tell, record, reports,
    rows, tell,
};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::{consume, subscribe, travel};

#[actix_web::test]
async fn the_jobs_tell_overage_well_within_a_minute() {
    let app = at_the_limit().await;
    let jobs = Jobs::start(app.context(), None);
    consume(&app, "acme", RUNS, 4).await;
    consume(&app, "acme", RUNS, 3).await;
    assert_eq!(tell_due(app.context()).await.unwrap(), 0, "it gathers");
    app.advance(GATHERS);
    let deadline = Instant::now() + Duration::from_secs(20);
    while billed(&app) == 0 {
        assert!(Instant::now() < deadline, "{:?}", reports(&app));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    jobs.stop().await;
    assert_reports(&app, &[("sent", 7)]);
    assert_eq!(app.stripe().meter_events().len(), 1);
}

#[actix_web::test]
async fn workers_share_what_is_due_and_none_tells_what_another_does() {
    let app = TestApp::with_stripe().await;
    let customers = ["a", "b", "c", "d", "e", "f"];
    for customer in customers {
        subscribe(&app, customer, "scale").await;
        consume(&app, customer, RUNS, LIMIT + 5).await;
    }
    app.advance(GATHERS);
    let slow = Fault::StallAfterEffect(Duration::from_millis(50));
    app.stripe().fail(Endpoint::CreateMeterEvent, slow, 6);
    let workers = (0..4).map(|_| tell_due(app.context()));
    let told = futures_util::future::join_all(workers).await;
    let told: usize = told.into_iter().map(Result::unwrap).sum();
    assert_eq!(told, customers.len());
    assert_eq!(
        app.stripe().requests_to(Endpoint::CreateMeterEvent).len(),
        customers.len()
    );
    assert!(
        reports(&app)
            .iter()
            .all(|report| *report == ("sent".to_owned(), 5))
    );
}

#[actix_web::test]
async fn of_one_customer_one_report_is_under_way_at_a_time() {
    let app = at_the_limit().await;
    travel(&app, "2026-02-11T23:59:00Z");
    consume(&app, "acme", RUNS, 1).await;
    app.advance(GATHERS);
    app.stripe()
        .fail(Endpoint::CreateMeterEvent, Fault::SERVER_ERROR, 3);
    tell(&app).await;
    // Meanwhile more is used, in this period and, late, in the next.
    consume(&app, "acme", RUNS, 2).await;
    travel(&app, "2026-02-12T00:00:01Z");
    assert_eq!(
        record(&app, "late", 4, Some("2026-02-11T00:00:00Z")).await,
        "recorded"
    );
    consume(&app, "acme", RUNS, LIMIT + 8).await;
    app.advance(GATHERS);
    assert_reports(&app, &[("sealed", 1), ("open", 6), ("open", 8)]);
    for left in [2, 1, 0] {
        assert_eq!(tell_due(app.context()).await.unwrap(), 1);
        let waiting = reports(&app)
            .into_iter()
            .filter(|(state, _)| state == "open");
        assert_eq!(waiting.count(), left);
    }
    // The period that ended first went first.
    let values: Vec<i64> = app
        .stripe()
        .meter_events()
        .iter()
        .map(|e| e.value)
        .collect();
    assert_eq!(values, [1, 6, 8]);
}

#[actix_web::test]
async fn an_invoice_that_is_drawn_up_gets_what_is_owed_at_once() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "scale").await;
    consume(&app, "acme", RUNS, LIMIT + 9).await;
    let invoice = json!({"id": "in_1", "object": "invoice", "subscription": id});
    let drawn = app.stripe().event("invoice.created", &invoice);
    app.deliver([&drawn]).await;
    app.apply_webhooks().await;
    tell(&app).await;
    assert_eq!(billed(&app), 9);
}

#[actix_web::test]
async fn all_that_a_customer_owes_can_be_told_in_one_call() {
    let app = at_the_limit().await;
    let flushed = async || {
        flush(app.context(), "acme", ProviderName::Stripe)
            .await
            .unwrap()
    };
    assert!(flushed().await, "nothing is owed");
    consume(&app, "acme", RUNS, 1).await;
    app.stripe()
        .fail(Endpoint::CreateMeterEvent, Fault::SERVER_ERROR, 3);
    assert!(!flushed().await, "the provider does not answer");
    travel(&app, "2026-02-12T00:00:00Z");
    consume(&app, "acme", RUNS, LIMIT + 2).await;
    assert!(flushed().await);
    assert_eq!(billed(&app), 3);
}

#[actix_web::test]
async fn without_a_customer_at_the_provider_what_is_owed_waits() {
    let app = at_the_limit().await;
    let name = super::customer(&app);
    super::run(
        &app,
        "UPDATE provider_customers SET provider_customer_id = NULL",
    );
    super::run(
        &app,
        "UPDATE subscription_leases SET provider_customer_id = NULL",
    );
    consume(&app, "acme", RUNS, 5).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sealed", 5)]);
    assert!(
        rows(&app)[0]
            .error
            .as_ref()
            .unwrap()
            .contains("no such customer")
    );
    super::run(
        &app,
        &format!("UPDATE provider_customers SET provider_customer_id = '{name}'"),
    );
    // Longer than identifiers are remembered: it was never told, so nothing needs to be compared.
    app.advance(TimeDelta::hours(30));
    tell(&app).await;
    assert_reports(&app, &[("sent", 5)]);
    assert_eq!(billed(&app), 5);
    assert_eq!(app.stripe().requests_to(Endpoint::MeterSummaries).len(), 0);
}

#[actix_web::test]
async fn whoever_pays_the_subscription_is_billed() {
    let app = at_the_limit().await;
    // An earlier checkout bound another name; the subscription was sold past it.
    super::run(
        &app,
        "UPDATE provider_customers SET provider_customer_id = 'cus_of_an_earlier_checkout'",
    );
    consume(&app, "acme", RUNS, 5).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 5)]);
    let payer = app.stripe().customers()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(app.stripe().meter_total(&payer), 5);
}

#[actix_web::test]
async fn overage_that_waits_shows() {
    let app = at_the_limit().await;
    let shown =
        async || app.get("/readyz?verbose").send().await.ok()["checks"]["usage_reports"].clone();
    let idle = json!({"pending": 0, "oldest_at": null, "late": false, "doubtful": 0});
    assert_eq!(shown().await, idle);
    consume(&app, "acme", RUNS, 5).await;
    app.advance(TimeDelta::seconds(59));
    let mut expected =
        json!({"pending": 1, "oldest_at": "2026-01-12T00:00:00Z", "late": false, "doubtful": 0});
    assert_eq!(shown().await, expected);
    app.stripe()
        .fail(Endpoint::CreateMeterEvent, Fault::SERVER_ERROR, 3);
    tell(&app).await;
    app.advance(TimeDelta::seconds(1));
    expected["late"] = json!(true);
    assert_eq!(shown().await, expected);
    let figures = app.get("/metrics").send().await.text;
    for line in [
        "plangate_usage_reports_pending 1",
        "plangate_usage_reports_oldest_seconds 60",
    ] {
        assert!(
            figures.lines().any(|figure| figure == line),
            "{line}\n{figures}"
        );
    }
    app.advance(TimeDelta::seconds(2));
    tell(&app).await;
    assert_eq!(shown().await, idle);
    // What is owed later is not late because of what was owed before.
    consume(&app, "acme", RUNS, 1).await;
    assert_eq!(shown().await["oldest_at"], "2026-01-12T00:01:02Z");
}
