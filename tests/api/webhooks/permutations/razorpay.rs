//! Stories of subscriptions at Razorpay.

use serde_json::{Value, json};

use super::{Delay, FIRST_END, SECOND_END, Turn, all_end_alike, grace, status};
use crate::provider_contract::{RazorpaySide, Side};

async fn ends(tier: &str, delay: Delay, story: &[(&str, Turn<RazorpaySide>)]) -> Value {
    all_end_alike::<RazorpaySide>(tier, delay, story).await
}

#[actix_web::test]
async fn a_purchase_that_renews_twice_at_razorpay() {
    let renews: Turn<RazorpaySide> = RazorpaySide::end_period;
    let end = ends(
        "pro",
        Delay::Any,
        &[(FIRST_END, renews), (SECOND_END, renews)],
    )
    .await;
    assert_eq!(status(&end), "active");
    assert_eq!(end["charges"].as_array().map(Vec::len), Some(3));
}

#[actix_web::test]
async fn a_pending_renewal_that_is_paid_after_all() {
    let end = ends(
        "pro",
        Delay::Any,
        &[
            (FIRST_END, RazorpaySide::fail),
            ("2026-02-14T00:00:00Z", |app, id| {
                app.razorpay().fail_retry(id)
            }),
            ("2026-02-15T00:00:00Z", RazorpaySide::recover),
        ],
    )
    .await;
    assert_eq!((status(&end), grace(&end)), (&json!("active"), None));
}

#[actix_web::test]
async fn a_pending_renewal_that_is_halted_and_cancelled() {
    let end = ends(
        "scale",
        Delay::Any,
        &[
            (FIRST_END, RazorpaySide::fail),
            ("2026-02-14T00:00:00Z", RazorpaySide::give_up),
            ("2026-02-17T00:00:00Z", RazorpaySide::end),
        ],
    )
    .await;
    assert_eq!(status(&end), "canceled");
    // From the end of what was paid, whatever was heard of first.
    assert_eq!(grace(&end), Some("2026-02-19T00:00:00Z".parse().unwrap()));
}

#[actix_web::test]
async fn a_pause_and_its_end_in_the_dashboard() {
    let end = ends(
        "pro",
        Delay::WithinTheTurn,
        &[
            ("2026-01-20T00:00:00Z", RazorpaySide::pause),
            ("2026-01-25T00:00:00Z", |app, id| app.razorpay().resume(id)),
        ],
    )
    .await;
    assert_eq!(status(&end), "active");
}

#[actix_web::test]
async fn a_refund_in_two_parts_at_razorpay() {
    let half: Turn<RazorpaySide> = |app, id| {
        let razorpay = app.razorpay();
        razorpay.refund_payment(&razorpay.payment_of(id), Some(199_950))
    };
    let end = ends(
        "pro",
        Delay::Any,
        &[
            ("2026-01-14T00:00:00Z", half),
            ("2026-01-15T00:00:00Z", half),
        ],
    )
    .await;
    assert_eq!((status(&end), grace(&end)), (&json!("canceled"), None));
    assert_eq!(end["endings"], json!([["full_refund", "done"]]));
}

#[actix_web::test]
async fn a_dispute_that_is_lost_at_razorpay() {
    let end = ends(
        "pro",
        Delay::Any,
        &[("2026-01-20T00:00:00Z", RazorpaySide::lose_dispute)],
    )
    .await;
    assert_eq!((status(&end), grace(&end)), (&json!("canceled"), None));
}

#[actix_web::test]
async fn a_course_that_is_run() {
    let end = ends(
        "pro",
        Delay::Any,
        &[(FIRST_END, |app, id| {
            app.razorpay().update_subscription(id, |subscription| {
                subscription["total_count"] = json!(2);
                subscription["remaining_count"] = json!(1);
            });
            RazorpaySide::end_period(app, id)
        })],
    )
    .await;
    assert_eq!(status(&end), "expired");
    assert_eq!(grace(&end), None, "by the clock");
}
