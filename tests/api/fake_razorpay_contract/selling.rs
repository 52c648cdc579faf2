//! Customers, plans and subscriptions, up to the first payment.

use serde_json::{Value, json};

use super::{get, kinds, post, ready, send, subscribe};
use crate::fake_razorpay::{Endpoint, FakePlan, KEY_ID, KEY_SECRET};

#[tokio::test]
async fn only_the_right_key_is_let_in() {
    let razorpay = ready();
    let url = razorpay.base().join("/v1/plans/plan_pro").unwrap();
    let client = reqwest::Client::new();
    for request in [
        client.get(url.clone()),
        client.get(url.clone()).basic_auth(KEY_ID, Some("wrong")),
        client
            .get(url.clone())
            .basic_auth("other", Some(KEY_SECRET)),
        client.get(url).bearer_auth(KEY_SECRET),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.body["error"]["code"], "BAD_REQUEST_ERROR");
    }
    let plan = get(&razorpay, "/v1/plans/plan_pro").await.ok();
    assert_eq!(plan["item"]["amount"], 399_900);
    assert_eq!(plan["item"]["currency"], "INR");
    assert_eq!(
        (&plan["period"], &plan["interval"]),
        (&json!("monthly"), &json!(1))
    );
    assert_eq!(get(&razorpay, "/v1/nothing").await.status, 404);
    assert_eq!(razorpay.requests_to(Endpoint::Plan).len(), 5);
}

