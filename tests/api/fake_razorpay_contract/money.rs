//! Payments, invoices, refunds, disputes, payment links.

use serde_json::{Value, json};

use super::{Answer, get, kinds, post, post_request, ready, send, subscribe};
use crate::fake_razorpay::{FakeRazorpay, KEY_SECRET, sign};

async fn sold() -> (FakeRazorpay, String, String) {
    let razorpay = ready();
    let id = subscribe(&razorpay, json!({})).await;
    razorpay.pay_checkout(&id);
    let payment = razorpay.payment_of(&id);
    (razorpay, id, payment)
}

async fn refund(razorpay: &FakeRazorpay, payment: &str, body: Value, key: &str) -> Answer {
    let path = format!("/v1/payments/{payment}/refund");
    send(post_request(razorpay, &path, &body).header("x-refund-idempotency", key)).await
}

#[tokio::test]
async fn every_cycle_has_an_invoice_and_a_payment() {
    let (razorpay, id, first) = sold().await;
    razorpay.end_period(&id);
    let path = format!("/v1/invoices?subscription_id={id}");
    let list = get(&razorpay, &path).await.ok();
    assert_eq!(list["count"], 2);
    let [newest, oldest] = [&list["items"][0], &list["items"][1]];
    assert_eq!(oldest["payment_id"], *first);
    assert_eq!(newest["billing_start"], oldest["billing_end"]);
    assert_eq!(newest["status"], "paid");
    assert_eq!(newest["amount_paid"], 399_900);
    let path = format!("/v1/invoices/{}", newest["id"].as_str().unwrap());
    assert_eq!(get(&razorpay, &path).await.ok(), *newest);
    let path = format!("/v1/payments/{}", newest["payment_id"].as_str().unwrap());
    let payment = get(&razorpay, &path).await.ok();
    assert_eq!(payment["invoice_id"], newest["id"]);
    assert_eq!(
        (&payment["status"], &payment["captured"]),
        (&json!("captured"), &json!(true))
    );
    let none = get(
        &razorpay,
        "/v1/invoices?subscription_id=sub_none&count=1&skip=0",
    )
    .await;
    assert_eq!(none.ok()["count"], 0);
    for path in ["/v1/invoices/inv_none", "/v1/payments/pay_none"] {
        let refused = get(&razorpay, path).await;
        assert_eq!(refused.refusal(), "The id provided does not exist");
    }
}

#[tokio::test]
async fn a_refund_is_made_once_for_each_key() {
    let (razorpay, _, payment) = sold().await;
    let body = json!({"amount": 100_000, "notes": {"why": "a test"}});
    let key = "refund-0123456789";
    let first = refund(&razorpay, &payment, body.clone(), key).await.ok();
    assert_eq!(
        refund(&razorpay, &payment, body.clone(), key).await.ok(),
        first
    );
    let other = refund(&razorpay, &payment, json!({"amount": 100_001}), key).await;
    assert_eq!(
        other.refusal(),
        "Different request with the same idempotency key"
    );
    assert_ne!(
        refund(&razorpay, &payment, body, "short").await.refusal(),
        ""
    );
    assert_eq!(
        kinds(&razorpay.take_events()),
        ["refund.created", "refund.processed"]
    );
    let path = format!("/v1/payments/{payment}");
    let partly = get(&razorpay, &path).await.ok();
    assert_eq!(partly["refund_status"], "partial");
    assert_eq!(partly["amount_refunded"], 100_000);
    for (amount, said) in [
        (99, "The amount must be at least 100."),
        (
            300_000,
            "The total refund amount is greater than the refund payment amount",
        ),
    ] {
        let path = format!("/v1/payments/{payment}/refund");
        let refused = post(&razorpay, &path, json!({"amount": amount})).await;
        assert_eq!(refused.refusal(), said);
    }
    let events = razorpay.refund_payment(&payment, None);
    assert_eq!(events[1].entity("refund")["amount"], 299_900);
    assert_eq!(events[1].entity("payment")["refund_status"], "full");
    let refused = refund(&razorpay, &payment, json!({}), "refund-9876543210").await;
    assert_eq!(
        refused.refusal(),
        "The payment has been fully refunded already"
    );
    let list = get(&razorpay, &format!("/v1/payments/{payment}/refunds"))
        .await
        .ok();
    assert_eq!(list["items"][1], first);
    assert_eq!(razorpay.refunds().len(), 2);
}

#[tokio::test]
async fn a_dispute_is_opened_and_decided() {
    let (razorpay, _, payment) = sold().await;
    let (gone, told) = razorpay.dispute_open(&payment);
    assert_eq!(kinds(&told), ["payment.dispute.created"]);
    assert_eq!(told[0].entity("dispute")["payment_id"], *payment);
    let decided = razorpay.dispute_lost(&gone);
    assert_eq!(kinds(&decided), ["payment.dispute.lost"]);
    assert_eq!(decided[0].entity("payment")["id"], *payment);
    let (won, _) = razorpay.dispute_open(&payment);
    assert_eq!(kinds(&razorpay.dispute_won(&won)), ["payment.dispute.won"]);
    let all = get(&razorpay, "/v1/disputes?count=10&skip=0").await.ok();
    assert_eq!(all["items"][0]["id"], *won);
    assert_eq!(all["items"][1]["amount_deducted"], 399_900);
    let path = format!("/v1/disputes/{gone}");
    assert_eq!(get(&razorpay, &path).await.ok()["status"], "lost");
}

