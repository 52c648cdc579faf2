//! Reports that are unresolved for longer than the provider remembers identifiers are compared with its sums before they are told again.

use chrono::TimeDelta;
use serde_json::json;

use super::{RUNS, assert_reports, at_the_limit, billed, customer, gather_and_tell, rows, tell};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::TestApp;
use crate::support::steps::consume;

/// Three units were told before; of five more it is not known, for a day.
async fn unresolved(fault: Fault) -> TestApp {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 3).await;
    gather_and_tell(&app).await;
    consume(&app, "acme", RUNS, 5).await;
    app.stripe().fail(Endpoint::CreateMeterEvent, fault, 3);
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("sealed", 5)]);
    app.advance(TimeDelta::hours(25));
    app
}

fn times_told(app: &TestApp) -> usize {
    app.stripe().requests_to(Endpoint::CreateMeterEvent).len()
}

#[actix_web::test]
async fn what_the_provider_has_is_not_told_again() {
    let app = unresolved(Fault::DropAfterEffect).await;
    let before = times_told(&app);
    tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("sent", 5)]);
    assert_eq!((times_told(&app), billed(&app)), (before, 8));
}

#[actix_web::test]
async fn what_the_provider_never_received_is_told_again_under_the_same_identifier() {
    let app = unresolved(Fault::DropBeforeEffect).await;
    tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("sent", 5)]);
    assert_eq!(billed(&app), 8);
    let told = app.stripe().requests_to(Endpoint::CreateMeterEvent);
    let identifiers = told
        .iter()
        .map(|request| request.params["identifier"].clone());
    let mut identifiers: Vec<_> = identifiers.collect();
    identifiers.dedup();
    assert_eq!(identifiers.len(), 2);
    // A day of silence begins anew with it.
    assert_eq!(app.stripe().requests_to(Endpoint::MeterSummaries).len(), 1);
}

#[actix_web::test]
async fn a_sum_that_fits_neither_needs_a_person_and_stops_nobody() {
    let app = unresolved(Fault::DropBeforeEffect).await;
    // Somebody else told the same meter.
    let body = format!(
        "event_name=attribution_runs&payload[stripe_customer_id]={}&payload[value]=2&identifier=else&timestamp={}",
        customer(&app),
        app.stripe().meter_events()[0].timestamp.timestamp()
    );
    let url = app
        .stripe()
        .base()
        .join("/v1/billing/meter_events")
        .unwrap();
    let told = reqwest::Client::new()
        .post(url)
        .bearer_auth(crate::fake_stripe::SECRET_KEY)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(told.status().is_success());
    tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("doubtful", 5)]);
    let reason = rows(&app)[1].error.clone().unwrap();
    for number in ["counts 5 units", "known to have 3", "is of 5"] {
        assert!(reason.contains(number), "{reason}");
    }
    consume(&app, "acme", RUNS, 1).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("doubtful", 5), ("sent", 1)]);
    let shown = app.get("/readyz?verbose").send().await.ok();
    assert_eq!(shown["checks"]["usage_reports"]["doubtful"], 1);
    assert_eq!(shown["checks"]["usage_reports"]["pending"], json!(0));
}

#[actix_web::test]
async fn no_sum_is_guessed_while_the_provider_does_not_tell() {
    let app = unresolved(Fault::DropAfterEffect).await;
    let faults = [
        (Fault::SERVER_ERROR, 3),
        (Fault::DropAfterEffect, 3),
        (Fault::Garbage, 1),
    ];
    for (fault, attempts) in faults {
        app.stripe().fail(Endpoint::MeterSummaries, fault, attempts);
        tell(&app).await;
        assert_reports(&app, &[("sent", 3), ("sealed", 5)]);
        app.advance(TimeDelta::minutes(11));
    }
    tell(&app).await;
    assert_reports(&app, &[("sent", 3), ("sent", 5)]);
    assert_eq!(billed(&app), 8);
}