#[tokio::test]
async fn a_customer_exists_once_for_each_address() {
    let razorpay = ready();
    let acme = json!({"name": "Acme", "email": "a@acme.example", "fail_existing": "0"});
    let first = post(&razorpay, "/v1/customers", acme.clone()).await.id();
    let second = post(&razorpay, "/v1/customers", acme.clone()).await.id();
    assert_eq!(second, first);
    let with = |name: &str, value: Value| {
        let mut other = acme.clone();
        other[name] = value;
        other
    };
    let other = with("contact", json!("+919000090000"));
    assert_ne!(post(&razorpay, "/v1/customers", other).await.id(), first);
    assert_eq!(razorpay.customers().len(), 2);
    for (name, value, said) in [
        (
            "fail_existing",
            json!("1"),
            "Customer already exists for the merchant",
        ),
        (
            "name",
            json!("Al"),
            "The name must be at least 3 characters.",
        ),
        ("name", json!("a & b"), "The name format is invalid."),
        (
            "name",
            json!("x".repeat(51)),
            "The name may not be greater than 50 characters.",
        ),
        ("name", json!(7), "The name must be a string."),
        (
            "email",
            json!("nobody"),
            "The email must be a valid email address.",
        ),
        (
            "contact",
            json!("1".repeat(16)),
            "The contact may not be greater than 15 characters.",
        ),
        (
            "metadata",
            json!({}),
            "metadata is/are not required and should not be sent",
        ),
        ("notes", json!("x"), "The notes must be an object."),
        (
            "notes",
            json!({"a": "x".repeat(257)}),
            "The notes values must be strings of at most 256 characters.",
        ),
    ] {
        let refused = post(&razorpay, "/v1/customers", with(name, value)).await;
        assert_eq!(refused.refusal(), said);
    }
    let many: Value = (0..16)
        .map(|i| (i.to_string(), json!("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let refused = post(&razorpay, "/v1/customers", with("notes", many)).await;
    assert_eq!(refused.refusal(), "The notes may have at most 15 keys.");
}

#[tokio::test]
async fn a_subscription_needs_a_plan_an_end_and_instants_ahead() {
    let razorpay = ready();
    razorpay.add_plan(FakePlan {
        active: false,
        ..FakePlan::monthly("plan_former", 900)
    });
    let now = 1_769_853_600;
    for (name, value, said) in [
        ("plan_id", Value::Null, "The plan id field is required."),
        (
            "plan_id",
            json!("plan_none"),
            "The id provided does not exist",
        ),
        ("plan_id", json!("plan_former"), "The plan is not active"),
        (
            "total_count",
            Value::Null,
            "The total count field is required.",
        ),
        (
            "total_count",
            json!("12"),
            "The total count must be an integer.",
        ),
        (
            "total_count",
            json!(0),
            "The total count must be at least 1.",
        ),
        (
            "total_count",
            json!(1201),
            "The total count may not be greater than 1200.",
        ),
        (
            "start_at",
            json!(now),
            "start_at must be greater than the current time",
        ),
        (
            "expire_by",
            json!(now),
            "expire_by must be greater than the current time",
        ),
        ("expire_by", json!(1.5), "The expire by must be an integer."),
        (
            "customer_notify",
            json!("yes"),
            "The customer notify field must be true or false.",
        ),
        (
            "customer_id",
            json!("cust_1"),
            "customer_id is/are not required and should not be sent",
        ),
    ] {
        let mut body = json!({"plan_id": "plan_pro", "total_count": 120});
        body[name] = value;
        let refused = post(&razorpay, "/v1/subscriptions", body).await;
        assert_eq!(refused.refusal(), said);
    }
    let refused = post(&razorpay, "/v1/subscriptions", json!([])).await;
    assert_eq!(refused.refusal(), "The request body is no JSON object");
    let url = razorpay.base().join("/v1/subscriptions").unwrap();
    let form = reqwest::Client::new()
        .post(url)
        .basic_auth(KEY_ID, Some(KEY_SECRET));
    let refused = send(form.body("plan_id=plan_pro&total_count=120")).await;
    assert_eq!(
        refused.refusal(),
        "The content type must be application/json"
    );
    assert_eq!(razorpay.subscriptions(), Vec::<Value>::new());

    let id = subscribe(&razorpay, json!({"expire_by": now + 60})).await;
    let created = razorpay.subscription(&id);
    assert_eq!(created["status"], "created");
    for name in [
        "customer_id",
        "current_start",
        "current_end",
        "start_at",
        "end_at",
        "charge_at",
    ] {
        assert!(created[name].is_null(), "{name}");
    }
    assert_eq!(created["notes"], json!([]));
    assert!(
        created["short_url"]
            .as_str()
            .unwrap()
            .starts_with("https://")
    );
}

#[tokio::test]
async fn subscriptions_are_listed_newest_first() {
    let razorpay = ready();
    razorpay.add_plan(FakePlan::monthly("plan_scale", 900));
    let first = subscribe(&razorpay, json!({})).await;
    razorpay.set_now("2026-01-31T11:00:00Z".parse().unwrap());
    let other = subscribe(&razorpay, json!({"plan_id": "plan_scale"})).await;
    let newest = subscribe(&razorpay, json!({})).await;
    let later = 1_769_857_200;
    for (query, ids) in [
        (String::new(), vec![&newest, &other, &first]),
        ("plan_id=plan_pro".to_owned(), vec![&newest, &first]),
        ("count=1&skip=1".to_owned(), vec![&other]),
        (format!("from={later}"), vec![&newest, &other]),
        (format!("to={}", later - 1), vec![&first]),
        (
            format!("plan_id=plan_pro&from={later}&to={later}&count=100"),
            vec![&newest],
        ),
    ] {
        let list = get(&razorpay, &format!("/v1/subscriptions?{query}"))
            .await
            .ok();
        let items = list["items"].as_array().unwrap();
        assert_eq!(list["entity"], "collection");
        assert_eq!(list["count"], items.len());
        let listed: Vec<_> = items
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect();
        assert_eq!(listed, ids, "{query}");
    }
    for query in ["count=101", "count=0", "skip=-1", "from=x", "customer_id=1"] {
        let list = get(&razorpay, &format!("/v1/subscriptions?{query}")).await;
        assert_ne!(list.refusal(), "", "{query}");
    }
    let unknown = get(&razorpay, "/v1/subscriptions/sub_none").await;
    assert_eq!(unknown.refusal(), "The id provided does not exist");
}

#[tokio::test]
async fn a_subscription_is_paid_for_on_its_page() {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({"notes": {"attempt": "a"}})).await;
    razorpay.decline_payments(true);
    assert_eq!(kinds(&razorpay.pay_checkout(&id)), ["payment.failed"]);
    assert_eq!(razorpay.subscription(&id)["status"], "created");
    razorpay.decline_payments(false);
    let events = razorpay.pay_checkout(&id);
    assert_eq!(
        kinds(&events),
        [
            "subscription.authenticated",
            "subscription.activated",
            "subscription.charged"
        ]
    );
    let shown = get(&razorpay, &format!("/v1/subscriptions/{id}"))
        .await
        .ok();
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["notes"], json!({"attempt": "a"}));
    assert_eq!(
        (&shown["paid_count"], &shown["remaining_count"]),
        (&json!(1), &json!(119))
    );
    let payer = shown["customer_id"].as_str().unwrap();
    let payment = events[2].entity("payment");
    assert_eq!(payment["amount"], 399_900);
    assert_eq!(payment["customer_id"], payer);
    assert_eq!(payment["id"], *razorpay.payment_of(&id));
    assert_eq!(razorpay.payments().len(), 2);
}
