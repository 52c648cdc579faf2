//! What changes of plan ask of Stripe, and that repeating them asks for nothing more.

use serde_json::{Value, json};

use super::script::{Answer, Script, ok};
use crate::providers::{ChangeWhen, PlanChange, Provider as _, ProviderError};

fn item(id: &str, price: &str, usage: &str) -> Value {
    json!({"id": id, "price": {"id": price, "recurring": {"interval": "month", "interval_count": 1, "usage_type": usage}}})
}

/// On the flat price and the metered one of `scale` version 2, with an add-on of somebody else's.
fn on_scale() -> Value {
    json!({
        "id": "sub_1", "status": "active", "collection_method": "charge_automatically", "cancel_at_period_end": false,
        "metadata": {"customer_id": "acme", "plan_tier": "scale", "plan_version": "2"},
        "items": {"data": [
            item("si_over", "over_2", "metered"), item("si_addon", "addon", "licensed"), item("si_flat", "scale_2", "licensed"),
        ]},
    })
}

fn on_pro() -> Value {
    let mut object = on_scale();
    object["items"]["data"] = json!([item("si_flat", "pro_1", "licensed")]);
    object["metadata"] = json!({"customer_id": "acme", "plan_tier": "pro", "plan_version": "1"});
    object
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn change(when: ChangeWhen, base: &str, overage: Option<&str>, sold: (&str, i32)) -> PlanChange {
    PlanChange {
        provider_subscription_id: "sub_1".to_owned(),
        replaced_price_ids: ["pro_1", "scale_1", "scale_2", "over_1", "over_2"]
            .map(str::to_owned)
            .to_vec(),
        base_price_id: base.to_owned(),
        overage_price_id: overage.map(str::to_owned),
        customer_id: "acme".to_owned(),
        plan_tier: sold.0.to_owned(),
        plan_version: sold.1,
        when,
    }
}

fn to_pro(when: ChangeWhen) -> PlanChange {
    change(when, "pro_1", None, ("pro", 1))
}

fn to_scale(when: ChangeWhen) -> PlanChange {
    change(when, "scale_2", Some("over_2"), ("scale", 2))
}

async fn asked(change: &PlanChange, answers: Vec<Value>) -> Vec<String> {
    let script = Script::of(answers.into_iter().map(ok)).await;
    script.stripe().change_plan(change).await.unwrap();
    script.asked()
}

const LOOK: &str = "GET /v1/subscriptions/sub_1 expand[0]=schedule expand[1]=latest_invoice";
const AT_ONCE: &str = "payment_behavior=pending_if_incomplete proration_behavior=always_invoice";
const PRO_MARKS: &str =
    "metadata[customer_id]=acme metadata[plan_tier]=pro metadata[plan_version]=1";
const SCALE_MARKS: &str =
    "metadata[customer_id]=acme metadata[plan_tier]=scale metadata[plan_version]=2";

#[tokio::test]
async fn a_change_at_once_replaces_the_plans_items_and_leaves_others() {
    let pro = on_pro();
    let marked = with(pro.clone(), "metadata", on_scale()["metadata"].clone());
    assert_eq!(
        asked(
            &to_pro(ChangeWhen::Now),
            vec![on_scale(), marked, pro.clone()]
        )
        .await,
        [
            LOOK.to_owned(),
            format!(
                "POST /v1/subscriptions/sub_1 items[0][id]=si_flat items[0][price]=pro_1 items[0][quantity]=1 \
                 items[1][deleted]=true items[1][id]=si_over {AT_ONCE}"
            ),
            format!("POST /v1/subscriptions/sub_1 {PRO_MARKS}"),
        ]
    );
    let marked = with(on_scale(), "metadata", pro["metadata"].clone());
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![pro, marked, on_scale()]).await,
        [
            LOOK.to_owned(),
            format!(
                "POST /v1/subscriptions/sub_1 items[0][id]=si_flat items[0][price]=scale_2 items[0][quantity]=1 \
                 items[1][price]=over_2 {AT_ONCE}"
            ),
            format!("POST /v1/subscriptions/sub_1 {SCALE_MARKS}"),
        ]
    );
    let mut newer = change(ChangeWhen::Now, "scale_2", Some("over_3"), ("scale", 2));
    newer.replaced_price_ids.push("over_3".to_owned());
    assert_eq!(
        asked(&newer, vec![on_scale(), on_scale()]).await[1],
        format!(
            "POST /v1/subscriptions/sub_1 items[0][id]=si_over items[0][price]=over_3 {AT_ONCE}"
        )
    );
}

#[tokio::test]
async fn a_change_that_is_there_already_is_not_made_again() {
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![on_scale()]).await,
        [LOOK]
    );
    // The same price twice: the one that has it is kept.
    let mut twice = on_scale();
    let former = item("si_former", "scale_1", "licensed");
    twice["items"]["data"]
        .as_array_mut()
        .unwrap()
        .insert(0, former);
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![twice, on_scale()]).await[1],
        format!(
            "POST /v1/subscriptions/sub_1 items[0][deleted]=true items[0][id]=si_former {AT_ONCE}"
        )
    );
}

