//! Selling a plan, against the fake Stripe and a real database. What happens when several tabs or a failing provider get in
//! the way is proved in `checkout_trouble`.

use chrono::TimeDelta;
use plangate::domain::ids::CustomerId;
use plangate::domain::policy::UnknownCustomers;
use plangate::domain::provider_event::ProviderName;
use plangate::service::checkout::{CheckoutError, CheckoutOrder, create_checkout};
use plangate::service::context::SoldUnder;
use plangate::service::grants::{Grant, grant};
use plangate::service::return_urls::ReturnUrlError;
use plangate::store::clock::Clock as _;
use plangate::store::customers;
use serde_json::json;

use crate::fake_stripe::{Endpoint, FakePrice};
use crate::support::shop::{Shop, order};

#[tokio::test]
async fn a_checkout_is_opened_for_a_new_customer() {
    let shop = Shop::open();
    let open = shop.buy("scale").await.unwrap();
    let sessions = shop.fake.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["id"], json!(open.session_id));
    assert_eq!(sessions[0]["url"], json!(open.checkout_url));
    assert_eq!(open.expires_at, Some(shop.clock.now() + TimeDelta::days(1)));
    assert_eq!(open.publishable_key.as_deref(), Some("pk_test_fake"));
    assert_eq!(open.provider, ProviderName::Stripe);

    let sent = shop.fake.requests_to(Endpoint::CreateSession).remove(0);
    assert_eq!(sent.params["line_items[0][price]"], "price_scale");
    assert_eq!(sent.params["line_items[1][price]"], "price_overage");
    assert_eq!(sent.params["success_url"], "https://app.example/done");
    assert_eq!(sent.params["cancel_url"], "https://app.example/pricing");
    assert_eq!(
        sent.params["subscription_data[metadata][customer_id]"],
        "acme"
    );
    let customer = shop.fake.requests_to(Endpoint::CreateCustomer).remove(0);
    assert_eq!(customer.idempotency_key.as_deref(), Some("customer:acme:1"));
    shop.assert_attempts(&[("scale", "open")]);

    shop.pay(&open.session_id).await;
    shop.assert_attempts(&[("scale", "complete")]);
    assert!(matches!(
        shop.buy("scale").await,
        Err(CheckoutError::AlreadySubscribed)
    ));
}

#[tokio::test]
async fn an_open_session_is_returned_again_and_prices_are_not_asked_for_each_time() {
    let shop = Shop::open();
    let first = shop.buy("pro").await.unwrap();
    let elsewhere = CheckoutOrder {
        success_url: Some("https://app.example/elsewhere".to_owned()),
        ..order("pro")
    };
    assert_eq!(
        create_checkout(&shop.context, elsewhere).await.unwrap(),
        first
    );
    assert_eq!(shop.buy("pro").await.unwrap(), first);
    assert_eq!(shop.fake.sessions().len(), 1);
    assert_eq!(shop.fake.customers().len(), 1);

    shop.fake.let_checkout_expire(&first.session_id);
    let second = shop.buy("pro").await.unwrap();
    assert_ne!(second.session_id, first.session_id);
    shop.assert_attempts(&[("pro", "expired"), ("pro", "open")]);
    assert_eq!(shop.fake.customers().len(), 1);
    assert_eq!(shop.fake.requests_to(Endpoint::Price).len(), 1);
}

#[tokio::test]
async fn a_session_for_another_plan_is_expired_first() {
    let shop = Shop::open();
    let pro = shop.buy("pro").await.unwrap();
    let scale = shop.buy("scale").await.unwrap();
    assert_eq!(shop.open_sessions(), [scale.session_id]);
    shop.assert_attempts(&[("pro", "expired"), ("scale", "open")]);
    let back = shop.buy("pro").await.unwrap();
    assert_ne!(back.session_id, pro.session_id);
    assert_eq!(shop.open_sessions(), [back.session_id]);
    assert_eq!(shop.fake.customers().len(), 1);
}

#[tokio::test]
async fn a_completed_session_sells_nothing_more_until_its_webhook_is_applied() {
    let shop = Shop::open();
    let open = shop.buy("pro").await.unwrap();
    let events = shop.fake.complete_checkout(&open.session_id);
    for tier in ["pro", "scale", "pro"] {
        let refused = shop.buy(tier).await;
        assert!(matches!(refused, Err(CheckoutError::Completed)), "{tier}");
    }
    assert_eq!(shop.fake.sessions().len(), 1);

    // The event that completes the attempt is lost; the subscription's own events are not.
    shop.deliver(&events[..2]).await;
    shop.assert_attempts(&[("pro", "open")]);
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::AlreadySubscribed)
    ));
    let id = events[0]["data"]["object"]["id"].as_str().unwrap();
    shop.deliver(&[shop.fake.delete_subscription(id)]).await;
    shop.buy("pro").await.unwrap();
    shop.assert_attempts(&[("pro", "complete"), ("pro", "open")]);
}

