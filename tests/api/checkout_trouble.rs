//! Selling a plan when tabs race, answers get lost and the provider refuses: never two customers, never two sessions that
//! can be paid, and never a customer who cannot buy any more.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use plangate::domain::provider_event::ProviderName;
use plangate::providers::ProviderError;
use plangate::service::checkout::CheckoutError;
use plangate::service::context::SoldUnder;
use plangate::store::clock::Clock as _;
use plangate::store::customers::{self, Profile};
use plangate::store::provider_customers;

use crate::fake_stripe::{Endpoint, FakePrice, Fault};
use crate::support::shop::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_tabs_for_one_plan_share_a_session() {
    let shop = Shop::open();
    let outcomes = join_all((0..6).map(|_| shop.buy("pro"))).await;
    let opened: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(opened.iter().all(|open| *open == opened[0]));
    assert_eq!(shop.fake.sessions().len(), 1);
    assert_eq!(shop.fake.customers().len(), 1);
    shop.assert_attempts(&[("pro", "open")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_tabs_for_different_plans_one_session_stays_open() {
    let shop = Shop::open();
    let tiers = ["pro", "scale", "pro", "scale", "pro", "scale"];
    let outcomes = join_all(tiers.map(|tier| shop.buy(tier))).await;
    let open = shop.open_sessions();
    assert_eq!(open.len(), 1);
    let mut winners = 0;
    for outcome in outcomes {
        match outcome {
            Ok(opened) => winners += usize::from(opened.session_id == open[0]),
            Err(error) => assert!(matches!(error, CheckoutError::InProgress), "{error:?}"),
        }
    }
    assert!(winners >= 1);
    assert_eq!(shop.fake.customers().len(), 1);
    let under_way: Vec<_> = shop
        .attempts()
        .into_iter()
        .filter(|(_, state)| state == "open" || state == "creating")
        .collect();
    assert_eq!(under_way.len(), 1, "{under_way:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_attempt_keeps_others_out_for_a_minute_and_then_loses() {
    let shop = Shop::open();
    let stall = Fault::StallAfterEffect(Duration::from_millis(700));
    shop.fake.fail(Endpoint::CreateSession, stall, 1);
    let slow = async { shop.buy("pro").await };
    let quick = async {
        while shop.fake.sessions().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shop.pass(TimeDelta::seconds(59));
        let early = shop.buy("scale").await;
        assert!(matches!(early, Err(CheckoutError::InProgress)), "{early:?}");
        shop.pass(TimeDelta::seconds(1));
        shop.buy("scale").await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(shop.open_sessions(), [quick.unwrap().session_id]);
    assert!(matches!(slow, Err(CheckoutError::InProgress)), "{slow:?}");
    shop.assert_attempts(&[("pro", "expired"), ("scale", "open")]);
    assert_eq!(shop.fake.sessions().len(), 2);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_whichever_it_was() {
    for endpoint in [
        Endpoint::CreateCustomer,
        Endpoint::Price,
        Endpoint::CreateSession,
    ] {
        let shop = Shop::open();
        shop.fake.fail(endpoint, Fault::DropAfterEffect, 3);
        let lost = shop.buy("pro").await;
        assert!(
            matches!(&lost, Err(CheckoutError::ProviderFailed(error)) if error.is_transient()),
            "{endpoint:?}: {lost:?}"
        );
        shop.assert_attempts(&[("pro", "creating")]);
        let open = shop.buy("pro").await.unwrap();
        assert_eq!(shop.open_sessions(), [open.session_id], "{endpoint:?}");
        assert_eq!(shop.fake.sessions().len(), 1, "{endpoint:?}");
        assert_eq!(shop.fake.customers().len(), 1, "{endpoint:?}");
        shop.assert_attempts(&[("pro", "open")]);
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_look_or_an_expiry_does_no_harm() {
    let shop = Shop::open();
    let pro = shop.buy("pro").await.unwrap();
    shop.fake.fail(Endpoint::Session, Fault::DropAfterEffect, 3);
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::ProviderFailed(_))
    ));
    assert_eq!(shop.buy("pro").await.unwrap(), pro);
    shop.fake
        .fail(Endpoint::ExpireSession, Fault::DropAfterEffect, 3);
    // Expired by a call whose answer was lost: either the provider is asked what became of it, or the call is repeated.
    let scale = match shop.buy("scale").await {
        Ok(open) => open,
        Err(CheckoutError::ProviderFailed(_)) => shop.buy("scale").await.unwrap(),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(shop.open_sessions(), [scale.session_id]);
    shop.assert_attempts(&[("pro", "expired"), ("scale", "open")]);
}

#[tokio::test]
async fn an_unseen_session_of_another_plan_is_found_and_expired() {
    let shop = Shop::open();
    shop.fake
        .fail(Endpoint::CreateSession, Fault::DropAfterEffect, 3);
    assert!(shop.buy("pro").await.is_err());
    assert_eq!(shop.open_sessions().len(), 1);
    assert!(matches!(
        shop.buy("scale").await,
        Err(CheckoutError::InProgress)
    ));
    shop.pass(TimeDelta::seconds(60));
    let scale = shop.buy("scale").await.unwrap();
    assert_eq!(shop.open_sessions(), [scale.session_id]);
    assert_eq!(shop.fake.sessions().len(), 2);
    shop.assert_attempts(&[("pro", "expired"), ("scale", "open")]);
}

#[tokio::test]
async fn an_attempt_that_never_reached_the_provider_is_given_up() {
    let shop = Shop::open();
    shop.fake
        .fail(Endpoint::CreateCustomer, Fault::DropBeforeEffect, 3);
    assert!(shop.buy("pro").await.is_err());
    shop.pass(TimeDelta::seconds(60));
    let scale = shop.buy("scale").await.unwrap();
    assert_eq!(shop.fake.sessions().len(), 1);
    assert_eq!(shop.open_sessions(), [scale.session_id]);
    shop.assert_attempts(&[("pro", "failed"), ("scale", "open")]);
}

#[tokio::test]
async fn a_refusal_ends_the_attempt_and_the_next_call_has_a_key_of_its_own() {
    let shop = Shop::open();
    let refused = Fault::Status {
        status: 402,
        retry_after: None,
        should_retry: Some(false),
    };
    shop.fake.fail(Endpoint::CreateSession, refused, 1);
    assert!(matches!(
        shop.buy("pro").await,
        Err(CheckoutError::ProviderFailed(
            ProviderError::Rejected { .. }
        ))
    ));
    shop.assert_attempts(&[("pro", "failed")]);
    shop.buy("pro").await.unwrap();
    let keys: Vec<_> = shop
        .fake
        .requests_to(Endpoint::CreateSession)
        .into_iter()
        .map(|request| request.idempotency_key.unwrap())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_customer_that_changed_after_a_lost_answer_can_still_buy() {
    let shop = Shop::open();
    shop.fake
        .fail(Endpoint::CreateCustomer, Fault::DropAfterEffect, 3);
    assert!(shop.buy("pro").await.is_err());
    let profile = Profile {
        email: Some(Some("billing@acme.example".to_owned())),
        ..Profile::default()
    };
    let conn = &mut shop.database.connect();
    customers::update_profile(conn, "acme", &profile, shop.clock.now()).unwrap();
    let open = shop.buy("pro").await.unwrap();
    assert_eq!(shop.open_sessions(), [open.session_id]);
    let binding =
        provider_customers::find_or_begin(conn, "acme", ProviderName::Stripe, shop.clock.now())
            .unwrap();
    assert_eq!(binding.generation, 2);
    let bound = binding.provider_customer_id.unwrap();
    let sent = shop.fake.requests_to(Endpoint::CreateSession).remove(0);
    assert_eq!(sent.params["customer"], bound);
}

#[tokio::test]
async fn prices_that_changed_after_a_lost_answer_do_not_wedge_the_customer() {
    let mut shop = Shop::open();
    shop.fake
        .fail(Endpoint::CreateSession, Fault::DropAfterEffect, 3);
    assert!(shop.buy("pro").await.is_err());
    shop.fake
        .add_price(FakePrice::monthly("price_pro_new", 4900));
    let new = SoldUnder {
        base: Some("price_pro_new".to_owned()),
        overage: None,
    };
    shop.context.storefronts[0]
        .prices
        .insert("pro".to_owned(), new);
    let open = shop.buy("pro").await.unwrap();
    assert!(shop.open_sessions().contains(&open.session_id));
    shop.assert_attempts(&[("pro", "failed"), ("pro", "open")]);
}
