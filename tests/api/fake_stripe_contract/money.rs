//! Invoices, payments, refunds and disputes.

use serde_json::{Value, json};

use super::{get, kinds, post, sold};

#[tokio::test]
async fn a_payment_is_found_from_the_charge_and_from_the_subscription() {
    let (stripe, customer, id) = sold().await;
    let charge_id = stripe.charge_of(&id);
    let charge = get(&stripe, &format!("/v1/charges/{charge_id}")).await.body;
    assert_eq!(
        (&charge["amount"], &charge["customer"], &charge["refunded"]),
        (&json!(4900), &json!(customer), &json!(false))
    );
    assert_eq!(charge.get("invoice"), None);
    let intent = charge["payment_intent"].as_str().unwrap();
    let path = format!(
        "/v1/invoice_payments?payment[type]=payment_intent&payment[payment_intent]={intent}&expand[]=data.invoice"
    );
    let payments = get(&stripe, &path).await.body;
    let invoice = &payments["data"][0]["invoice"];
    assert_eq!(
        invoice["parent"]["subscription_details"]["subscription"],
        json!(id)
    );
    let path = format!("/v1/invoices?subscription={id}&status=paid&limit=1");
    let invoices = get(&stripe, &path).await.body;
    assert_eq!(invoices["data"][0]["id"], invoice["id"]);
    assert_eq!(stripe.subscription(&id)["latest_invoice"], invoice["id"]);
    let invoice_id = invoice["id"].as_str().unwrap();
    let path = format!(
        "/v1/invoice_payments?invoice={invoice_id}&status=paid&expand[]=data.payment.payment_intent"
    );
    let payments = get(&stripe, &path).await.body;
    let paying = &payments["data"][0]["payment"]["payment_intent"];
    assert_eq!(paying["latest_charge"], json!(charge_id));
    let path = format!("/v1/payment_intents/{intent}");
    assert_eq!(get(&stripe, &path).await.body, *paying);
    let path = format!("/v1/invoices/{invoice_id}?expand[]=payments");
    let shown = get(&stripe, &path).await.body;
    assert_eq!(shown["payments"]["data"][0]["status"], "paid");

    for path in [
        "invoice_payments?payment[payment_intent]=pi_1",
        "invoice_payments?invoice=in_no",
        "invoice_payments?status=done",
        "invoices?status=done",
        "invoices?colour=red",
        "charges?customer=cus_no",
    ] {
        assert_eq!(
            get(&stripe, &format!("/v1/{path}")).await.status,
            400,
            "{path}"
        );
    }
    for path in ["charges/ch_no", "invoices/in_no", "payment_intents/pi_no"] {
        assert_eq!(
            get(&stripe, &format!("/v1/{path}")).await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn money_goes_back_in_parts_and_never_more_than_was_paid() {
    let (stripe, _, id) = sold().await;
    let charge = stripe.charge_of(&id);
    let refund = async |params: &[(&str, &str)]| post(&stripe, "/v1/refunds", params, None).await;
    for (params, param) in [
        (&[("amount", "1")][..], "charge"),
        (&[("charge", "ch_no")], "charge"),
        (&[("charge", &charge), ("amount", "0")], "amount"),
        (&[("charge", &charge), ("amount", "4901")], "amount"),
        (&[("charge", &charge), ("reason", "bored")], "reason"),
        (&[("charge", &charge), ("comment", "x")], "comment"),
    ] {
        let refused = refund(params).await;
        assert_eq!((refused.status, refused.error().2), (400, param));
    }
    let params = [
        ("charge", charge.as_str()),
        ("amount", "900"),
        ("reason", "duplicate"),
        ("metadata[why]", "x"),
    ];
    let part = refund(&params).await;
    assert_eq!(part.body["status"], "succeeded");
    let events = stripe.take_events();
    assert_eq!(kinds(&events), ["refund.created", "charge.refunded"]);
    let shown = |event: &Value| {
        let charge = &event["data"]["object"];
        (
            charge["amount_refunded"].clone(),
            charge["refunded"].clone(),
        )
    };
    assert_eq!(shown(&events[1]), (json!(900), json!(false)));
    let events = stripe.refund_charge(&charge, None);
    assert_eq!(shown(&events[1]), (json!(4900), json!(true)));
    assert!(stripe.take_events().is_empty());
    let refused = refund(&[("charge", &charge)]).await;
    assert_eq!(refused.error().1, "charge_already_refunded");

    let list = get(&stripe, &format!("/v1/refunds?charge={charge}&limit=1")).await;
    let newest = &list.body["data"][0];
    assert_eq!(
        (&newest["amount"], &list.body["has_more"]),
        (&json!(4000), &json!(true))
    );
    let events = stripe.fail_refund(newest["id"].as_str().unwrap());
    assert_eq!(kinds(&events), ["refund.failed", "charge.refund.updated"]);
    assert_eq!(stripe.charges()[0]["amount_refunded"], 900);
    assert_eq!(stripe.charges()[0]["refunded"], false);
    assert_eq!(stripe.refunds()[1]["status"], "failed");
    let intent = stripe.charges()[0]["payment_intent"].clone();
    refund(&[("payment_intent", intent.as_str().unwrap())])
        .await
        .id();
    assert_eq!(stripe.charges()[0]["refunded"], true);
}

#[tokio::test]
async fn a_key_gives_money_back_once() {
    let (stripe, _, id) = sold().await;
    let charge = stripe.charge_of(&id);
    let params = [("charge", charge.as_str()), ("amount", "100")];
    let first = post(&stripe, "/v1/refunds", &params, Some("r-1"))
        .await
        .id();
    let again = post(&stripe, "/v1/refunds", &params, Some("r-1"))
        .await
        .id();
    assert_eq!(first, again);
    assert_eq!(stripe.refunds().len(), 1);
    assert_eq!(stripe.take_events().len(), 2);
}

#[tokio::test]
async fn a_disputed_charge_is_not_refunded() {
    let (stripe, _, id) = sold().await;
    let charge = stripe.charge_of(&id);
    let (dispute, events) = stripe.open_dispute(&charge);
    assert_eq!(
        kinds(&events),
        ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    );
    assert_eq!(stripe.charges()[0]["disputed"], true);
    let refused = post(&stripe, "/v1/refunds", &[("charge", &charge)], None).await;
    assert_eq!(refused.error().1, "charge_disputed");
    let path = format!("/v1/disputes?charge={charge}");
    assert_eq!(
        get(&stripe, &path).await.body["data"][0]["id"],
        json!(dispute)
    );
    assert_eq!(
        kinds(&stripe.close_dispute(&dispute, "won")),
        ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    );
    let path = format!("/v1/disputes/{dispute}");
    assert_eq!(get(&stripe, &path).await.body["status"], "won");
    assert_eq!(stripe.charges()[0]["disputed"], true, "it stays marked");
    post(&stripe, "/v1/refunds", &[("charge", &charge)], None)
        .await
        .id();
    let (lost, _) = stripe.open_dispute(&charge);
    assert_eq!(
        kinds(&stripe.close_dispute(&lost, "lost")),
        ["charge.dispute.closed"]
    );
}
