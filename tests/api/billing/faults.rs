//! A provider that fails in the middle: whatever is repeated, the effect is there once.

use serde_json::{Value, json};

use super::{ask, hear, invoiced, prices, stored};
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::app::{PRICE_PRO, PRICE_SCALE, PRICE_SCALE_OVERAGE, TestApp};
use crate::support::steps::{count, subscribe};

/// More tries than a request is given.
const ALL_TRIES: usize = 3;

/// An operation, the plan that it begins with, and the requests that it takes.
struct Case {
    operation: &'static str,
    from: &'static str,
    body: Value,
    requests: &'static [Endpoint],
    /// What a repetition says that finds the work done.
    done: &'static str,
}

fn cases() -> [Case; 5] {
    use Endpoint as E;
    [
        Case {
            operation: "change-plan",
            from: "pro",
            body: json!({"plan_tier": "scale"}),
            requests: &[E::Subscription, E::UpdateSubscription],
            done: "already-subscribed",
        },
        Case {
            operation: "change-plan",
            from: "scale",
            body: json!({"plan_tier": "pro"}),
            requests: &[E::Subscription, E::CreateSchedule, E::UpdateSchedule],
            done: "",
        },
        Case {
            operation: "cancel",
            from: "pro",
            body: json!({}),
            requests: &[E::Subscription, E::UpdateSubscription],
            done: "",
        },
        Case {
            operation: "cancel",
            from: "pro",
            body: json!({"when": "now"}),
            requests: &[E::Subscription, E::CancelSubscription],
            done: "",
        },
        Case {
            operation: "resume",
            from: "pro",
            body: json!({}),
            requests: &[E::Subscription, E::UpdateSubscription],
            done: "conflict",
        },
    ]
}

async fn begin(case: &Case) -> (TestApp, String) {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", case.from).await;
    if case.operation == "resume" {
        ask(&app, "cancel", json!({})).await.ok();
        hear(&app).await;
    }
    (app, id)
}

/// The operation has had its effect, once.
async fn assert_done_once(app: &TestApp, id: &str, case: &Case, told: &str) {
    hear(app).await;
    let shown = stored(app).await;
    let there = app.stripe().subscription(id);
    match (case.operation, case.from) {
        ("change-plan", "pro") => {
            assert_eq!(shown["plan_tier"], "scale", "{told}");
            assert_eq!(
                prices(app, id),
                [PRICE_SCALE, PRICE_SCALE_OVERAGE],
                "{told}"
            );
            assert_eq!(invoiced(app, "subscription_update").len(), 1, "{told}");
        }
        ("change-plan", _) => {
            assert_eq!(shown["planned_change"]["plan_tier"], "pro", "{told}");
            assert_eq!(
                prices(app, id),
                [PRICE_SCALE, PRICE_SCALE_OVERAGE],
                "{told}"
            );
            assert!(there["schedule"].is_string(), "{told}");
        }
        ("cancel", _) if case.body == json!({}) => {
            assert_eq!(shown["cancel_at_period_end"], true, "{told}");
            assert_eq!(there["cancel_at_period_end"], true, "{told}");
        }
        ("cancel", _) => {
            assert_eq!(shown["status"], "canceled", "{told}");
            assert_eq!(there["status"], "canceled", "{told}");
            assert_eq!(shown["grace"]["tier"], "pro", "{told}");
        }
        _ => {
            assert_eq!(shown["cancel_at_period_end"], false, "{told}");
            assert_eq!(there["cancel_at_period_end"], false, "{told}");
            assert_eq!(prices(app, id), [PRICE_PRO], "{told}");
        }
    }
    let held = "SELECT count(*) FROM subscription_leases WHERE changing_until IS NOT NULL";
    assert_eq!(count(app, held), 0, "{told}: nobody has the turn");
}

#[actix_web::test]
async fn what_fails_in_passing_is_repeated_unseen() {
    for case in cases() {
        let (app, id) = begin(&case).await;
        for endpoint in case.requests {
            app.stripe().fail(*endpoint, Fault::DropAfterEffect, 1);
        }
        let told = format!("{} {}", case.operation, case.body);
        let done = ask(&app, case.operation, case.body.clone()).await;
        assert_eq!(done.status, 200, "{told}: {}", done.text);
        assert_done_once(&app, &id, &case, &told).await;
    }
}

/// Each request of each operation fails until it is given up. Then the operation is repeated.
async fn fail_everywhere(fault: Fault) {
    for case in cases() {
        for endpoint in case.requests {
            let (app, id) = begin(&case).await;
            let told = format!(
                "{fault:?} at {endpoint:?} in {} {}",
                case.operation, case.body
            );
            app.stripe().fail(*endpoint, fault, ALL_TRIES);
            let failed = ask(&app, case.operation, case.body.clone()).await;
            let failed = failed.problem(502, "provider-failed");
            assert!(
                !failed["detail"].as_str().unwrap().contains("Stripe"),
                "{told}"
            );
            let again = ask(&app, case.operation, case.body.clone()).await;
            let done = again.body["type"] == format!("/problems/{}", case.done);
            assert!(again.status == 200 || done, "{told}: {}", again.text);
            assert_done_once(&app, &id, &case, &told).await;
        }
    }
}

#[actix_web::test]
async fn a_lost_answer_is_made_up_for_by_a_repetition() {
    fail_everywhere(Fault::DropAfterEffect).await;
}

#[actix_web::test]
async fn a_conflict_at_the_provider_does_no_harm() {
    fail_everywhere(Fault::CONFLICT).await;
}

#[actix_web::test]
async fn a_rate_limit_does_no_harm() {
    fail_everywhere(Fault::rate_limited(0)).await;
}

#[actix_web::test]
async fn a_provider_that_is_broken_does_no_harm() {
    fail_everywhere(Fault::SERVER_ERROR).await;
}

#[actix_web::test]
async fn a_change_whose_result_cannot_be_seen_is_told_by_its_webhook() {
    let app = TestApp::with_stripe().await;
    let id = subscribe(&app, "acme", "pro").await;
    // The look before and the provider's own pass, the look afterwards does not.
    let looks = app.stripe().requests_to(Endpoint::Subscription).len();
    ask(&app, "cancel", json!({})).await.ok();
    let each = app.stripe().requests_to(Endpoint::Subscription).len() - looks;
    ask(&app, "resume", json!({})).await.ok();
    hear(&app).await;

    app.stripe().fail(
        Endpoint::Subscription,
        Fault::StallAfterEffect(std::time::Duration::ZERO),
        each - 1,
    );
    app.stripe()
        .fail(Endpoint::Subscription, Fault::SERVER_ERROR, ALL_TRIES);
    let unseen = ask(&app, "cancel", json!({})).await;
    unseen.problem(502, "provider-failed");
    assert_eq!(app.stripe().subscription(&id)["cancel_at_period_end"], true);
    assert_eq!(stored(&app).await["cancel_at_period_end"], false);
    hear(&app).await;
    assert_eq!(stored(&app).await["cancel_at_period_end"], true);
    let again = ask(&app, "cancel", json!({})).await.ok();
    assert_eq!(again["cancel_at_period_end"], true);
}
