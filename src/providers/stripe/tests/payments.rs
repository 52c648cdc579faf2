//! What is read of payments, and what giving them back asks of Stripe.

use serde_json::{Value, json};

use super::script::{Answer, Script, no, ok};
use crate::providers::{
    DisputeState, PaidFor, Provider as _, ProviderCharge, ProviderError, RefundShare,
};

fn list(items: Value) -> Value {
    json!({"object": "list", "data": items, "has_more": false})
}

fn page(items: Value) -> Value {
    json!({"object": "list", "data": items, "has_more": true})
}

fn charge(fields: Value) -> Value {
    let mut object = json!({"id": "ch_1", "amount": 4900, "currency": "USD", "customer": "cus_1", "disputed": false});
    for (field, value) in fields.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

fn refund(id: &str, amount: i64, status: &str) -> Value {
    json!({"id": id, "amount": amount, "status": status})
}

const PAID: &str = "GET /v1/invoices limit=100 status=paid subscription=sub_1";
const PAYMENTS: &str = "GET /v1/invoice_payments invoice=in_1 limit=100 status=paid";

#[tokio::test]
async fn the_latest_payment_goes_back_once_for_each_key() {
    let paid = || {
        list(
            json!([{"id": "in_0", "amount_paid": 0}, {"id": "in_1", "amount_paid": 4900}, {"id": "in_2", "amount_paid": 9}]),
        )
    };
    let payments = || {
        list(json!([
            {"id": "inpay_1", "invoice": "in_1", "payment": {"type": "payment_intent", "payment_intent": "pi_1"}},
            {"id": "inpay_2", "invoice": "in_1", "payment": {"type": "charge", "charge": {"id": "ch_2"}}},
            {"id": "inpay_3", "invoice": "in_1", "payment": {"type": "payment_record", "payment_record": "pr_1"}},
        ]))
    };
    let script = Script::of([
        ok(paid()),
        ok(payments()),
        Answer::Lost,
        ok(refund("re_1", 4800, "pending")),
        no(
            400,
            "charge_already_refunded",
            "Charge ch_2 has already been refunded.",
        ),
    ])
    .await;
    let gone_back = script
        .stripe()
        .refund_latest_payment("sub_1", RefundShare::Whole, "key")
        .await;
    assert_eq!(gone_back, Ok(true));
    let intent = "POST /v1/refunds payment_intent=pi_1";
    assert_eq!(
        script.asked(),
        [
            PAID,
            PAYMENTS,
            intent,
            intent,
            "POST /v1/refunds charge=ch_2"
        ]
    );
    let keys: Vec<_> = script.keys().into_iter().flatten().collect();
    assert_eq!(keys, ["key", "key", "key:1"]);
}

#[tokio::test]
async fn what_was_not_paid_cannot_go_back() {
    let unpaid = page(json!([{"id": "in_9", "amount_paid": 0}]));
    let script = Script::of([ok(unpaid), ok(list(json!([])))]).await;
    let gone_back = script
        .stripe()
        .refund_latest_payment("sub_1", RefundShare::Whole, "key")
        .await;
    assert_eq!(gone_back, Ok(false));
    assert_eq!(
        script.asked()[1],
        "GET /v1/invoices limit=100 starting_after=in_9 status=paid subscription=sub_1"
    );
    // Paid with a cheque: no payment of Stripe's.
    let paid = list(json!([{"id": "in_1", "amount_paid": 4900}]));
    let script = Script::of([
        ok(paid),
        ok(list(
            json!([{"id": "inpay_1", "payment": {"type": "payment_record"}}]),
        )),
    ])
    .await;
    let gone_back = script
        .stripe()
        .refund_latest_payment("sub_1", RefundShare::Whole, "key")
        .await;
    assert_eq!(gone_back, Ok(false));
}

#[tokio::test]
async fn a_refund_that_is_refused_is_not_taken_for_made() {
    let paid = list(json!([{"id": "in_1", "amount_paid": 4900}]));
    let payments = list(json!([{"id": "inpay_1", "payment": {"charge": "ch_1"}}]));
    let refused = no(400, "charge_disputed", "Charge ch_1 has been charged back.");
    let script = Script::of([ok(paid), ok(payments), refused]).await;
    let outcome = script
        .stripe()
        .refund_latest_payment("sub_1", RefundShare::Whole, "key")
        .await;
    assert!(
        matches!(&outcome, Err(ProviderError::Rejected { code: Some(code), .. }) if code == "charge_disputed"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_payment_shows_what_went_back_and_whose_it_is() {
    let script = Script::of([
        ok(charge(
            json!({"disputed": true, "payment_intent": {"id": "pi_1"}}),
        )),
        ok(page(json!([
            refund("re_1", 1000, "succeeded"),
            refund("re_2", 500, "failed")
        ]))),
        ok(list(json!([
            refund("re_3", 200, "pending"),
            refund("re_4", 7, "canceled"),
            refund("re_5", 30, "requires_action")
        ]))),
        ok(list(
            json!([{"id": "du_1", "status": "won"}, {"id": "du_2", "status": "needs_response"}]),
        )),
        ok(list(json!([{"id": "inpay_1", "invoice": "in_1"}]))),
        ok(json!({"id": "in_1", "parent": {"subscription_details": {"subscription": "sub_1"}}})),
    ])
    .await;
    assert_eq!(
        script.stripe().charge("ch_1", b"").await.unwrap(),
        ProviderCharge {
            id: "ch_1".to_owned(),
            provider_customer_id: Some("cus_1".to_owned()),
            paid_for: PaidFor::Subscription("sub_1".to_owned()),
            amount: 4900,
            amount_refunded: 1230,
            currency: "usd".to_owned(),
            dispute: Some(DisputeState::UnderReview),
        }
    );
    assert_eq!(
        script.asked(),
        [
            "GET /v1/charges/ch_1",
            "GET /v1/refunds charge=ch_1 limit=100",
            "GET /v1/refunds charge=ch_1 limit=100 starting_after=re_2",
            "GET /v1/disputes charge=ch_1 limit=100",
            "GET /v1/invoice_payments limit=1 payment[payment_intent]=pi_1 payment[type]=payment_intent",
            "GET /v1/invoices/in_1",
        ]
    );
}

#[tokio::test]
async fn a_payment_of_the_former_shape_names_its_invoice_itself() {
    for invoice in [json!("in_1"), json!({"id": "in_1"})] {
        let script = Script::of([
            ok(charge(
                json!({"invoice": invoice, "payment_intent": "pi_1"}),
            )),
            ok(list(json!([]))),
            ok(json!({"id": "in_1", "subscription": {"id": "sub_1"}})),
        ])
        .await;
        let charge = script.stripe().charge("ch_1", b"").await.unwrap();
        assert_eq!(charge.paid_for, PaidFor::Subscription("sub_1".to_owned()));
        assert_eq!((charge.amount_refunded, charge.dispute), (0, None));
    }
}

#[tokio::test]
async fn a_payment_of_something_else_is_nobodys_subscription() {
    let script = Script::of([ok(charge(json!({}))), ok(list(json!([])))]).await;
    let bare = script.stripe().charge("ch_1", b"").await.unwrap();
    assert_eq!(bare.paid_for, PaidFor::Other);
    let answers = [
        charge(json!({"payment_intent": "pi_1"})),
        list(json!([])),
        list(json!([])),
    ];
    let script = Script::of(answers.map(ok)).await;
    let no_invoice = script.stripe().charge("ch_1", b"").await.unwrap();
    assert_eq!(no_invoice.paid_for, PaidFor::Other);
}

#[tokio::test]
async fn the_worst_dispute_counts() {
    use DisputeState::{Lost, UnderReview, Won};
    for (statuses, state) in [
        (vec![], UnderReview),
        (vec!["won"], Won),
        (vec!["warning_closed"], Won),
        (vec!["warning_needs_response"], UnderReview),
        (vec!["prevented_somehow"], UnderReview),
        (vec!["won", "under_review"], UnderReview),
        (vec!["under_review", "won", "lost"], Lost),
    ] {
        let disputes: Vec<Value> = statuses
            .iter()
            .map(|s| json!({"id": "du_1", "status": s}))
            .collect();
        let answers = [
            charge(json!({"disputed": true})),
            list(json!([])),
            list(json!(disputes)),
        ];
        let script = Script::of(answers.map(ok)).await;
        let charge = script.stripe().charge("ch_1", b"").await.unwrap();
        assert_eq!(charge.dispute, Some(state), "{statuses:?}");
    }
}

#[test]
fn an_event_about_a_payment_shows_it() {
    let event = |object: Value| {
        json!({"id": "evt_1", "object": "event", "type": "x", "data": {"object": object}})
            .to_string()
    };
    let mut shown = charge(json!({"object": "charge", "amount_refunded": 4900, "disputed": true}));
    let read = super::super::payments::charge_in(event(shown.clone()).as_bytes()).unwrap();
    assert_eq!(
        read,
        ProviderCharge {
            id: "ch_1".to_owned(),
            provider_customer_id: Some("cus_1".to_owned()),
            paid_for: PaidFor::Unknown,
            amount: 4900,
            amount_refunded: 4900,
            currency: "usd".to_owned(),
            dispute: Some(DisputeState::UnderReview),
        }
    );
    shown["object"] = json!("refund");
    assert_eq!(
        super::super::payments::charge_in(event(shown).as_bytes()),
        None
    );
    assert_eq!(super::super::payments::charge_in(b"no event"), None);
}
