//! A subscription's whole life, as the fake lives it.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use plangate::domain::provider_event::{Hint, ProviderStatus, ProviderSubscription};
use plangate::domain::subscription::{PlanRef, SubscriptionStatus as S};
use plangate::providers::razorpay::Razorpay;
use plangate::providers::{
    CheckoutRequest, CheckoutStatus, DisputeState, FinalInvoice, LinkStatus, PaidFor, Provider,
    RefundShare, WebhookError,
};

use super::{PRICE, acme, noon, pro, start, subscribed, usage};
use crate::fake_razorpay::{FakeEvent, FakeRazorpay, Quirk};

/// What the provider makes of a delivery of the event.
fn heard(fake: &FakeRazorpay, razorpay: &Razorpay, event: &FakeEvent) -> Hint {
    let delivery = fake.sign(event);
    let header = |name: &str| {
        let headers = delivery.headers();
        let found = headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let body = delivery.body.as_bytes();
    let read = razorpay.verify_webhook(&header, body, noon()).unwrap();
    assert_eq!(
        (read.event_id, read.event_type.as_str()),
        (event.id.clone(), event.kind())
    );
    assert_eq!(razorpay.hint(body), Ok(read.hint.clone()));
    let forged = format!("{} ", delivery.body);
    let refused = razorpay.verify_webhook(&header, forged.as_bytes(), noon());
    assert!(matches!(refused, Err(WebhookError::BadSignature(_))));
    read.hint
}

/// Something that happens to a subscription without being asked for.
type Happens = fn(&FakeRazorpay, &str) -> Vec<FakeEvent>;

fn status(of: &ProviderSubscription) -> S {
    match of.status {
        ProviderStatus::Known(status) => status,
        ProviderStatus::Unknown(ref word) => panic!("{word}"),
    }
}

#[tokio::test]
async fn a_plan_is_sold_paid_and_renewed() {
    let (fake, razorpay) = start();
    let price = razorpay.price("plan_pro").await.unwrap();
    assert_eq!(
        (price.unit_amount, price.currency.as_str()),
        (Some(PRICE), "inr")
    );
    let customer = razorpay.create_customer(&acme()).await.unwrap();
    assert_eq!(razorpay.create_customer(&acme()).await.unwrap(), customer);
    let session = razorpay.create_checkout(&pro()).await.unwrap();
    assert_eq!(session.status, CheckoutStatus::Open);
    assert_eq!(session.expires_at, Some(noon() + TimeDelta::hours(24)));
    assert_eq!(razorpay.create_checkout(&pro()).await.unwrap(), session);
    let id = session.id;
    assert_eq!(
        status(&razorpay.fetch_subscription(&id).await.unwrap()),
        S::Incomplete
    );

    let events = fake.pay_checkout(&id);
    let kinds: Vec<_> = events.iter().map(FakeEvent::kind).collect();
    assert_eq!(
        kinds,
        [
            "subscription.authenticated",
            "subscription.activated",
            "subscription.charged"
        ]
    );
    for event in &events[..2] {
        let about = Hint::Subscription {
            provider_subscription_id: id.clone(),
        };
        assert_eq!(heard(&fake, &razorpay, event), about);
    }
    let Hint::SubscriptionPaid { payment, .. } = heard(&fake, &razorpay, &events[2]) else {
        panic!("a charge tells of its payment");
    };
    assert_eq!(payment.id, fake.payment_of(&id));
    assert_eq!((payment.amount, payment.currency.as_str()), (PRICE, "inr"));
    let closed = razorpay.checkout_session(&id).await.unwrap();
    assert_eq!(
        (closed.status, closed.url),
        (CheckoutStatus::Complete, None)
    );

    let paid = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!(status(&paid), S::Active);
    assert_eq!(paid.customer_id.as_deref(), Some("acme_1"));
    let sold = PlanRef {
        tier: "pro".to_owned(),
        version: 2,
    };
    assert_eq!(paid.sold_as, Some(sold));
    assert_eq!(
        (paid.anchor, paid.current_period_start),
        (Some(noon()), Some(noon()))
    );
    assert!(paid.was_paid && paid.trial_end.is_none());
    let story: [(Happens, S); 4] = [
        (FakeRazorpay::fail_renewal, S::PastDue),
        (FakeRazorpay::halt, S::Unpaid),
        (FakeRazorpay::pay_overdue, S::Active),
        (FakeRazorpay::pause, S::Paused),
    ];
    for (happens, meaning) in story {
        happens(&fake, &id);
        let found = razorpay.fetch_subscription(&id).await.unwrap();
        assert_eq!(status(&found), meaning);
    }
    razorpay.resume(&id).await.unwrap();
    let renewed = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!(status(&renewed), S::Active);
    assert_eq!(renewed.current_period_start, paid.current_period_end);
    razorpay.cancel_at_period_end(&id).await.unwrap();
    assert!(fake.ends_with_its_cycle(&id));
    let marked = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!(marked, renewed, "nothing shows it");
    fake.end_period(&id);
    let over = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!(
        (status(&over), over.ended_at),
        (S::Canceled, renewed.current_period_end)
    );
    razorpay.cancel_now(&id, FinalInvoice::None).await.unwrap();
    let all = razorpay.subscriptions(None).await.unwrap();
    assert_eq!((all.items, all.next), (vec![over], None));
}

#[tokio::test]
async fn a_trial_is_one_until_its_first_payment() {
    let (fake, razorpay) = start();
    let trial = CheckoutRequest {
        trial_days: Some(14),
        ..pro()
    };
    let id = razorpay.create_checkout(&trial).await.unwrap().id;
    fake.pay_checkout(&id);
    let ends = noon() + TimeDelta::days(14);
    let trying = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!(
        (status(&trying), trying.trial_end),
        (S::Trialing, Some(ends))
    );
    assert_eq!(trying.current_period_end, Some(ends));
    fake.set_now(ends);
    fake.begin(&id);
    let paying = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!((status(&paying), paying.anchor), (S::Active, Some(ends)));
    // One that never came to a period has none to end with.
    let second = CheckoutRequest {
        idempotency_key: "attempt-2".to_owned(),
        begun_at: ends,
        ..trial
    };
    let id = razorpay.create_checkout(&second).await.unwrap().id;
    fake.pay_checkout(&id);
    razorpay.cancel_at_period_end(&id).await.unwrap();
    let over = razorpay.fetch_subscription(&id).await.unwrap();
    assert_eq!((status(&over), over.was_paid), (S::Canceled, false));
}

#[tokio::test]
async fn nobody_pays_for_a_checkout_that_was_closed() {
    let (fake, razorpay) = start();
    let id = razorpay.create_checkout(&pro()).await.unwrap().id;
    for _ in 0..2 {
        let closed = razorpay.expire_checkout(&id).await.unwrap();
        assert_eq!(closed.status, CheckoutStatus::Expired);
    }
    assert_eq!(fake.subscription(&id)["status"], "cancelled");
    let second = CheckoutRequest {
        idempotency_key: "attempt-2".to_owned(),
        ..pro()
    };
    let id = razorpay.create_checkout(&second).await.unwrap().id;
    fake.set_now(noon() + TimeDelta::hours(25));
    let closed = razorpay.checkout_session(&id).await.unwrap();
    assert_eq!(closed.status, CheckoutStatus::Expired);
}

#[tokio::test]
async fn money_goes_back_in_part_or_whole_and_a_bank_can_claim_it() {
    let (fake, razorpay, id) = subscribed().await;
    let payment = fake.payment_of(&id);
    let third = RefundShare::Unused { left: 1, of: 3 };
    for _ in 0..2 {
        assert_eq!(
            razorpay.refund_latest_payment(&id, third, "third").await,
            Ok(true)
        );
    }
    let events = fake.take_events();
    let about = Hint::Charge {
        provider_charge_id: payment.clone(),
    };
    assert!(!events.is_empty());
    for event in &events {
        assert_eq!(heard(&fake, &razorpay, event), about);
    }
    let charge = razorpay.charge(&payment, b"").await.unwrap();
    assert_eq!((charge.amount, charge.amount_refunded), (PRICE, PRICE / 3));
    assert_eq!(charge.paid_for, PaidFor::Subscription(id.clone()));
    assert_eq!(charge.dispute, None);
    for went in [Ok(true), Ok(true)] {
        assert_eq!(
            razorpay
                .refund_latest_payment(&id, RefundShare::Whole, "rest")
                .await,
            went
        );
    }
    let none_left = razorpay
        .refund_latest_payment(&id, RefundShare::Whole, "more")
        .await;
    assert_eq!(none_left, Ok(false));
    assert_eq!(fake.refunds().len(), 2);

    let (dispute, opened) = fake.dispute_open(&payment);
    let told_by = fake.sign(&opened[0]).body;
    let disputed = async || {
        razorpay
            .charge(&payment, told_by.as_bytes())
            .await
            .unwrap()
            .dispute
    };
    assert_eq!(disputed().await, Some(DisputeState::UnderReview));
    fake.dispute_lost(&dispute);
    // The event is older than what is so now.
    assert_eq!(disputed().await, Some(DisputeState::Lost));
}

#[tokio::test]
async fn usage_is_billed_by_a_link() {
    let (fake, razorpay) = start();
    let link = razorpay.create_payment_link(&usage()).await.unwrap();
    assert_eq!(
        (link.status, link.reference.as_deref()),
        (LinkStatus::Open, Some("overage-1"))
    );
    assert_eq!(razorpay.create_payment_link(&usage()).await.unwrap(), link);
    let events = fake.pay_link(&link.id);
    let about = Hint::PaymentLink {
        provider_link_id: link.id.clone(),
    };
    let hints: Vec<_> = events
        .iter()
        .map(|event| heard(&fake, &razorpay, event))
        .collect();
    assert!(hints.contains(&about), "{hints:?}");
    let paid = razorpay.payment_link(&link.id).await.unwrap();
    assert_eq!(paid.status, LinkStatus::Paid);
    let payment = paid.payment_id.unwrap();
    let charge = razorpay.charge(&payment, b"").await.unwrap();
    assert_eq!((charge.paid_for, charge.amount), (PaidFor::Other, 12_300));
}

#[tokio::test]
async fn quirks_change_no_meaning() {
    let hints = async |quirks: &[Quirk]| {
        let (fake, razorpay) = start();
        fake.have_quirks(quirks.iter().copied());
        let id = razorpay.create_checkout(&pro()).await.unwrap().id;
        let mut events = fake.pay_checkout(&id);
        let link = razorpay.create_payment_link(&usage()).await.unwrap().id;
        events.extend(fake.pay_link(&link));
        let payment = fake.payment_of(&id);
        events.extend(fake.refund_payment(&payment, Some(500)));
        events.extend(fake.dispute_open(&payment).1);
        events.extend(fake.cancel(&id));
        let charge = razorpay.charge(&payment, b"").await.unwrap();
        assert_eq!(charge.amount_refunded, 500);
        // Ids differ in what each fake puts into all of its own.
        let run = &id["sub_".len()..id.len() - 5];
        let read = |event| format!("{:?}", heard(&fake, &razorpay, event)).replace(run, "");
        events.iter().map(read).collect::<Vec<_>>()
    };
    let plain = hints(&[]).await;
    assert_eq!(plain.iter().collect::<BTreeSet<_>>().len(), 4, "{plain:?}");
    for quirk in Quirk::ALL {
        assert_eq!(hints(&[quirk]).await, plain, "{quirk:?}");
    }
    assert_eq!(hints(&Quirk::ALL).await, plain);
}

#[tokio::test]
async fn a_payment_is_vouched_for_as_the_browser_brings_it() {
    let (fake, razorpay, id) = subscribed().await;
    let payment = fake.payment_of(&id);
    let signature = FakeRazorpay::checkout_signature(&payment, &id);
    let vouches =
        |payment: &str, signature: &str| razorpay.vouches_for_payment(payment, &id, signature);
    assert_eq!(vouches(&payment, &signature), Some(true));
    assert_eq!(vouches("pay_other", &signature), Some(false));
}
