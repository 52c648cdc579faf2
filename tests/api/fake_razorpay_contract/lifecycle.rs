//! What becomes of a subscription after the first payment, or without one.

use serde_json::json;

use super::{get, kinds, post, ready, subscribe};
use crate::fake_razorpay::FakePlan;

/// A subscription that is paid, since 2026-01-31T10:00:00Z.
async fn sold() -> (crate::fake_razorpay::FakeRazorpay, String) {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({})).await;
    razorpay.pay_checkout(&id);
    (razorpay, id)
}

fn at(text: &str) -> i64 {
    let instant: chrono::DateTime<chrono::Utc> = text.parse().unwrap();
    instant.timestamp()
}

#[tokio::test]
async fn cycles_end_with_short_months_and_go_back_to_the_day() {
    let (razorpay, id) = sold().await;
    let end = || razorpay.subscription(&id)["current_end"].clone();
    assert_eq!(end(), at("2026-02-28T10:00:00Z"));
    let events = razorpay.end_period(&id);
    assert_eq!(kinds(&events), ["subscription.charged"]);
    assert_eq!(end(), at("2026-03-31T10:00:00Z"));
    assert_eq!(
        events[0].entity("subscription"),
        &razorpay.subscription(&id)
    );
    razorpay.end_cycles_at_midnight(true);
    razorpay.end_period(&id);
    assert_eq!(end(), at("2026-04-29T18:30:00Z"));
    let yearly = ready();
    yearly.add_plan(FakePlan {
        period: "yearly".to_owned(),
        ..FakePlan::monthly("plan_pro", 900)
    });
    let id = subscribe(&yearly, json!({"total_count": 10})).await;
    yearly.pay_checkout(&id);
    let sold = yearly.subscription(&id);
    assert_eq!(sold["current_end"], at("2027-01-31T10:00:00Z"));
    assert_eq!(sold["end_at"], at("2036-01-31T10:00:00Z"));
}

#[tokio::test]
async fn an_end_with_the_cycle_shows_nowhere_until_it_comes() {
    let (razorpay, id) = sold().await;
    let before = razorpay.subscription(&id);
    let path = format!("/v1/subscriptions/{id}/cancel");
    let refused = post(&razorpay, &path, json!({"cancel_at_cycle_end": "soon"})).await;
    assert_ne!(refused.refusal(), "");
    for said in [json!(1), json!(true)] {
        let body = json!({"cancel_at_cycle_end": said});
        assert_eq!(post(&razorpay, &path, body).await.ok(), before);
    }
    assert!(razorpay.ends_with_its_cycle(&id));
    assert_eq!(
        get(&razorpay, &format!("/v1/subscriptions/{id}"))
            .await
            .ok(),
        before
    );
    assert_eq!(razorpay.take_events(), []);
    let events = razorpay.end_period(&id);
    assert_eq!(kinds(&events), ["subscription.cancelled"]);
    let ended = razorpay.subscription(&id);
    assert_eq!(ended["status"], "cancelled");
    assert_eq!(ended["ended_at"], before["current_end"]);
    for body in [json!({}), json!({"cancel_at_cycle_end": 1})] {
        let refused = post(&razorpay, &path, body).await;
        assert_eq!(
            refused.refusal(),
            "Subscription is not cancellable in cancelled status."
        );
    }
}

#[tokio::test]
async fn what_has_no_cycle_yet_can_only_be_ended_at_once() {
    let razorpay = ready();
    let created = subscribe(&razorpay, json!({})).await;
    let waiting = subscribe(&razorpay, json!({"start_at": at("2026-02-14T10:00:00Z")})).await;
    let events = razorpay.pay_checkout(&waiting);
    assert_eq!(kinds(&events), ["subscription.authenticated"]);
    for id in [&created, &waiting] {
        let path = format!("/v1/subscriptions/{id}/cancel");
        let refused = post(&razorpay, &path, json!({"cancel_at_cycle_end": 1})).await;
        assert_eq!(
            refused.refusal(),
            "Subscription cannot be cancelled since no billing cycle is going on"
        );
        let ended = post(&razorpay, &path, json!({"cancel_at_cycle_end": 0}))
            .await
            .ok();
        assert_eq!(ended["status"], "cancelled");
        assert_eq!(kinds(&razorpay.take_events()), ["subscription.cancelled"]);
    }
}

#[tokio::test]
async fn a_start_ahead_begins_the_first_cycle() {
    let razorpay = ready();
    let start = at("2026-02-14T10:00:00Z");
    let id = subscribe(&razorpay, json!({"start_at": start})).await;
    let late = subscribe(&razorpay, json!({"start_at": start})).await;
    razorpay.pay_checkout(&id);
    let waiting = razorpay.subscription(&id);
    assert_eq!(
        (&waiting["status"], &waiting["paid_count"]),
        (&json!("authenticated"), &json!(0))
    );
    assert!(waiting["current_end"].is_null());
    razorpay.set_now("2026-02-14T10:05:00Z".parse().unwrap());
    let events = razorpay.begin(&id);
    assert_eq!(
        kinds(&events),
        ["subscription.activated", "subscription.charged"]
    );
    let begun = razorpay.subscription(&id);
    assert_eq!(begun["current_start"], start);
    assert_eq!(begun["current_end"], at("2026-03-14T10:00:00Z"));
    assert_eq!(razorpay.subscription(&late)["status"], "expired");
}