fn link_params() -> Value {
    json!({
        "amount": 12_345, "currency": "INR", "reference_id": "overage-1", "description": "Usage",
        "customer": {"name": "Acme", "email": "a@acme.example"},
        "notify": {"sms": false, "email": true}, "notes": {"customer_id": "acme"},
        "callback_url": "https://app.example.com/paid", "callback_method": "get",
    })
}

#[tokio::test]
async fn a_payment_link_is_known_by_its_reference_and_paid_once() {
    let razorpay = ready();
    let link = post(&razorpay, "/v1/payment_links", link_params())
        .await
        .ok();
    assert_eq!(link["status"], "created");
    let found = get(&razorpay, "/v1/payment_links?reference_id=overage-1")
        .await
        .ok();
    assert_eq!(found, json!({"payment_links": [link]}));
    let none = get(&razorpay, "/v1/payment_links/?reference_id=other")
        .await
        .ok();
    assert_eq!(none, json!({"payment_links": []}));
    let id = link["id"].as_str().unwrap();
    let events = razorpay.pay_link(id);
    assert_eq!(kinds(&events), ["payment_link.paid"]);
    assert_eq!(
        events[0].body["contains"],
        json!(["payment_link", "order", "payment"])
    );
    let paid = get(&razorpay, &format!("/v1/payment_links/{id}"))
        .await
        .ok();
    assert_eq!(events[0].entity("payment_link"), &paid);
    assert_eq!(
        (&paid["status"], &paid["amount_paid"]),
        (&json!("paid"), &json!(12_345))
    );
    let payment = paid["payments"][0]["payment_id"].as_str().unwrap();
    assert_eq!(events[0].entity("payment")["id"], payment);
    let said = format!("{id}|overage-1|paid|{payment}");
    assert_eq!(razorpay.link_signature(id), sign(&said, KEY_SECRET));
}

#[tokio::test]
async fn a_payment_link_is_refused_for_what_it_lacks() {
    let razorpay = ready();
    post(&razorpay, "/v1/payment_links", link_params())
        .await
        .ok();
    for (name, value, said) in [
        ("amount", json!(99), "The amount must be at least 100."),
        ("amount", Value::Null, "The amount field is required."),
        ("currency", json!("inr"), "Currency is not supported"),
        (
            "reference_id",
            json!("x".repeat(41)),
            "The reference id may not be greater than 40 characters.",
        ),
        (
            "reference_id",
            json!("overage-1"),
            "payment link with given reference_id: overage-1 already exists",
        ),
        (
            "callback_method",
            Value::Null,
            "callback_url and callback_method must be sent together",
        ),
        (
            "callback_method",
            json!("post"),
            "The callback method must be get.",
        ),
        (
            "callback_url",
            json!("nowhere"),
            "The callback url format is invalid.",
        ),
        (
            "customer",
            json!({"id": "x"}),
            "customer.id is/are not required and should not be sent",
        ),
        (
            "customer",
            json!({"email": "x"}),
            "The customer.email must be a valid email address.",
        ),
        (
            "notify",
            json!({"sms": true}),
            "customer contact is required to notify the customer",
        ),
        (
            "expire_by",
            json!(1_769_853_600 + 899),
            "expire_by should be at least 15 minutes after current time",
        ),
    ] {
        let mut body = link_params();
        body["reference_id"] = json!("overage-2");
        body[name] = value;
        let refused = post(&razorpay, "/v1/payment_links", body).await;
        assert_eq!(refused.refusal(), said);
    }
    assert_eq!(razorpay.links().len(), 1);
}

#[tokio::test]
async fn a_payment_link_closes_when_its_time_is_up() {
    let razorpay = ready();
    let mut body = link_params();
    body["expire_by"] = json!(1_769_853_600 + 900);
    let timed = post(&razorpay, "/v1/payment_links", body.clone())
        .await
        .id();
    let others = ["overage-2", "overage-3"].map(|reference| {
        let mut body = link_params();
        body["reference_id"] = json!(reference);
        body
    });
    let [second, third] = others;
    let second = post(&razorpay, "/v1/payment_links", second).await.id();
    let third = post(&razorpay, "/v1/payment_links", third).await.id();
    razorpay.set_now("2026-01-31T10:15:00Z".parse().unwrap());
    let told = razorpay.take_events();
    assert_eq!(kinds(&told), ["payment_link.expired"]);
    assert_eq!(told[0].entity("payment_link")["id"], *timed);
    assert_eq!(
        kinds(&razorpay.expire_link(&second)),
        ["payment_link.expired"]
    );
    assert_eq!(
        kinds(&razorpay.cancel_link(&third)),
        ["payment_link.cancelled"]
    );
}
