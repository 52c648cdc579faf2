//! The services that sell, put together over a fake Stripe and a database of one test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use plangate::domain::catalogue::Catalogue;
use plangate::domain::ids::{CustomerId, TierKey};
use plangate::domain::policy::{
    BillingPolicy, Enforcement, OnDuplicate, OnFullRefund, UnknownCustomers,
};
use plangate::domain::provider_event::ProviderName;
use plangate::meter::{self, Meter, Rules};
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::service::apply_event::apply_next;
use plangate::service::checkout::{CheckoutError, CheckoutOrder, OpenCheckout, create_checkout};
use plangate::service::context::{Context, SoldUnder, Storefront};
use plangate::service::ingest_webhook::ingest;
use plangate::service::plans::register;
use plangate::service::prices::{KnownPrices, VerifiedPrices};
use plangate::service::return_urls::ReturnUrls;
use plangate::store::clock::Clock;
use plangate::store::plan_book::PlanBook;
use plangate::store::pool;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::cluster::{TestDatabase, fresh_database};
use crate::fake_stripe::{FakePrice, FakeStripe};

/// A clock that stays where it is put.
pub(crate) struct StandingClock(Mutex<DateTime<Utc>>);

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    fn decide(&self, _database: DateTime<Utc>) -> DateTime<Utc> {
        self.now()
    }
}

/// A service that sells through a fake Stripe, with a database of its own.
pub(crate) struct Shop {
    pub(crate) fake: FakeStripe,
    pub(crate) context: Context,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) database: TestDatabase,
}

impl Shop {
    pub(crate) fn open() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Rules)) -> Self {
        let fake = FakeStripe::start();
        fake.add_price(FakePrice::monthly("price_pro", 4900));
        fake.add_price(FakePrice::monthly("price_scale", 19_900));
        fake.add_price(FakePrice::metered("price_overage", 1));
        let database = fresh_database();
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
            meter: Meter::start(pool.clone(), rules, &meter::Options::default()).unwrap(),
            pool,
            storefronts: vec![Storefront {
                provider: Arc::new(fake.provider(Timeouts::default(), retry)),
                prices,
            }],
            verified_prices: VerifiedPrices::default(),
            known_prices: KnownPrices::default(),
            return_urls: Arc::new(ReturnUrls {
                origins: vec![origin("https://app.example").origin()],
                success_url: Some(origin("https://app.example/done")),
                cancel_url: Some(origin("https://app.example/pricing")),
            }),
            billing_policy: BillingPolicy {
                on_full_refund: OnFullRefund::Cancel,
                on_duplicate: OnDuplicate::Refund,
            },
            bells: Arc::default(),
        };
        Self {
            fake,
            context,
            clock,
            database,
        }
    }

    pub(crate) async fn buy(&self, tier: &str) -> Result<OpenCheckout, CheckoutError> {
        create_checkout(&self.context, order(tier)).await
    }

    pub(crate) fn pass(&self, time: TimeDelta) {
        let mut now = self.clock.0.lock().unwrap();
        *now += time;
        self.fake.set_now(*now);
    }

    /// The customer pays, and every event of it is applied.
    pub(crate) async fn pay(&self, session_id: &str) -> String {
        let events = self.fake.complete_checkout(session_id);
        self.deliver(&events).await;
        let subscription = &events[0]["data"]["object"]["id"];
        subscription.as_str().unwrap().to_owned()
    }

    pub(crate) async fn deliver(&self, events: &[Value]) {
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

    /// Tiers and states of the attempts, oldest first.
    pub(crate) fn attempts(&self) -> Vec<(String, String)> {
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

    /// Tiers and states of the attempts, oldest first.
    pub(crate) fn assert_attempts(&self, expected: &[(&str, &str)]) {
        let attempts = self.attempts();
        let attempts: Vec<_> = attempts
            .iter()
            .map(|(tier, state)| (tier.as_str(), state.as_str()))
            .collect();
        assert_eq!(attempts, expected);
    }

    /// The sessions that can be paid.
    pub(crate) fn open_sessions(&self) -> Vec<String> {
        self.fake
            .sessions()
            .iter()
            .filter(|session| session["status"] == json!("open"))
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// An order of the customer `acme` that leaves the addresses to the configuration.
pub(crate) fn order(tier: &str) -> CheckoutOrder {
    CheckoutOrder {
        customer: CustomerId::parse("acme").unwrap(),
        plan_tier: TierKey::parse(tier).unwrap(),
        provider: ProviderName::Stripe,
        success_url: None,
        cancel_url: None,
    }
}