#[tokio::test]
async fn an_upgrade_that_waits_for_its_payment_is_not_asked_for_twice() {
    let waiting = |items: Value| {
        with(
            on_pro(),
            "pending_update",
            json!({"subscription_items": items}),
        )
    };
    let unpaid = waiting(json!([
        item("si_flat", "scale_2", "licensed"),
        item("si_new", "over_2", "metered")
    ]));
    // Made, not paid: neither marks nor the foreseen end are touched.
    let ending = with(on_pro(), "cancel_at_period_end", json!(true));
    let requests = asked(&to_scale(ChangeWhen::Now), vec![ending, unpaid.clone()]).await;
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![unpaid]).await,
        [LOOK]
    );
    // Only the item that changes is named.
    let dearer = change(ChangeWhen::Now, "scale_3", Some("over_2"), ("scale", 3));
    let named = json!({"subscription_items": [{"id": "si_flat", "price": "scale_3"}]});
    let partly = with(on_scale(), "pending_update", named);
    assert_eq!(asked(&dearer, vec![partly]).await, [LOOK]);
    // Another change waits: this one takes its place.
    let other = waiting(json!([item("si_flat", "scale_1", "licensed")]));
    let requests = asked(&to_scale(ChangeWhen::Now), vec![other, on_scale()]).await;
    assert_eq!(requests.len(), 2, "{requests:?}");
}

#[tokio::test]
async fn who_changes_the_plan_stays() {
    let ending = with(on_scale(), "cancel_at_period_end", json!(true));
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![ending, on_scale()]).await,
        [
            LOOK,
            "POST /v1/subscriptions/sub_1 cancel_at_period_end=false"
        ]
    );
    let ending = with(on_scale(), "cancel_at", json!(1_800_000_000));
    assert_eq!(
        asked(&to_scale(ChangeWhen::Now), vec![ending, on_scale()]).await[1],
        "POST /v1/subscriptions/sub_1 cancel_at="
    );
}

#[tokio::test]
async fn who_is_sent_invoices_is_not_made_to_pay_first() {
    let invoiced = with(on_pro(), "collection_method", json!("send_invoice"));
    let requests = asked(&to_scale(ChangeWhen::Now), vec![invoiced, on_scale()]).await;
    assert!(!requests[1].contains("payment_behavior"), "{}", requests[1]);
    assert!(requests[1].contains("proration_behavior=always_invoice"));
}

fn schedule(phases: Value) -> Value {
    json!({"id": "sub_sched_1", "status": "active", "current_phase": {"start_date": 100, "end_date": 200}, "phases": phases})
}

fn running() -> Value {
    json!({
        "start_date": 100, "end_date": 200, "trial_end": 200, "metadata": {"plan_tier": "scale"},
        "discounts": [{"discount": "di_1", "coupon": "SPRING", "promotion_code": null}], "default_tax_rates": [{"id": "txr_1"}],
        "items": [
            {"price": "over_2", "discounts": [], "tax_rates": []}, {"price": "addon", "quantity": 4, "discounts": []},
            {"price": "scale_2", "quantity": 1, "tax_rates": [{"id": "txr_2"}], "discounts": [{"coupon": "ITEM"}]},
        ],
    })
}

fn coming() -> Value {
    json!({
        "start_date": 200, "end_date": 300, "items": [{"price": "pro_1", "quantity": 1}, {"price": "addon"}],
        "metadata": {"customer_id": "acme", "plan_tier": "pro", "plan_version": "1"},
    })
}

#[tokio::test]
async fn a_change_with_the_period_is_planned_in_two_phases_that_lose_nothing() {
    let made = schedule(json!([running()]));
    let planned = schedule(json!([running(), coming()]));
    let requests = asked(
        &to_pro(ChangeWhen::PeriodEnd),
        vec![on_scale(), made, planned],
    )
    .await;
    assert_eq!(
        requests[..2],
        [
            LOOK,
            "POST /v1/subscription_schedules from_subscription=sub_1"
        ]
    );
    let expected = [
        "POST /v1/subscription_schedules/sub_sched_1",
        "end_behavior=release",
        "phases[0][default_tax_rates][0]=txr_1",
        "phases[0][discounts][0][discount]=di_1",
        "phases[0][end_date]=200",
        "phases[0][items][0][price]=over_2",
        "phases[0][items][1][price]=addon",
        "phases[0][items][1][quantity]=4",
        "phases[0][items][2][discounts][0][coupon]=ITEM",
        "phases[0][items][2][price]=scale_2",
        "phases[0][items][2][quantity]=1",
        "phases[0][items][2][tax_rates][0]=txr_2",
        "phases[0][metadata][plan_tier]=scale",
        "phases[0][start_date]=100",
        "phases[0][trial_end]=200",
        "phases[1][default_tax_rates][0]=txr_1",
        "phases[1][discounts][0][discount]=di_1",
        "phases[1][duration][interval]=month",
        "phases[1][duration][interval_count]=1",
        "phases[1][items][0][discounts][0][coupon]=ITEM",
        "phases[1][items][0][price]=pro_1",
        "phases[1][items][0][quantity]=1",
        "phases[1][items][0][tax_rates][0]=txr_2",
        "phases[1][items][1][price]=addon",
        "phases[1][items][1][quantity]=4",
        "phases[1][metadata][customer_id]=acme",
        "phases[1][metadata][plan_tier]=pro",
        "phases[1][metadata][plan_version]=1",
        "phases[1][proration_behavior]=none",
        "proration_behavior=none",
    ];
    assert_eq!(requests[2], expected.join(" "));
}