#[tokio::test]
async fn what_nobody_pays_expires_without_a_word() {
    let razorpay = ready();
    let expire_by = at("2026-02-01T10:00:00Z");
    let id = subscribe(&razorpay, json!({"expire_by": expire_by})).await;
    let other = subscribe(&razorpay, json!({})).await;
    razorpay.set_now("2026-02-01T09:59:59Z".parse().unwrap());
    assert_eq!(razorpay.subscription(&id)["status"], "created");
    razorpay.set_now("2026-02-01T10:00:00Z".parse().unwrap());
    razorpay.expire(&other);
    for id in [&id, &other] {
        assert_eq!(razorpay.subscription(id)["status"], "expired");
        let refused = post(
            &razorpay,
            &format!("/v1/subscriptions/{id}/cancel"),
            json!({}),
        )
        .await;
        assert_eq!(
            refused.refusal(),
            "Subscription is not cancellable in expired status."
        );
    }
    assert_eq!(razorpay.take_events(), []);
}

#[tokio::test]
async fn the_last_cycle_completes_the_subscription() {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({"total_count": 2})).await;
    razorpay.pay_checkout(&id);
    let events = razorpay.end_period(&id);
    assert_eq!(
        kinds(&events),
        ["subscription.charged", "subscription.completed"]
    );
    let completed = razorpay.subscription(&id);
    assert_eq!(completed["status"], "completed");
    assert_eq!(completed["remaining_count"], 0);
    assert_eq!(completed["current_end"], at("2026-03-31T10:00:00Z"));
}

#[tokio::test]
async fn an_unpaid_cycle_leaves_the_paid_one_standing() {
    let (razorpay, id) = sold().await;
    let before = razorpay.subscription(&id);
    assert_eq!(kinds(&razorpay.fail_renewal(&id)), ["subscription.pending"]);
    assert_eq!(kinds(&razorpay.fail_retry(&id)), ["subscription.pending"]);
    assert_eq!(kinds(&razorpay.halt(&id)), ["subscription.halted"]);
    let halted = razorpay.subscription(&id);
    assert_eq!(halted["status"], "halted");
    for name in ["current_start", "current_end", "paid_count"] {
        assert_eq!(halted[name], before[name], "{name}");
    }
    let events = razorpay.pay_overdue(&id);
    assert_eq!(
        kinds(&events),
        ["subscription.charged", "subscription.activated"]
    );
    let paid = razorpay.subscription(&id);
    assert_eq!(
        (&paid["status"], &paid["paid_count"]),
        (&json!("active"), &json!(2))
    );
    assert_eq!(paid["current_start"], before["current_end"]);
}

#[tokio::test]
async fn only_what_is_active_pauses_and_only_what_is_paused_resumes() {
    let (razorpay, id) = sold().await;
    let [pause, resume] = ["pause", "resume"].map(|act| format!("/v1/subscriptions/{id}/{act}"));
    let refused = post(&razorpay, &resume, json!({"resume_at": "now"})).await;
    assert_eq!(
        refused.refusal(),
        "Subscription cannot be resumed in active status."
    );
    let refused = post(&razorpay, &pause, json!({"pause_at": "later"})).await;
    assert_eq!(refused.refusal(), "The pause at must be now.");
    let paused = post(&razorpay, &pause, json!({"pause_at": "now"}))
        .await
        .ok();
    assert_eq!(paused["status"], "paused");
    let refused = post(&razorpay, &pause, json!({"pause_at": "now"})).await;
    assert_eq!(
        refused.refusal(),
        "Subscription cannot be paused in paused status."
    );
    let resumed = post(&razorpay, &resume, json!({"resume_at": "now"}))
        .await
        .ok();
    assert_eq!(resumed["status"], "active");
    assert_eq!(
        kinds(&razorpay.take_events()),
        ["subscription.paused", "subscription.resumed"]
    );
    assert_eq!(kinds(&razorpay.pause(&id)), ["subscription.paused"]);
    assert_eq!(kinds(&razorpay.resume(&id)), ["subscription.resumed"]);
    let updated = razorpay.update_subscription(&id, |s| s["quantity"] = json!(2));
    assert_eq!(kinds(&updated), ["subscription.updated"]);
    assert_eq!(kinds(&razorpay.cancel(&id)), ["subscription.cancelled"]);

    let waiting = subscribe(&razorpay, json!({"start_at": at("2026-02-14T10:00:00Z")})).await;
    razorpay.pay_checkout(&waiting);
    let path = format!("/v1/subscriptions/{waiting}/pause");
    let paused = post(&razorpay, &path, json!({"pause_at": "now"}))
        .await
        .ok();
    assert_eq!(paused["status"], "cancelled");
}
