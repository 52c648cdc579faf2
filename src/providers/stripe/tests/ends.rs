//! What ends and their taking back ask of Stripe.

use serde_json::{Value, json};

use super::script::{Answer, Script, no, ok};
use crate::providers::{
    CheckoutRequest, FinalInvoice, PortalRequest, Provider as _, ProviderError,
};

const LOOK: &str = "GET /v1/subscriptions/sub_1 expand[0]=schedule expand[1]=latest_invoice";
const RELEASE: &str = "POST /v1/subscription_schedules/sub_sched_1/release";

fn subscription(fields: Value) -> Value {
    let mut object = json!({"id": "sub_1", "status": "active", "cancel_at_period_end": false, "items": {"data": []}});
    for (field, value) in fields.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

fn scheduled() -> Value {
    subscription(json!({"schedule": {"id": "sub_sched_1", "status": "active", "phases": []}}))
}

fn released() -> Value {
    json!({"id": "sub_sched_1", "status": "released"})
}

#[tokio::test]
async fn an_end_with_the_period_drops_what_was_planned() {
    let script = Script::of([scheduled(), released(), subscription(json!({}))].map(ok)).await;
    script.stripe().cancel_at_period_end("sub_1").await.unwrap();
    assert_eq!(
        script.asked(),
        [
            LOOK,
            RELEASE,
            "POST /v1/subscriptions/sub_1 cancel_at_period_end=true"
        ]
    );
    let script = Script::of([ok(subscription(json!({"cancel_at_period_end": true})))]).await;
    script.stripe().cancel_at_period_end("sub_1").await.unwrap();
    assert_eq!(script.asked(), [LOOK]);
}

#[tokio::test]
async fn a_plan_that_somebody_else_dropped_is_dropped() {
    let refused = || {
        no(
            400,
            "invalid",
            "You cannot release a subscription schedule that is currently in the `released` status.",
        )
    };
    let script = Script::of([ok(scheduled()), refused(), ok(released())]).await;
    script.stripe().drop_planned_change("sub_1").await.unwrap();
    assert_eq!(
        script.asked(),
        [LOOK, RELEASE, "GET /v1/subscription_schedules/sub_sched_1"]
    );
    let lives = ok(json!({"id": "sub_sched_1", "status": "active"}));
    let script = Script::of([ok(scheduled()), refused(), lives]).await;
    let outcome = script.stripe().drop_planned_change("sub_1").await;
    assert!(matches!(outcome, Err(ProviderError::Rejected { .. })));
    for none in [
        json!({}),
        json!({"schedule": null}),
        json!({"schedule": released()}),
    ] {
        let script = Script::of([ok(subscription(none))]).await;
        script.stripe().drop_planned_change("sub_1").await.unwrap();
        assert_eq!(script.asked(), [LOOK]);
    }
}

#[tokio::test]
async fn an_end_at_once_is_settled_as_asked_for() {
    for (settle, invoice_now) in [(FinalInvoice::Drawn, true), (FinalInvoice::None, false)] {
        let script = Script::of([
            Answer::Lost,
            ok(subscription(json!({"status": "canceled"}))),
        ])
        .await;
        script.stripe().cancel_now("sub_1", settle).await.unwrap();
        let line =
            format!("DELETE /v1/subscriptions/sub_1 invoice_now={invoice_now} prorate=false");
        assert_eq!(script.asked(), [line.clone(), line]);
    }
}

#[tokio::test]
async fn what_has_ended_stays_ended() {
    let gone = || no(404, "resource_missing", "No such subscription: 'sub_1'");
    for status in ["canceled", "incomplete_expired"] {
        let script = Script::of([gone(), ok(subscription(json!({"status": status})))]).await;
        let ended = script
            .stripe()
            .cancel_now("sub_1", FinalInvoice::None)
            .await;
        assert_eq!(ended, Ok(()), "{status}");
    }
    let script = Script::of([gone(), ok(subscription(json!({})))]).await;
    let ended = script
        .stripe()
        .cancel_now("sub_1", FinalInvoice::None)
        .await;
    assert_eq!(ended, Err(ProviderError::NotFound));
    let script = Script::of([gone(), gone()]).await;
    let ended = script
        .stripe()
        .cancel_now("sub_1", FinalInvoice::None)
        .await;
    assert_eq!(ended, Err(ProviderError::NotFound));
}

#[tokio::test]
async fn resuming_takes_back_what_there_is_and_nothing_else() {
    let unchanged =
        "POST /v1/subscriptions/sub_1/resume billing_cycle_anchor[type]=unchanged".to_owned();
    let update = |said: &str| format!("POST /v1/subscriptions/sub_1 {said}");
    let cases = [
        (json!({}), vec![]),
        (json!({"status": "paused"}), vec![unchanged]),
        (
            json!({"pause_collection": {"behavior": "void"}}),
            vec![update("pause_collection=")],
        ),
        // Stripe shows both for an end with the period, and takes only one back at a time.
        (
            json!({"cancel_at_period_end": true, "cancel_at": 200, "pause_collection": {"behavior": "void"}}),
            vec![update("cancel_at_period_end=false pause_collection=")],
        ),
        (json!({"cancel_at": 200}), vec![update("cancel_at=")]),
    ];
    for (fields, expected) in cases {
        let found = subscription(fields);
        let answers = std::iter::repeat_n(found, expected.len() + 1).map(ok);
        let script = Script::of(answers).await;
        script.stripe().resume("sub_1").await.unwrap();
        assert_eq!(script.asked()[1..], expected);
    }
}

#[tokio::test]
async fn every_visit_to_the_portal_is_one_of_its_own() {
    let request = PortalRequest {
        provider_customer_id: "cus_1".to_owned(),
        return_url: "https://app.example/account".to_owned(),
    };
    let url = json!({"id": "bps_1", "url": "https://billing.stripe.com/p/session/1"});
    let script = Script::of([ok(url.clone()), ok(url)]).await;
    for _ in 0..2 {
        let opened = script.stripe().open_portal(&request).await.unwrap();
        assert_eq!(opened, "https://billing.stripe.com/p/session/1");
    }
    assert_eq!(
        script.asked()[0],
        "POST /v1/billing_portal/sessions customer=cus_1 return_url=https://app.example/account"
    );
    assert_ne!(script.keys()[0], script.keys()[1]);
}

#[tokio::test]
async fn a_checkout_offers_the_trial_and_the_promotion_that_it_was_given() {
    let request = CheckoutRequest {
        trial_days: Some(14),
        promotion_codes: true,
        ..super::request()
    };
    let script = Script::of([ok(json!({"id": "cs_1", "status": "open"}))]).await;
    script.stripe().create_checkout(&request).await.unwrap();
    let asked = script.asked().remove(0);
    assert!(asked.contains(" allow_promotion_codes=true "), "{asked}");
    assert!(
        asked.contains(" subscription_data[trial_period_days]=14 "),
        "{asked}"
    );
    assert_eq!(script.keys(), [Some("k".to_owned())]);
}
