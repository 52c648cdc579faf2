//! Customers, plans and checkouts.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::customers::plain;
use super::super::objects::Plan;
use super::at;
use super::script::{Answer, Script, list, no, ok};
use crate::providers::wire::read;
use crate::providers::{
    CheckoutRequest, CheckoutStatus, NewCustomer, Provider as _, ProviderError, ProviderPrice,
};

fn plan(fields: Value) -> Value {
    let mut plan = json!({
        "id": "plan_pro", "entity": "plan", "interval": 1, "period": "monthly", "notes": [], "created_at": 1,
        "item": {"id": "item_1", "active": true, "amount": 99_900, "unit_amount": 99_900, "currency": "INR", "name": "Pro"},
    });
    for (field, value) in fields.as_object().unwrap() {
        plan[field] = value.clone();
    }
    plan
}

fn read_plan(fields: Value) -> Plan {
    read(plan(fields).to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_plans_price_is_what_razorpay_charges_for_it() {
    let script = Script::of([ok(plan(json!({})))]).await;
    assert_eq!(
        script.razorpay().price("plan_pro").await,
        Ok(ProviderPrice {
            id: "plan_pro".to_owned(),
            unit_amount: Some(99_900),
            unit_amount_decimal: Some("99900".to_owned()),
            currency: "inr".to_owned(),
            interval: Some("month".to_owned()),
            interval_count: Some(1),
            metered: false,
            active: true,
        })
    );
    assert_eq!(script.asked(), ["GET /v1/plans/plan_pro"]);
    let price = |fields| read_plan(fields).normalize();
    for (active, sold) in [
        (json!(null), true),
        (json!(false), false),
        (json!("1"), true),
    ] {
        let item = json!({"amount": "5", "currency": "INR", "active": active});
        let price = price(json!({ "item": item })).unwrap();
        assert_eq!((price.active, price.unit_amount), (sold, Some(5)));
    }
    let nothing = json!({"amount": 5, "currency": null});
    assert!(price(json!({ "item": nothing })).is_err());
}

#[test]
fn a_plan_is_sold_for_ten_years() {
    for (period, interval, word, count, total) in [
        ("monthly", json!(1), "month", 1, 120),
        ("monthly", json!("6"), "month", 6, 20),
        ("yearly", json!(1), "year", 1, 10),
        ("yearly", json!(15), "year", 15, 1),
        ("quarterly", json!(1), "month", 3, 40),
        ("weekly", json!(2), "week", 2, 260),
        ("daily", json!(7), "day", 7, 521),
        ("daily", json!(null), "day", 1, 3650),
    ] {
        let fields = json!({"period": period, "interval": interval});
        assert_eq!(
            read_plan(fields.clone()).total_count(),
            Ok(total),
            "{fields}"
        );
        let price = read_plan(fields.clone()).normalize().unwrap();
        let every = (price.interval.as_deref(), price.interval_count);
        assert_eq!(every, (Some(word), Some(count)), "{fields}");
    }
    for period in [json!("hourly"), json!(null)] {
        let plan = read_plan(json!({ "period": period }));
        assert!(plan.total_count().is_err() && plan.normalize().is_err());
    }
}

fn customer(name: Option<&str>, email: Option<&str>) -> NewCustomer {
    NewCustomer {
        customer_id: "acme@example|1".to_owned(),
        name: name.map(str::to_owned),
        email: email.map(str::to_owned),
        idempotency_key: "customer:acme@example|1:1".to_owned(),
    }
}

#[tokio::test]
async fn a_customer_is_found_or_made() {
    let made = async |customer: NewCustomer| {
        let script = Script::of([ok(json!({"id": "cust_1", "notes": []}))]).await;
        let id = script.razorpay().create_customer(&customer).await;
        assert_eq!(id.as_deref(), Ok("cust_1"));
        script.asked().remove(0)
    };
    assert_eq!(
        made(customer(Some("Zoë Ray"), Some("zoe@example.com"))).await,
        r#"POST /v1/customers {"email":"zoe@example.com","fail_existing":"0","name":"Zoë Ray","notes":{"customer_id":"acme@example|1"}}"#
    );
    let nameless = r#"POST /v1/customers {"fail_existing":"0","name":"acme example 1","notes":{"customer_id":"acme@example|1"}}"#;
    assert_eq!(made(customer(None, None)).await, nameless);
    assert_eq!(made(customer(Some(" "), Some(""))).await, nameless);
    let long = made(customer(Some(&"n".repeat(60)), None)).await;
    assert!(
        long.contains(&format!("\"name\":\"{}\"", "n".repeat(50))),
        "{long}"
    );
}

#[tokio::test]
async fn a_name_that_razorpay_does_not_take_is_replaced() {
    let refused = |field: &str| {
        let error = json!({"code": "BAD_REQUEST_ERROR", "description": "The name format is invalid.", "field": field});
        Answer::Of(400, json!({ "error": error }))
    };
    let zoe = || customer(Some("Zoë"), None);
    let script = Script::of([refused("name"), ok(json!({"id": "cust_1"}))]).await;
    let made = script.razorpay().create_customer(&zoe()).await;
    assert_eq!(made.as_deref(), Ok("cust_1"));
    let second = script.asked().remove(1);
    assert!(second.contains(r#""name":"acme example 1","#), "{second}");
    let script = Script::of([refused("email")]).await;
    let outcome = script.razorpay().create_customer(&zoe()).await;
    assert!(matches!(outcome, Err(ProviderError::Rejected { .. })));
    for (id, name) in [
        ("a", "Customer a"),
        ("☂", "Customer"),
        ("a-b", "a b"),
        ("ab_", "Customer ab"),
    ] {
        assert_eq!(plain(id), name);
    }
    assert_eq!(plain(&"x".repeat(60)).len(), 50);
}

const BEGUN: i64 = 1_000_000;
const DAY: i64 = 86_400;

fn order() -> CheckoutRequest {
    CheckoutRequest {
        provider_customer_id: "cust_1".to_owned(),
        base_price_id: "plan_pro".to_owned(),
        overage_price_id: None,
        customer_id: "acme".to_owned(),
        plan_tier: "pro".to_owned(),
        plan_version: 3,
        success_url: "https://app.example/ok".to_owned(),
        cancel_url: "https://app.example/no".to_owned(),
        trial_days: None,
        promotion_codes: false,
        starts_at: None,
        begun_at: at(BEGUN),
        idempotency_key: "attempt-1".to_owned(),
    }
}

fn made(id: &str, status: &str, fields: Value) -> Value {
    let mut made = json!({
        "id": id, "status": status, "notes": {"attempt": "attempt-1"}, "short_url": format!("https://rzp.io/i/{id}"),
        "expire_by": BEGUN + DAY, "created_at": BEGUN, "paid_count": 0,
    });
    for (field, value) in fields.as_object().unwrap() {
        made[field] = value.clone();
    }
    made
}

const SEARCH: &str = "GET /v1/subscriptions count=100 from=999940 plan_id=plan_pro skip=0";

#[tokio::test]
async fn a_checkout_is_made_where_none_is_found() {
    let foreign = made(
        "sub_0",
        "created",
        json!({"notes": {"attempt": "attempt-0"}}),
    );
    let script = Script::of([
        list(json!([
            foreign,
            made("sub_9", "created", json!({"notes": []}))
        ])),
        ok(plan(json!({}))),
        ok(made("sub_1", "created", json!({}))),
    ])
    .await;
    let session = script.razorpay().create_checkout(&order()).await.unwrap();
    assert_eq!(
        (session.id.as_str(), session.status),
        ("sub_1", CheckoutStatus::Open)
    );
    assert_eq!(session.url.as_deref(), Some("https://rzp.io/i/sub_1"));
    assert_eq!(session.expires_at, Some(at(BEGUN + DAY)));
    assert_eq!(session.provider_subscription_id.as_deref(), Some("sub_1"));
    let wanted = json!({
        "plan_id": "plan_pro", "total_count": 120, "quantity": 1, "customer_notify": true, "expire_by": BEGUN + DAY,
        "notes": {"customer_id": "acme", "plan_tier": "pro", "plan_version": "3", "attempt": "attempt-1"},
    });
    assert_eq!(
        script.asked(),
        [
            SEARCH.to_owned(),
            "GET /v1/plans/plan_pro".to_owned(),
            format!("POST /v1/subscriptions {wanted}")
        ]
    );
}

async fn sent(order: CheckoutRequest) -> Value {
    let script = Script::of([
        list(json!([])),
        ok(plan(json!({}))),
        ok(made("sub_1", "created", json!({}))),
    ])
    .await;
    script.razorpay().create_checkout(&order).await.unwrap();
    let line = script.asked().remove(2);
    serde_json::from_str(
        line.split_once(" {")
            .map(|(_, rest)| format!("{{{rest}"))
            .unwrap()
            .as_str(),
    )
    .unwrap()
}

#[tokio::test]
async fn the_first_payment_waits_for_the_trial_or_for_the_period_before() {
    let trial = |days| CheckoutRequest {
        trial_days: Some(days),
        ..order()
    };
    let start = |body: &Value| (body["start_at"].as_i64(), body["expire_by"].as_i64());
    let (day_later, week_later) = (Some(BEGUN + DAY), Some(BEGUN + 7 * DAY));
    assert_eq!(start(&sent(trial(7)).await), (week_later, day_later));
    assert_eq!(start(&sent(trial(0)).await), (None, day_later));
    let next = |hours| CheckoutRequest {
        starts_at: Some(at(BEGUN) + TimeDelta::hours(hours)),
        ..trial(7)
    };
    assert_eq!(start(&sent(next(7 * 24)).await), (week_later, day_later));
    // A start that is nearer than a day closes the checkout; one that has passed is none.
    let soon = Some(BEGUN + 3_600);
    assert_eq!(start(&sent(next(1)).await), (soon, soon));
    assert_eq!(start(&sent(next(-1)).await), (None, day_later));
}

#[tokio::test]
async fn a_checkout_whose_answer_was_lost_is_found_again() {
    let script = Script::of([list(json!([])), ok(plan(json!({}))), Answer::Lost]).await;
    let outcome = script.razorpay().create_checkout(&order()).await;
    assert!(outcome.unwrap_err().is_transient());
    assert_eq!(script.asked().len(), 3, "a creation is sent once");
    for (status, means) in [
        ("created", CheckoutStatus::Open),
        ("active", CheckoutStatus::Complete),
        ("expired", CheckoutStatus::Expired),
    ] {
        let script = Script::of([list(json!([made("sub_1", status, json!({}))]))]).await;
        let session = script.razorpay().create_checkout(&order()).await.unwrap();
        assert_eq!((session.id.as_str(), session.status), ("sub_1", means));
        assert_eq!(session.url.as_deref(), Some("https://rzp.io/i/sub_1"));
        assert_eq!(script.asked(), [SEARCH], "nothing more is made");
    }
}

#[tokio::test]
async fn of_several_the_oldest_stays_unless_the_customer_chose() {
    let younger = || made("sub_2", "created", json!({"created_at": BEGUN + 9}));
    let oldest = || made("sub_1", "created", json!({}));
    let cancel =
        |id: &str| format!(r#"POST /v1/subscriptions/{id}/cancel {{"cancel_at_cycle_end":0}}"#);
    let refused = no(400, "Subscription is not cancellable in active status.");
    let script = Script::of([list(json!([younger(), oldest()])), refused]).await;
    let session = script.razorpay().create_checkout(&order()).await.unwrap();
    assert_eq!(session.id, "sub_1");
    assert_eq!(script.asked()[1..], [cancel("sub_2")]);
    let chosen = made(
        "sub_2",
        "active",
        json!({"created_at": BEGUN + 9, "paid_count": 1}),
    );
    let cancelled = ok(json!({"id": "sub_1"}));
    let script = Script::of([list(json!([chosen, oldest()])), cancelled]).await;
    let session = script.razorpay().create_checkout(&order()).await.unwrap();
    assert_eq!(
        (session.id.as_str(), session.status),
        ("sub_2", CheckoutStatus::Complete)
    );
    assert_eq!(script.asked()[1..], [cancel("sub_1")]);
}

#[tokio::test]
async fn every_page_is_searched() {
    let others: Vec<Value> = (0..100)
        .map(|nth| made(&format!("sub_x{nth}"), "created", json!({"notes": []})))
        .collect();
    let script = Script::of([
        list(json!(others)),
        list(json!([made("sub_1", "created", json!({}))])),
    ])
    .await;
    let session = script.razorpay().create_checkout(&order()).await.unwrap();
    assert_eq!(session.id, "sub_1");
    assert!(
        script.asked()[1].ends_with("skip=100"),
        "{:?}",
        script.asked()
    );
}

#[tokio::test]
async fn a_checkout_is_what_its_subscription_is() {
    for (status, paid, means) in [
        ("created", 0, Some(CheckoutStatus::Open)),
        ("authenticated", 0, Some(CheckoutStatus::Complete)),
        ("active", 1, Some(CheckoutStatus::Complete)),
        ("pending", 1, Some(CheckoutStatus::Complete)),
        ("halted", 1, Some(CheckoutStatus::Complete)),
        ("paused", 1, Some(CheckoutStatus::Complete)),
        ("completed", 9, Some(CheckoutStatus::Complete)),
        ("cancelled", 1, Some(CheckoutStatus::Complete)),
        ("cancelled", 0, Some(CheckoutStatus::Expired)),
        ("expired", 0, Some(CheckoutStatus::Expired)),
        ("asleep", 0, None),
    ] {
        let subscription = made("sub_1", status, json!({"paid_count": paid}));
        let script = Script::of([ok(subscription)]).await;
        let session = script.razorpay().checkout_session("sub_1").await.ok();
        assert_eq!(session.as_ref().map(|s| s.status), means, "{status}");
        let is_open = means == Some(CheckoutStatus::Open);
        assert_eq!(session.and_then(|s| s.url).is_some(), is_open, "{status}");
    }
}

#[tokio::test]
async fn a_checkout_that_is_open_is_closed() {
    let closed = async |answers: Vec<Answer>| {
        let script = Script::of(answers).await;
        let session = script.razorpay().expire_checkout("sub_1").await;
        (session.map(|session| session.status), script.asked())
    };
    let is = |status: &str, paid: i64| ok(made("sub_1", status, json!({"paid_count": paid})));
    let cancelled = || ok(json!({"id": "sub_1", "status": "cancelled"}));
    let (status, asked) = closed(vec![is("created", 0), cancelled(), is("cancelled", 0)]).await;
    assert_eq!((status, asked.len()), (Ok(CheckoutStatus::Expired), 3));
    // The customer was quicker.
    let (status, asked) = closed(vec![is("active", 1)]).await;
    assert_eq!((status, asked.len()), (Ok(CheckoutStatus::Complete), 1));
    let refused = || no(400, "Subscription is not cancellable");
    let (status, _) = closed(vec![is("created", 0), refused(), is("authenticated", 0)]).await;
    assert_eq!(status, Ok(CheckoutStatus::Complete));
    // It is not known whether it can still be paid.
    let (status, _) = closed(vec![is("created", 0), Answer::Lost]).await;
    assert!(status.unwrap_err().is_transient());
}

#[tokio::test]
async fn what_was_paid_while_its_checkout_was_closed_goes_back() {
    let is = |status: &str, paid: i64| ok(made("sub_1", status, json!({"paid_count": paid})));
    let script = Script::of([
        is("created", 0),
        ok(json!({"id": "sub_1", "status": "cancelled"})),
        is("cancelled", 1),
        list(json!([{"id": "inv_1", "status": "paid", "payment_id": "pay_1", "paid_at": 5}])),
        ok(json!({"id": "pay_1", "amount": 99_900, "currency": "INR"})),
        ok(json!({"id": "rfnd_1"})),
    ])
    .await;
    let session = script.razorpay().expire_checkout("sub_1").await.unwrap();
    assert_eq!(session.status, CheckoutStatus::Expired);
    let refund = script.asked().remove(5);
    assert!(
        refund.starts_with(r#"POST /v1/payments/pay_1/refund {"amount":99900,"#),
        "{refund}"
    );
}
