//! Stories of subscriptions at Stripe.

use serde_json::json;

use super::{Delay, FIRST_END, SECOND_END, Turn, all_end_alike, grace, status};
use crate::provider_contract::StripeSide;
use crate::support::app::PRICE_SCALE;

#[actix_web::test]
async fn a_purchase_that_renews_twice() {
    let renews: Turn<StripeSide> = |app, id| app.stripe().end_period(id);
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::Any,
        &[(FIRST_END, renews), (SECOND_END, renews)],
    )
    .await;
    assert_eq!(status(&end), "active");
}

#[actix_web::test]
async fn a_failed_renewal_that_is_paid_after_all() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::Any,
        &[
            (FIRST_END, |app, id| app.stripe().fail_renewal(id)),
            ("2026-02-15T00:00:00Z", |app, id| {
                app.stripe().pay_overdue(id)
            }),
        ],
    )
    .await;
    assert_eq!((status(&end), grace(&end)), (&json!("active"), None));
}

#[actix_web::test]
async fn a_failed_renewal_that_is_never_paid() {
    let end = all_end_alike::<StripeSide>(
        "scale",
        Delay::Any,
        &[
            (FIRST_END, |app, id| app.stripe().fail_renewal(id)),
            ("2026-02-14T00:00:00Z", |app, id| {
                vec![
                    app.stripe()
                        .update_subscription(id, |s| s["status"] = json!("unpaid")),
                ]
            }),
            ("2026-02-17T00:00:00Z", |app, id| {
                vec![app.stripe().delete_subscription(id)]
            }),
        ],
    )
    .await;
    assert_eq!(status(&end), "canceled");
    // From the end of what was paid, whatever was heard of first.
    assert_eq!(grace(&end), Some("2026-02-19T00:00:00Z".parse().unwrap()));
}

#[actix_web::test]
async fn an_upgrade_and_a_downgrade_with_a_period() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::WithinTheTurn,
        &[
            ("2026-01-20T00:00:00Z", |app, id| {
                vec![app.stripe().update_subscription(id, |s| {
                    s["items"]["data"][0]["price"]["id"] = json!(PRICE_SCALE);
                })]
            }),
            (FIRST_END, |app, id| {
                let mut events = app.stripe().end_period(id);
                events.push(app.stripe().update_subscription(id, |s| {
                    s["items"]["data"][0]["price"]["id"] = json!("price_pro");
                }));
                events
            }),
        ],
    )
    .await;
    assert_eq!(end["subscriptions"][0]["plan_tier"], "pro");
}

#[actix_web::test]
async fn a_cancellation_at_the_periods_end_and_the_end() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::Any,
        &[
            ("2026-01-20T00:00:00Z", |app, id| {
                vec![
                    app.stripe()
                        .update_subscription(id, |s| s["cancel_at_period_end"] = json!(true)),
                ]
            }),
            (FIRST_END, |app, id| app.stripe().end_period(id)),
        ],
    )
    .await;
    assert_eq!(status(&end), "canceled");
    assert_eq!(grace(&end), Some("2026-02-19T00:00:00Z".parse().unwrap()));
}

#[actix_web::test]
async fn a_pause_and_its_end() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::WithinTheTurn,
        &[
            ("2026-01-20T00:00:00Z", |app, id| {
                vec![app.stripe().pause_collection(id, true)]
            }),
            ("2026-01-25T00:00:00Z", |app, id| {
                vec![app.stripe().pause_collection(id, false)]
            }),
        ],
    )
    .await;
    assert_eq!(status(&end), "active");
}

#[actix_web::test]
async fn a_refund_in_two_parts() {
    let half: Turn<StripeSide> = |app, id| {
        app.stripe()
            .refund_charge(&app.stripe().charge_of(id), Some(2450))
    };
    let end = all_end_alike::<StripeSide>(
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
async fn a_dispute_that_is_lost() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::Any,
        &[
            ("2026-01-20T00:00:00Z", |app, id| {
                app.stripe().open_dispute(&app.stripe().charge_of(id)).1
            }),
            ("2026-02-01T00:00:00Z", |app, id| {
                let charge = app.stripe().charge_of(id);
                app.stripe()
                    .close_dispute(&app.stripe().dispute_of(&charge), "lost")
            }),
        ],
    )
    .await;
    assert_eq!((status(&end), grace(&end)), (&json!("canceled"), None));
    assert_eq!(end["charges"], json!([[4900, 0, "lost"]]));
}

#[actix_web::test]
async fn a_customer_who_is_deleted_at_the_provider() {
    let end = all_end_alike::<StripeSide>(
        "pro",
        Delay::Any,
        &[("2026-01-20T00:00:00Z", |app, id| {
            let customer = app.stripe().subscription(id)["customer"]
                .as_str()
                .unwrap()
                .to_owned();
            app.stripe().delete_customer(&customer)
        })],
    )
    .await;
    assert_eq!(
        (status(&end), &end["bound"]),
        (&json!("canceled"), &json!(false))
    );
}
