//! Selling a plan, against the fake Stripe and a real database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use futures_util::future::join_all;
use plangate::domain::catalogue::Catalogue;
use plangate::domain::ids::{CustomerId, TierKey};
use plangate::domain::policy::{Enforcement, UnknownCustomers};
use plangate::domain::provider_event::ProviderName;
use plangate::meter::{Meter, Rules};
use plangate::providers::ProviderError;
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::service::apply_event::apply_next;
use plangate::service::checkout::{
    CheckoutError, CheckoutOrder, OpenCheckout, VerifiedPrices, create_checkout,
};
use plangate::service::context::{Context, SoldUnder, Storefront};
use plangate::service::grants::{Grant, grant};
use plangate::service::ingest_webhook::ingest;
use plangate::service::plans::register;
use plangate::service::return_urls::{ReturnUrlError, ReturnUrls};
use plangate::store::clock::Clock;
use plangate::store::customers::{self, Profile};
use plangate::store::plan_book::PlanBook;
use plangate::store::{migrations, pool, provider_customers};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Notify;
use url::Url;

use crate::fake_stripe::{Endpoint, FakePrice, FakeStripe, Fault};
use crate::support::cluster::{TestDatabase, fresh_database};

/// A clock that stays where it is put.
struct StandingClock(Mutex<DateTime<Utc>>);

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    fn decide(&self, _database: DateTime<Utc>) -> DateTime<Utc> {
        self.now()
    }
}

struct Shop {
    fake: FakeStripe,
    context: Context,
    clock: Arc<StandingClock>,
    database: TestDatabase,
}

impl Shop {
    fn open() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Rules)) -> Self {
        let fake = FakeStripe::start();
        fake.add_price(FakePrice::monthly("price_pro", 4900));
        fake.add_price(FakePrice::monthly("price_scale", 19_900));
        fake.add_price(FakePrice::metered("price_overage", 1));
        let database = fresh_database(|conn| {
            migrations::run(conn).unwrap();
        });
        let now: DateTime<Utc> = "2026-01-12T10:00:00Z".parse().unwrap();
        fake.set_now(now);
        let clock = Arc::new(StandingClock(Mutex::new(now)));
        let sold = |base: &str, overage: Option<&str>| SoldUnder {
            base: Some(base.to_owned()),
            overage: overage.map(str::to_owned),
        };
        let prices = BTreeMap::from([
            ("pro".to_owned(), sold("price_pro", None)),
            (
                "scale".to_owned(),
                sold("price_scale", Some("price_overage")),
            ),
        ]);
        let registered: Vec<_> = prices
            .iter()
            .map(|(tier, sold)| (ProviderName::Stripe, tier.clone(), sold.clone()))
            .collect();
        let catalogue = Catalogue::embedded().unwrap();
        let plans = register(&mut database.connect(), &catalogue, None, &registered, now).unwrap();
        let mut rules = Rules {
            book: Arc::new(PlanBook::new(plans)),
            clock: clock.clone(),
            enforcement: Enforcement::Enforce,
            unknown_customers: UnknownCustomers::Create,
        };
        change(&mut rules);
        let pool = pool::build(&SecretString::from(database.url.clone()), 4);
        let retry = RetryPolicy {
            attempts: 3,
            base_delay: Duration::from_millis(2),
            max_delay: Duration::from_millis(5),
            budget: Duration::from_secs(15),
        };
        let origin = |url: &str| Url::parse(url).unwrap();
        let context = Context {
            meter: Meter::new(pool.clone(), rules),
            pool,
            storefronts: vec![Storefront {
                provider: Arc::new(fake.provider(Timeouts::default(), retry)),
                prices,
            }],
            verified_prices: VerifiedPrices::default(),
            return_urls: Arc::new(ReturnUrls {
                origins: vec![origin("https://app.example").origin()],
                success_url: Some(origin("https://app.example/done")),
                cancel_url: Some(origin("https://app.example/pricing")),
            }),
            inbox_bell: Arc::new(Notify::new()),
        };
        Self {
            fake,
            context,
            clock,
            database,
        }
    }

    async fn buy(&self, tier: &str) -> Result<OpenCheckout, CheckoutError> {
        create_checkout(&self.context, order(tier)).await
    }

    fn pass(&self, time: TimeDelta) {
        let mut now = self.clock.0.lock().unwrap();
        *now += time;
        self.fake.set_now(*now);
    }

    /// The customer pays, and every event of it is applied.
    async fn pay(&self, session_id: &str) -> String {
        let events = self.fake.complete_checkout(session_id);
        self.deliver(&events).await;
        let subscription = &events[0]["data"]["object"]["id"];
        subscription.as_str().unwrap().to_owned()
    }

    async fn deliver(&self, events: &[Value]) {
        for event in events {
            let delivery = self.fake.sign(event, self.clock.now());
            let header =
                |name: &str| (name == "stripe-signature").then(|| delivery.signature.clone());
            let body = delivery.body.clone().into_bytes();
            ingest(&self.context, ProviderName::Stripe, &header, body)
                .await
                .unwrap();
        }
        while apply_next(&self.context).await.unwrap() {}
    }

    /// The states of the attempts, oldest first.
    fn attempts(&self) -> Vec<(String, String)> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            plan_tier: String,
            #[diesel(sql_type = diesel::sql_types::Text)]
            state: String,
        }
        diesel::sql_query("SELECT plan_tier, state FROM checkout_sessions ORDER BY attempt_id")
            .load::<Row>(&mut self.database.connect())
            .unwrap()
            .into_iter()
            .map(|row| (row.plan_tier, row.state))
            .collect()
    }

    fn assert_attempts(&self, expected: &[(&str, &str)]) {
        let attempts = self.attempts();
        let attempts: Vec<_> = attempts
            .iter()
            .map(|(tier, state)| (tier.as_str(), state.as_str()))
            .collect();
        assert_eq!(attempts, expected);
    }

    fn open_sessions(&self) -> Vec<String> {
        self.fake
            .sessions()
            .iter()
            .filter(|session| session["status"] == json!("open"))
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn order(tier: &str) -> CheckoutOrder {
    CheckoutOrder {
        customer: CustomerId::parse("acme").unwrap(),
        plan_tier: TierKey::parse(tier).unwrap(),
        provider: ProviderName::Stripe,
        success_url: None,
        cancel_url: None,
    }
}

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
    assert_eq!(shop.open_sessions(), [scale.session_id.clone()]);
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
        email: Some("billing@acme.example".to_owned()),
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
                matches!(refused, Err(CheckoutError::PaymentDue)),
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
