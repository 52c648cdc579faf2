//! Corrections of what was, or is to be, billed.

use chrono::TimeDelta;

use super::{
    GATHERS, RUNS, adjust, assert_reports, at_the_limit, billed, gather_and_tell, reconcile,
    reports, rows, run, tell,
};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::steps::{consume, travel};
use plangate::store::clock::Clock as _;

#[actix_web::test]
async fn a_correction_before_it_is_told_is_told_with_it() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    adjust(&app, -4, "some").await.ok();
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 6)]);
    consume(&app, "acme", RUNS, 10).await;
    adjust(&app, -10, "all of it").await.ok();
    gather_and_tell(&app).await;
    // What nothing is left of is not kept.
    assert_reports(&app, &[("sent", 6)]);
    assert_eq!(
        app.stripe().requests_to(Endpoint::CreateMeterEvent).len(),
        1
    );
}

#[actix_web::test]
async fn a_correction_of_what_was_told_takes_it_back_and_tells_the_rest() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    consume(&app, "acme", RUNS, 5).await;
    gather_and_tell(&app).await;
    // More than the last report: the one before is taken back, too.
    adjust(&app, -8, "down").await.ok();
    assert_reports(&app, &[("sent", 10), ("sent", 5), ("open", -8)]);
    gather_and_tell(&app).await;
    assert_reports(&app, &[("retracted", 10), ("retracted", 5), ("sent", 7)]);
    assert_eq!(billed(&app), 7);
    let retractions = app.stripe().requests_to(Endpoint::AdjustMeterEvent);
    assert_eq!(retractions.len(), 2);
}

#[actix_web::test]
async fn what_is_used_again_makes_up_for_a_correction() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    adjust(&app, -3, "down").await.ok();
    consume(&app, "acme", RUNS, 7).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("sent", 4)]);
    assert_eq!(billed(&app), 14);
}

#[actix_web::test]
async fn what_can_no_longer_be_taken_back_stays_a_credit_of_its_period() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    app.advance(TimeDelta::hours(23));
    adjust(&app, -3, "down").await.ok();
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("open", -3)]);
    assert_eq!(
        app.stripe().requests_to(Endpoint::AdjustMeterEvent).len(),
        0
    );
    // A later use of the period is told as soon as any, less the credit.
    app.advance(TimeDelta::minutes(30));
    consume(&app, "acme", RUNS, 4).await;
    gather_and_tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("sent", 1)]);
    assert_eq!(billed(&app), 11);
}

#[actix_web::test]
async fn what_is_on_a_final_invoice_is_not_taken_back() {
    let app = at_the_limit().await;
    travel(&app, "2026-02-11T20:00:00Z");
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    adjust(&app, -3, "down").await.ok();
    // The provider is away until long after the invoice.
    travel(&app, "2026-02-12T02:00:00Z");
    tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("open", -3)]);
    assert_eq!(
        app.stripe().requests_to(Endpoint::AdjustMeterEvent).len(),
        0
    );
    // Late use could still have made up for it. Then a person must.
    travel(&app, "2026-02-15T23:59:59Z");
    tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("open", -3)]);
    travel(&app, "2026-02-16T00:00:00Z");
    tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("doubtful", -3)]);
    let reason = rows(&app)[1].error.clone().unwrap();
    assert!(reason.contains("a credit note is needed"), "{reason}");
    let shown = app.get("/readyz?verbose").send().await.ok();
    assert_eq!(shown["checks"]["usage_reports"]["doubtful"], 1);
}

#[actix_web::test]
async fn where_the_provider_finds_it_too_late_nothing_is_told_anew() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    adjust(&app, -3, "down").await.ok();
    // By the provider's clock it is.
    app.advance(GATHERS);
    app.stripe().set_now(app.clock.now() + TimeDelta::hours(24));
    tell(&app).await;
    assert_reports(&app, &[("sent", 10), ("open", -3)]);
    app.advance(TimeDelta::hours(2));
    tell(&app).await;
    assert_eq!(
        app.stripe().requests_to(Endpoint::AdjustMeterEvent).len(),
        1,
        "once is enough"
    );
    assert_eq!(billed(&app), 10);
    assert_eq!(
        reconcile(&app, false).await["drifts"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[actix_web::test]
async fn a_retraction_whose_answer_is_lost_is_found_out_about() {
    for (fault, repeated) in [
        (Fault::DropAfterEffect, true),
        (Fault::DropBeforeEffect, true),
        (Fault::SERVER_ERROR, true),
        (Fault::DropAfterEffect, false),
        (Fault::DropBeforeEffect, false),
    ] {
        let app = at_the_limit().await;
        consume(&app, "acme", RUNS, 10).await;
        gather_and_tell(&app).await;
        adjust(&app, -3, "down").await.ok();
        app.stripe().fail(Endpoint::AdjustMeterEvent, fault, 3);
        gather_and_tell(&app).await;
        // The rest waits until it is known.
        assert_reports(&app, &[("retracting", 10), ("open", 7)]);
        if repeated {
            app.advance(TimeDelta::seconds(10));
            tell(&app).await;
            assert_reports(&app, &[("retracted", 10), ("sent", 7)]);
            assert_eq!(billed(&app), 7);
            continue;
        }
        // By now it can neither be repeated nor is it known to have failed.
        app.advance(TimeDelta::hours(25));
        tell(&app).await;
        if fault == Fault::DropAfterEffect {
            assert_reports(&app, &[("retracted", 10), ("sent", 7)]);
            assert_eq!(billed(&app), 7);
        } else {
            assert_reports(&app, &[("sent", 10), ("open", -3)]);
            assert_eq!(billed(&app), 10);
        }
    }
}

#[actix_web::test]
async fn a_retraction_that_nobody_can_tell_the_end_of_bills_nothing_twice() {
    let app = at_the_limit().await;
    consume(&app, "acme", RUNS, 10).await;
    gather_and_tell(&app).await;
    adjust(&app, -3, "down").await.ok();
    app.stripe()
        .fail(Endpoint::AdjustMeterEvent, Fault::DropBeforeEffect, 3);
    gather_and_tell(&app).await;
    run(
        &app,
        "UPDATE usage_reports SET quantity = 9 WHERE state = 'retracting'",
    );
    app.advance(TimeDelta::hours(25));
    tell(&app).await;
    assert_eq!(reports(&app)[0].0, "doubtful");
    // 7 that waited, less the 9 of which it is not known.
    assert_eq!(reports(&app)[1], ("open".to_owned(), -2));
}