#[tokio::test]
async fn a_price_that_is_not_the_catalogues_is_not_sold() {
    let pro = || FakePrice::monthly("price_pro", 4900);
    let wrong = [
        FakePrice::monthly("price_pro", 4901),
        FakePrice {
            currency: "eur".to_owned(),
            ..pro()
        },
        FakePrice {
            interval: "year".to_owned(),
            ..pro()
        },
        FakePrice {
            active: false,
            ..pro()
        },
        FakePrice::metered("price_pro", 4900),
    ];
    let shop = Shop::open();
    for price in wrong {
        shop.fake.add_price(price.clone());
        let refused = shop.buy("pro").await;
        assert!(
            matches!(refused, Err(CheckoutError::PriceMismatch)),
            "{price:?}"
        );
    }
    for overage in [
        FakePrice::metered("price_overage", 2),
        FakePrice::monthly("price_overage", 1),
    ] {
        shop.fake.add_price(overage);
        let refused = shop.buy("scale").await;
        assert!(matches!(refused, Err(CheckoutError::PriceMismatch)));
    }
    assert_eq!(shop.fake.sessions().len(), 0);
    assert!(shop.attempts().iter().all(|(_, state)| state == "failed"));
    shop.fake.add_price(pro());
    shop.buy("pro").await.unwrap();
}

#[tokio::test]
async fn a_price_that_does_not_exist_is_a_mismatch_too() {
    let mut shop = Shop::open();
    let gone = SoldUnder {
        base: Some("price_gone".to_owned()),
        overage: None,
    };
    shop.context.storefronts[0]
        .prices
        .insert("pro".to_owned(), gone);
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::PriceMismatch)
    ));
}

#[tokio::test]
async fn a_live_subscription_is_changed_and_not_bought_anew() {
    let shop = Shop::open();
    let open = shop.buy("pro").await.unwrap();
    let id = shop.pay(&open.session_id).await;
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::AlreadySubscribed)
    ));
    assert!(matches!(
        shop.buy("scale").await,
        Err(CheckoutError::UseChangePlan)
    ));
    let ending = shop.fake.update_subscription(&id, |subscription| {
        subscription["cancel_at_period_end"] = json!(true);
    });
    shop.deliver(&[ending]).await;
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::AlreadySubscribed)
    ));
    for status in ["past_due", "unpaid", "incomplete", "paused"] {
        let changed = shop.fake.update_subscription(&id, |subscription| {
            subscription["status"] = json!(status);
        });
        shop.deliver(&[changed]).await;
        for tier in ["pro", "scale"] {
            let refused = shop.buy(tier).await;
            assert!(
                matches!(refused, Err(CheckoutError::PaymentDue { portal: true })),
                "{status} {tier}: {refused:?}"
            );
        }
    }
    shop.deliver(&[shop.fake.delete_subscription(&id)]).await;
    shop.buy("scale").await.unwrap();
    assert_eq!(shop.fake.customers().len(), 1);
}

#[tokio::test]
async fn what_an_operator_granted_can_still_be_bought() {
    let shop = Shop::open();
    let granted = Grant {
        customer: CustomerId::parse("acme").unwrap(),
        plan_tier: "pro".to_owned(),
        until: None,
        unit_amount: 0,
        currency: None,
        reason: "a trial".to_owned(),
    };
    grant(&shop.context, "admin-key".to_owned(), granted)
        .await
        .unwrap();
    shop.buy("pro").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sold_is_refused_before_anything_is_stored() {
    let mut shop = Shop::open();
    assert!(matches!(
        shop.buy("gold").await,
        Err(CheckoutError::UnknownPlan(tier)) if tier.as_str() == "gold"
    ));
    assert!(matches!(
        shop.buy("free").await,
        Err(CheckoutError::NotForSale)
    ));
    let manual = CheckoutOrder {
        provider: ProviderName::Manual,
        ..order("pro")
    };
    assert!(matches!(
        create_checkout(&shop.context, manual).await,
        Err(CheckoutError::ProviderNotConfigured)
    ));
    let evil = || Some("https://app.example.evil.example/done".to_owned());
    for (order, place) in [
        (
            CheckoutOrder {
                success_url: evil(),
                ..order("pro")
            },
            "/success_url",
        ),
        (
            CheckoutOrder {
                cancel_url: evil(),
                ..order("pro")
            },
            "/cancel_url",
        ),
    ] {
        let refused = create_checkout(&shop.context, order).await;
        assert!(
            matches!(refused, Err(CheckoutError::ReturnUrl { pointer, fault: ReturnUrlError::Origin }) if pointer == place)
        );
    }
    let storefront = &mut shop.context.storefronts[0];
    storefront.prices.get_mut("scale").unwrap().overage = None;
    storefront.prices.remove("pro");
    for tier in ["pro", "scale"] {
        assert!(matches!(
            shop.buy(tier).await,
            Err(CheckoutError::ProviderNotConfigured)
        ));
    }
    assert_eq!(shop.attempts().len(), 0);
    assert_eq!(shop.fake.requests().len(), 0);
}

#[tokio::test]
async fn an_unknown_customer_is_made_or_rejected_as_the_operator_decided() {
    let shop = Shop::with(|rules| rules.unknown_customers = UnknownCustomers::Reject);
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::UnknownCustomer)
    ));
    customers::create(&mut shop.database.connect(), "acme", shop.clock.now()).unwrap();
    shop.buy("pro").await.unwrap();
}
