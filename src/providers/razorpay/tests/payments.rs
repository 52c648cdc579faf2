//! What is read of payments, and giving them back.

use serde_json::{Value, json};

use super::super::refunds::unused;
use super::super::wire::mark;
use super::script::{Answer, Script, list, no, ok};
use crate::providers::DisputeState::{self, Lost, UnderReview, Won};
use crate::providers::{PaidFor, Provider as _, ProviderCharge, ProviderError, RefundShare};

const KEY: &str = "refund:sub_1";
const INVOICES: &str = "GET /v1/invoices count=100 skip=0 subscription_id=sub_1";

fn invoice(payment: Value, status: &str, paid_at: Value) -> Value {
    json!({"id": "inv_1", "payment_id": payment, "status": status, "paid_at": paid_at, "subscription_id": "sub_1"})
}

fn payment(amount: i64, refunded: i64) -> Answer {
    ok(
        json!({"id": "pay_1", "amount": amount, "amount_refunded": refunded, "currency": "INR", "status": "captured"}),
    )
}

fn one_invoice() -> Answer {
    list(json!([invoice(json!("pay_1"), "paid", json!(5))]))
}

fn refund_of(amount: i64) -> String {
    let mark = mark(KEY);
    format!(r#"POST /v1/payments/pay_1/refund {{"amount":{amount},"notes":{{"refund":"{mark}"}}}}"#)
}

async fn given_back(
    share: RefundShare,
    answers: Vec<Answer>,
) -> (Result<bool, ProviderError>, Script) {
    let script = Script::of(answers).await;
    let outcome = script
        .razorpay()
        .refund_latest_payment("sub_1", share, KEY)
        .await;
    (outcome, script)
}

#[tokio::test]
async fn the_latest_payment_goes_back_under_a_key_of_razorpays_form() {
    let invoices = json!([
        invoice(Value::Null, "issued", Value::Null),
        invoice(json!("pay_1"), "paid", json!("300")),
        invoice(json!("pay_3"), "cancelled", json!(400)),
        invoice(json!("pay_2"), "paid", json!(200)),
    ]);
    let answers = vec![
        list(invoices),
        payment(4900, 0),
        Answer::Lost,
        ok(json!({"id": "rfnd_1"})),
    ];
    let (outcome, script) = given_back(RefundShare::Whole, answers).await;
    assert_eq!(outcome, Ok(true));
    let refund = refund_of(4900);
    // A lost answer is asked for again: under its key, the money goes once.
    assert_eq!(
        script.asked(),
        [INVOICES, "GET /v1/payments/pay_1", &refund, &refund]
    );
    let keys: Vec<_> = script
        .headers("x-refund-idempotency")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(keys, [mark(KEY), mark(KEY)]);
    assert!(mark(KEY).len() >= 10 && mark(KEY).bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_ne!(mark(KEY), mark("refund:sub_2"));
}

#[tokio::test]
async fn a_share_is_rounded_down_and_never_more_than_is_left() {
    let half = RefundShare::Unused { left: 1, of: 2 };
    let refunds = || list(json!([{"id": "rfnd_0", "status": "processed", "notes": []}]));
    for (share, whole, refunded, due) in [
        (half, 4901, 0, Some(2450)),
        (half, 4901, 1000, Some(2450)),
        (half, 4901, 4000, Some(901)),
        (RefundShare::Whole, 4900, 1000, Some(3900)),
        (half, 200, 0, Some(100)),
        // Less than Razorpay gives back.
        (half, 199, 0, None),
        (RefundShare::Whole, 4900, 4801, None),
        (RefundShare::Whole, 4900, 4900, None),
        (RefundShare::Unused { left: 0, of: 2 }, 4900, 0, None),
    ] {
        let mut answers = vec![one_invoice(), payment(whole, refunded)];
        if refunded > 0 {
            answers.push(refunds());
        }
        answers.push(ok(json!({"id": "rfnd_1"})));
        let (outcome, script) = given_back(share, answers).await;
        assert_eq!(outcome, Ok(due.is_some()), "{share:?} of {whole}");
        let sent = script
            .asked()
            .into_iter()
            .find(|line| line.starts_with("POST"));
        assert_eq!(sent, due.map(refund_of), "{share:?} of {whole}");
    }
    assert_eq!(unused(i64::MAX, i64::MAX - 1, i64::MAX), i64::MAX - 1);
    assert_eq!(unused(4900, 3, 2), 4900);
    assert_eq!(
        [unused(4900, 1, 0), unused(4900, -1, 2), unused(4900, 1, -2)],
        [0; 3]
    );
}

#[tokio::test]
async fn what_went_back_under_the_key_does_not_go_back_again() {
    let refund = |status: &str| {
        list(json!([{"id": "rfnd_1", "status": status, "notes": {"refund": mark(KEY)}}]))
    };
    let half = RefundShare::Unused { left: 1, of: 2 };
    let answers = vec![one_invoice(), payment(4900, 2450), refund("pending")];
    let (outcome, script) = given_back(half, answers).await;
    assert_eq!(outcome, Ok(true));
    assert_eq!(
        script.asked()[2],
        "GET /v1/payments/pay_1/refunds count=100 skip=0"
    );
    let again = ok(json!({"id": "rfnd_2"}));
    let answers = vec![one_invoice(), payment(4900, 2450), refund("failed"), again];
    let (outcome, script) = given_back(half, answers).await;
    assert_eq!((outcome, script.asked().len()), (Ok(true), 4));
    // Refused because another try was quicker, or for good.
    let refused = || no(400, "The payment has been fully refunded already");
    let answers = vec![
        one_invoice(),
        payment(4900, 0),
        refused(),
        refund("processed"),
    ];
    assert_eq!(given_back(RefundShare::Whole, answers).await.0, Ok(true));
    let answers = vec![one_invoice(), payment(4900, 0), refused(), list(json!([]))];
    let (outcome, _) = given_back(RefundShare::Whole, answers).await;
    assert!(
        matches!(outcome, Err(ProviderError::Rejected { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_was_not_paid_cannot_go_back() {
    for invoices in [
        json!([]),
        json!([invoice(Value::Null, "issued", Value::Null)]),
    ] {
        let of = |paid: i64| ok(json!({"id": "sub_1", "status": "cancelled", "paid_count": paid}));
        let unpaid = vec![list(invoices.clone()), of(0)];
        let (outcome, script) = given_back(RefundShare::Whole, unpaid).await;
        assert_eq!((outcome, script.asked().len()), (Ok(false), 2));
        // What was paid must show some time: nobody's money is forgotten until then.
        let (outcome, _) = given_back(RefundShare::Whole, vec![list(invoices), of(1)]).await;
        assert!(outcome.unwrap_err().is_transient());
    }
}

const PAYMENT: &str = "pay_EFtmUsbwpXwBH9";

fn disputed(id: &str, payment: &str, status: &str) -> Value {
    json!({"id": id, "payment_id": payment, "status": status})
}

fn shown_payment() -> Answer {
    ok(json!({
        "id": PAYMENT, "amount": 50_000, "amount_refunded": "1000", "currency": "INR", "customer_id": "cust_1",
        "invoice_id": "inv_1", "contact": 919_876_543_210_i64, "captured": "1",
    }))
}

#[tokio::test]
async fn a_payment_shows_what_went_back_and_what_it_paid() {
    let of_invoice = ok(json!({"id": "inv_1", "subscription_id": "sub_1"}));
    let script = Script::of([shown_payment(), of_invoice, list(json!([]))]).await;
    assert_eq!(
        script.razorpay().charge(PAYMENT, b"").await,
        Ok(ProviderCharge {
            id: PAYMENT.to_owned(),
            provider_customer_id: Some("cust_1".to_owned()),
            paid_for: PaidFor::Subscription("sub_1".to_owned()),
            amount: 50_000,
            amount_refunded: 1000,
            currency: "inr".to_owned(),
            dispute: None,
        })
    );
    for (answer, paid_for) in [
        (
            ok(json!({"id": "inv_1", "subscription_id": null})),
            PaidFor::Other,
        ),
        (no(400, "The id provided does not exist"), PaidFor::Unknown),
    ] {
        let script = Script::of([shown_payment(), answer, list(json!([]))]).await;
        let charge = script.razorpay().charge(PAYMENT, b"").await.unwrap();
        assert_eq!(charge.paid_for, paid_for);
    }
    // A payment link's has no invoice.
    let script = Script::of([payment(4900, 0), list(json!([]))]).await;
    let charge = script.razorpay().charge("pay_1", b"").await.unwrap();
    assert_eq!(charge.paid_for, PaidFor::Other);
}

#[tokio::test]
async fn all_disputes_of_a_payment_are_looked_for() {
    let dispute_of = async |told_by: &[u8], answers: Vec<Answer>| {
        let script = Script::of([payment(4900, 0)].into_iter().chain(answers)).await;
        let charge = script.razorpay().charge("pay_1", told_by).await;
        (charge.unwrap().dispute, script.asked())
    };
    for (statuses, state) in [
        (&["open"][..], Some(UnderReview)),
        (&["under_review"], Some(UnderReview)),
        (&["action_required"], Some(UnderReview)),
        (&["won"], Some(Won)),
        (&["closed"], Some(Won)),
        (&["lost"], Some(Lost)),
        (&["won", "lost", "open"], Some(Lost)),
        (&["closed", "open"], Some(UnderReview)),
        (&[], None),
    ] {
        let mut disputes: Vec<Value> = statuses
            .iter()
            .map(|status| disputed("disp_1", "pay_1", status))
            .collect();
        disputes.push(disputed("disp_0", "pay_0", "lost"));
        let (found, _) = dispute_of(b"", vec![list(json!(disputes))]).await;
        assert_eq!(found, state, "{statuses:?}");
    }
    let full = || list(json!(vec![disputed("disp_0", "pay_0", "lost"); 100]));
    let (found, asked) = dispute_of(
        b"",
        vec![full(), list(json!([disputed("disp_1", "pay_1", "open")]))],
    )
    .await;
    assert_eq!(found, Some(UnderReview));
    assert_eq!(
        asked[1..],
        [
            "GET /v1/disputes count=100 skip=0",
            "GET /v1/disputes count=100 skip=100"
        ]
    );
    // The list ends somewhere; what the event tells of is asked for by its id.
    let told = json!({
        "entity": "event", "event": "payment.dispute.created",
        "payload": {"dispute": {"entity": disputed("disp_1", "pay_1", "open")}},
    });
    let told = told.to_string().into_bytes();
    let mut answers: Vec<Answer> = (0..10).map(|_| full()).collect();
    answers.push(ok(disputed("disp_1", "pay_1", "lost")));
    let (found, asked) = dispute_of(&told, answers).await;
    assert_eq!((found, asked.len()), (Some(Lost), 12));
    assert_eq!(asked[11], "GET /v1/disputes/disp_1");
    // One of another payment says nothing of this.
    let foreign = String::from_utf8(told.clone())
        .unwrap()
        .replace("pay_1", "pay_2");
    let (found, asked) = dispute_of(foreign.as_bytes(), vec![list(json!([]))]).await;
    assert_eq!((found, asked.len()), (None, 2));
}

#[tokio::test]
async fn what_is_not_shown_is_taken_from_the_event() {
    let told_by = include_bytes!("../fixtures/dispute_lost.json");
    let gone = || no(400, "The id provided does not exist");
    let hidden = || no(403, "Disputes are not enabled for this account");
    let of_invoice = || ok(json!({"id": "inv_EFtmUsbwpXwBH1", "subscription_id": "sub_1"}));
    let script = Script::of([gone(), of_invoice(), hidden(), hidden()]).await;
    assert_eq!(
        script.razorpay().charge(PAYMENT, told_by).await,
        Ok(ProviderCharge {
            id: PAYMENT.to_owned(),
            provider_customer_id: None,
            paid_for: PaidFor::Subscription("sub_1".to_owned()),
            amount: 50_000,
            amount_refunded: 0,
            currency: "inr".to_owned(),
            dispute: Some(DisputeState::Lost),
        })
    );
    // An event about another payment stands for none.
    let script = Script::of([gone()]).await;
    let outcome = script.razorpay().charge("pay_1", told_by).await;
    assert_eq!(outcome, Err(ProviderError::NotFound));
    // Unreachable is not hidden.
    let lost = || Answer::Of(503, json!({}));
    let script = Script::of([shown_payment(), of_invoice(), lost(), lost(), lost()]).await;
    let outcome = script.razorpay().charge(PAYMENT, told_by).await;
    assert!(outcome.unwrap_err().is_transient());
}
