//! What is read of subscriptions, and how they are ended.

use serde_json::{Value, json};

use super::super::objects::Subscription;
use super::at;
use super::script::{Script, no, ok};
use crate::domain::provider_event::{ProviderStatus, ProviderSubscription};
use crate::domain::subscription::{PlanRef, SubscriptionStatus as S};
use crate::providers::wire::read;
use crate::providers::{FinalInvoice, Provider as _, ProviderError};

fn object(changes: Value) -> Value {
    let mut object = json!({
        "id": "sub_1", "entity": "subscription", "plan_id": "plan_pro", "customer_id": "cust_1", "status": "active",
        "current_start": 1_000, "current_end": 2_000, "ended_at": null, "quantity": 1,
        "notes": {"customer_id": "acme", "plan_tier": "pro", "plan_version": "3", "attempt": "a-1"},
        "charge_at": 2_000, "start_at": 1_000, "end_at": 9_000, "total_count": 120, "paid_count": 1,
        "created_at": 900, "expire_by": 5_000, "short_url": "https://rzp.io/i/1",
    });
    for (field, value) in changes.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

fn read_with(changes: Value) -> ProviderSubscription {
    read::<Subscription>(object(changes).to_string().as_bytes())
        .unwrap()
        .normalize()
}

#[test]
fn a_subscription_is_read() {
    assert_eq!(
        read_with(json!({})),
        ProviderSubscription {
            id: "sub_1".to_owned(),
            provider_customer_id: Some("cust_1".to_owned()),
            customer_id: Some("acme".to_owned()),
            sold_as: Some(PlanRef {
                tier: "pro".to_owned(),
                version: 3
            }),
            status: ProviderStatus::Known(S::Active),
            price_ids: vec!["plan_pro".to_owned()],
            current_period_start: Some(at(1_000)),
            current_period_end: Some(at(2_000)),
            anchor: Some(at(1_000)),
            cancel_at_period_end: false,
            cancel_at: None,
            ended_at: None,
            trial_end: None,
            started_at: Some(at(1_000)),
            was_paid: true,
            unpaid_since: None,
            planned: None,
            change_unpaid: false,
        }
    );
}

#[test]
fn nearly_every_field_can_be_of_another_type_or_null() {
    let odd = json!({
        "notes": {"customer_id": 17, "plan_tier": "pro", "plan_version": 3, "more": null}, "paid_count": "2", "current_start": "1000",
        "customer_id": null, "quantity": "1",
    });
    let odd = read_with(odd);
    assert_eq!(odd.customer_id.as_deref(), Some("17"));
    assert_eq!(odd.sold_as.map(|sold| sold.version), Some(3));
    assert_eq!(
        (odd.was_paid, odd.current_period_start),
        (true, Some(at(1_000)))
    );
    assert_eq!(odd.provider_customer_id, None);
    let bare = json!({"id": "sub_1"});
    for notes in [json!([]), json!(null), json!({}), json!("")] {
        let mut bare = bare.clone();
        bare["notes"] = notes;
        let bare = read::<Subscription>(bare.to_string().as_bytes())
            .unwrap()
            .normalize();
        assert_eq!((bare.customer_id, bare.sold_as), (None, None));
        assert_eq!(bare.status, ProviderStatus::Unknown(String::new()));
        assert_eq!(
            (bare.started_at, bare.anchor, bare.was_paid),
            (None, None, false)
        );
        assert!(bare.price_ids.is_empty());
    }
}

#[test]
fn statuses_are_in_the_cores_words() {
    let known = ProviderStatus::Known;
    for (word, status) in [
        ("created", known(S::Incomplete)),
        ("authenticated", known(S::Incomplete)),
        ("active", known(S::Active)),
        ("pending", known(S::PastDue)),
        ("halted", known(S::Unpaid)),
        ("cancelled", known(S::Canceled)),
        ("completed", known(S::Expired)),
        ("expired", known(S::IncompleteExpired)),
        ("paused", known(S::Paused)),
        // Words of ours that are none of Razorpay's.
        ("trialing", ProviderStatus::Unknown("trialing".to_owned())),
        ("canceled", ProviderStatus::Unknown("canceled".to_owned())),
        ("asleep", ProviderStatus::Unknown("asleep".to_owned())),
    ] {
        assert_eq!(read_with(json!({"status": word})).status, status, "{word}");
    }
}

#[test]
fn what_is_authorized_for_later_is_in_its_trial_until_then() {
    let authenticated = |start_at: Value, expire_by: Value| {
        read_with(json!({
            "status": "authenticated", "start_at": start_at, "expire_by": expire_by, "current_start": null, "current_end": null,
            "paid_count": 0,
        }))
    };
    let trial = authenticated(json!(3_000), json!(3_000));
    assert_eq!(trial.status, ProviderStatus::Known(S::Trialing));
    assert_eq!(
        (trial.current_period_start, trial.current_period_end),
        (Some(at(900)), Some(at(3_000)))
    );
    assert_eq!(
        (trial.trial_end, trial.anchor),
        (Some(at(3_000)), Some(at(3_000)))
    );
    assert_eq!((trial.started_at, trial.was_paid), (Some(at(900)), false));
    let unlimited = authenticated(json!(3_000), Value::Null);
    assert_eq!(unlimited.trial_end, Some(at(3_000)));
    for (start_at, expire_by) in [
        // The instant at which it was authorized, to be paid at once.
        (json!(2_999), json!(3_000)),
        (json!(900), Value::Null),
        (json!(0), json!(3_000)),
        (Value::Null, Value::Null),
    ] {
        let paying = authenticated(start_at, expire_by);
        assert_eq!(paying.status, ProviderStatus::Known(S::Incomplete));
        assert_eq!((paying.trial_end, paying.current_period_end), (None, None));
    }
    // Nobody has authorized it yet, and once it is paid, every start lies after the making.
    for word in ["created", "active", "cancelled"] {
        assert_eq!(
            read_with(json!({"status": word, "start_at": 3_000})).trial_end,
            None
        );
    }
}

const LOOK: &str = "GET /v1/subscriptions/sub_1";
const AT_ONCE: &str = r#"POST /v1/subscriptions/sub_1/cancel {"cancel_at_cycle_end":0}"#;
const WITH_PERIOD: &str = r#"POST /v1/subscriptions/sub_1/cancel {"cancel_at_cycle_end":1}"#;

fn in_state(status: &str) -> super::script::Answer {
    ok(object(json!({"status": status})))
}

#[tokio::test]
async fn a_subscription_ends_once() {
    let end_now = async |answers: Vec<_>| {
        let script = Script::of(answers).await;
        let outcome = script
            .razorpay()
            .cancel_now("sub_1", FinalInvoice::Drawn)
            .await;
        (outcome, script.asked())
    };
    let (outcome, asked) = end_now(vec![in_state("active"), in_state("cancelled")]).await;
    assert_eq!(
        (outcome, asked),
        (Ok(()), vec![LOOK.into(), AT_ONCE.into()])
    );
    for over in ["cancelled", "completed", "expired"] {
        let (outcome, asked) = end_now(vec![in_state(over)]).await;
        assert_eq!((outcome, asked), (Ok(()), vec![LOOK.into()]), "{over}");
    }
    let refused = || no(400, "Subscription is not cancellable in cancelled status.");
    let (outcome, asked) =
        end_now(vec![in_state("active"), refused(), in_state("cancelled")]).await;
    assert_eq!((outcome, asked.len()), (Ok(()), 3));
    let (outcome, _) = end_now(vec![in_state("active"), refused(), in_state("active")]).await;
    assert!(
        matches!(outcome, Err(ProviderError::Rejected { .. })),
        "{outcome:?}"
    );
    // Whether it was done is not known, and a cancellation is not sent twice by itself.
    let lost = super::script::Answer::Lost;
    let (outcome, asked) = end_now(vec![in_state("active"), lost]).await;
    assert!(outcome.unwrap_err().is_transient());
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_subscription_ends_with_its_period_where_it_has_one() {
    for (status, sent) in [
        ("active", Some(WITH_PERIOD)),
        ("pending", Some(WITH_PERIOD)),
        ("authenticated", Some(AT_ONCE)),
        ("created", Some(AT_ONCE)),
        ("cancelled", None),
        ("completed", None),
    ] {
        let script = Script::of([in_state(status), in_state("active")]).await;
        let outcome = script.razorpay().cancel_at_period_end("sub_1").await;
        assert_eq!(outcome, Ok(()), "{status}");
        let asked = script.asked();
        assert_eq!(asked.get(1).map(String::as_str), sent, "{status}");
    }
}

#[tokio::test]
async fn only_a_pause_is_taken_off() {
    let script = Script::of([in_state("paused"), in_state("active")]).await;
    assert_eq!(script.razorpay().resume("sub_1").await, Ok(()));
    assert_eq!(
        script.asked()[1],
        r#"POST /v1/subscriptions/sub_1/resume {"resume_at":"now"}"#
    );
    for status in ["active", "cancelled", "authenticated"] {
        let script = Script::of([in_state(status)]).await;
        assert_eq!(script.razorpay().resume("sub_1").await, Ok(()), "{status}");
        assert_eq!(script.asked(), [LOOK], "{status}");
    }
    // Somebody else was quicker.
    let refused = || no(400, "Subscription cannot be resumed");
    let script = Script::of([in_state("paused"), refused(), in_state("active")]).await;
    assert_eq!(script.razorpay().resume("sub_1").await, Ok(()));
    let script = Script::of([in_state("paused"), refused(), in_state("paused")]).await;
    assert!(script.razorpay().resume("sub_1").await.is_err());
}