#[tokio::test]
async fn a_planned_change_is_seen_and_not_planned_twice() {
    let planned = with(
        on_scale(),
        "schedule",
        schedule(json!([running(), coming()])),
    );
    assert_eq!(
        asked(&to_pro(ChangeWhen::PeriodEnd), vec![planned.clone()]).await,
        [LOOK]
    );
    let script = Script::of([ok(planned)]).await;
    let seen = script.stripe().fetch_subscription("sub_1").await.unwrap();
    let seen = seen.planned.unwrap();
    assert_eq!(seen.price_ids, ["pro_1", "addon"]);
    assert_eq!(
        (seen.at.timestamp(), seen.sold_as.unwrap().version),
        (200, 1)
    );
}

#[tokio::test]
async fn only_phases_to_come_of_a_living_schedule_are_planned() {
    let mut begun = schedule(json!([running(), coming()]));
    begun["current_phase"] = json!({"start_date": 200, "end_date": 300});
    let mut released = schedule(json!([running(), coming()]));
    released["status"] = json!("released");
    let half_made = schedule(json!([running()]));
    for schedule in [
        begun,
        released,
        half_made,
        json!("sub_sched_1"),
        Value::Null,
    ] {
        let script = Script::of([ok(with(on_scale(), "schedule", schedule))]).await;
        let seen = script.stripe().fetch_subscription("sub_1").await.unwrap();
        assert_eq!(seen.planned, None);
    }
}

#[tokio::test]
async fn a_plan_half_made_or_different_is_dropped_before_the_new_one_is_made() {
    let mut other = coming();
    other["metadata"]["plan_version"] = json!("7");
    for phases in [json!([running()]), json!([running(), other])] {
        let found = with(on_scale(), "schedule", schedule(phases));
        let ending = with(found, "cancel_at_period_end", json!(true));
        let made = schedule(json!([running()]));
        let answers = vec![
            ending,
            json!({"id": "sub_sched_1"}),
            on_scale(),
            made.clone(),
            made,
        ];
        let requests = asked(&to_pro(ChangeWhen::PeriodEnd), answers).await;
        assert_eq!(
            requests[1..4],
            [
                "POST /v1/subscription_schedules/sub_sched_1/release",
                "POST /v1/subscriptions/sub_1 cancel_at_period_end=false",
                "POST /v1/subscription_schedules from_subscription=sub_1",
            ]
        );
        assert_eq!(requests.len(), 5);
    }
    // Back to the plan that is there: what was planned is dropped, and that is all.
    let found = with(
        on_scale(),
        "schedule",
        schedule(json!([running(), coming()])),
    );
    assert_eq!(
        asked(
            &to_scale(ChangeWhen::PeriodEnd),
            vec![found, json!({"id": "sub_sched_1"})]
        )
        .await[1..],
        ["POST /v1/subscription_schedules/sub_sched_1/release"]
    );
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let script = Script::of([
        ok(on_pro()),
        Answer::Lost,
        Answer::Of(409, json!({"error": {"code": "lock_timeout"}})),
        ok(on_scale()),
    ])
    .await;
    script
        .stripe()
        .change_plan(&to_scale(ChangeWhen::Now))
        .await
        .unwrap();
    let (asked, keys) = (script.asked(), script.keys());
    assert_eq!(asked[1], asked[2]);
    assert_eq!(asked[2], asked[3]);
    assert!(keys[0].is_none() && keys[1].is_some(), "{keys:?}");
    assert!(keys[1] == keys[2] && keys[2] == keys[3], "{keys:?}");
}

#[tokio::test]
async fn a_schedule_without_a_phase_is_not_guessed_at() {
    let script = Script::of([ok(on_scale()), ok(schedule(json!([])))]).await;
    assert!(matches!(
        script
            .stripe()
            .change_plan(&to_pro(ChangeWhen::PeriodEnd))
            .await,
        Err(ProviderError::Unreadable { .. })
    ));
}
