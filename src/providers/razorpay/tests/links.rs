//! Payment links.

use serde_json::{Value, json};

use super::script::{Answer, Script, no, ok};
use crate::providers::{LinkStatus, PaymentLink, PaymentLinkRequest, Provider as _, ProviderError};

fn request() -> PaymentLinkRequest {
    PaymentLinkRequest {
        reference: "overage-1".to_owned(),
        amount: 12_300,
        currency: "inr".to_owned(),
        description: "Usage of May".to_owned(),
        customer_id: "acme".to_owned(),
        name: Some("Acme".to_owned()),
        email: Some("acme@example.com".to_owned()),
        return_url: Some("https://app.example/thanks".to_owned()),
    }
}

fn link(status: &str, payments: Value) -> Value {
    json!({
        "id": "plink_1", "reference_id": "overage-1", "short_url": "https://rzp.io/i/1", "status": status, "amount": 12_300,
        "currency": "INR", "payments": payments, "expired_at": 0, "notes": null,
    })
}

#[tokio::test]
async fn a_sum_is_asked_for() {
    let script = Script::of([ok(link("created", json!(null)))]).await;
    assert_eq!(
        script.razorpay().create_payment_link(&request()).await,
        Ok(PaymentLink {
            id: "plink_1".to_owned(),
            reference: Some("overage-1".to_owned()),
            url: "https://rzp.io/i/1".to_owned(),
            status: LinkStatus::Open,
            amount: 12_300,
            payment_id: None,
        })
    );
    let wanted = json!({
        "amount": 12_300, "currency": "INR", "accept_partial": false, "reference_id": "overage-1", "description": "Usage of May",
        "customer": {"name": "Acme", "email": "acme@example.com"}, "notify": {"email": true, "sms": false}, "reminder_enable": true,
        "notes": {"customer_id": "acme"}, "callback_url": "https://app.example/thanks", "callback_method": "get",
    });
    assert_eq!(script.asked(), [format!("POST /v1/payment_links {wanted}")]);
}

#[tokio::test]
async fn what_is_not_known_is_not_said() {
    let script = Script::of([ok(link("created", json!(null)))]).await;
    let bare = PaymentLinkRequest {
        name: None,
        email: None,
        return_url: None,
        ..request()
    };
    script.razorpay().create_payment_link(&bare).await.unwrap();
    let asked = script.asked().remove(0);
    for absent in ["\"customer\":", "callback"] {
        assert!(!asked.contains(absent), "{asked}");
    }
    assert!(
        asked.contains(r#""notify":{"email":false,"sms":false}"#),
        "{asked}"
    );
}

#[tokio::test]
async fn a_reference_that_is_taken_leads_to_its_link() {
    let taken = || {
        no(
            400,
            "payment link with given reference_id: overage-1 already exists",
        )
    };
    let script = Script::of([Answer::Lost]).await;
    let outcome = script.razorpay().create_payment_link(&request()).await;
    assert!(outcome.unwrap_err().is_transient());
    assert_eq!(script.asked().len(), 1, "a creation is sent once");
    let named = |id: &str, link: Value| {
        let mut link = link;
        link["id"] = json!(id);
        link
    };
    let found = |links: Value| ok(json!({ "payment_links": links }));
    let other = json!({"id": "plink_0", "reference_id": "overage-10", "status": "paid"});
    let several = json!([
        other,
        named("plink_2", link("cancelled", json!(null))),
        named("plink_1", link("created", json!(null))),
    ]);
    let script = Script::of([taken(), found(several)]).await;
    let made = script
        .razorpay()
        .create_payment_link(&request())
        .await
        .unwrap();
    assert_eq!(
        (made.id.as_str(), made.status),
        ("plink_1", LinkStatus::Open)
    );
    assert_eq!(
        script.asked()[1],
        "GET /v1/payment_links reference_id=overage-1"
    );
    // Refused for another reason.
    let script = Script::of([taken(), found(json!([]))]).await;
    let outcome = script.razorpay().create_payment_link(&request()).await;
    assert!(
        matches!(outcome, Err(ProviderError::Rejected { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_link_tells_where_it_stands_and_what_settled_it() {
    let looked = async |link: Value| {
        let script = Script::of([ok(link)]).await;
        let found = script.razorpay().payment_link("plink_1").await;
        assert_eq!(script.asked(), ["GET /v1/payment_links/plink_1"]);
        found.map(|link| (link.status, link.payment_id))
    };
    let pay = |status: &str| json!({"payment_id": "pay_1", "status": status, "amount": "12300"});
    let failed = json!({"payment_id": "pay_0", "status": "failed"});
    let paid = Ok((LinkStatus::Paid, Some("pay_1".to_owned())));
    for payments in [
        json!([failed, pay("captured")]),
        pay("captured"),
        json!([{"payment_id": "pay_1"}]),
    ] {
        assert_eq!(
            looked(link("paid", payments.clone())).await,
            paid,
            "{payments}"
        );
    }
    for (status, means) in [
        ("created", LinkStatus::Open),
        ("partially_paid", LinkStatus::Open),
        ("expired", LinkStatus::Closed),
        ("cancelled", LinkStatus::Closed),
    ] {
        let found = looked(link(status, json!([pay("captured")]))).await;
        assert_eq!(found, Ok((means, None)), "{status}");
    }
    let unreadable = looked(link("melted", json!(null))).await;
    assert!(matches!(unreadable, Err(ProviderError::Unreadable { .. })));
}
