//! The meter, on two replicas, against a model of it: random histories of several callers, with all customers in one group and each
//! in a group of its own.

mod account;
mod calls;
mod deeds;
mod words;
mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::domain::catalogue::Catalogue;
use plangate::domain::policy::{
    BillingPolicy, Enforcement, OnDuplicate, OnFullRefund, UnknownCustomers,
};
use plangate::meter::{GroupKey, Meter, Options, Rules};
use plangate::service::context::Context;
use plangate::service::plans::register;
use plangate::service::prices::{KnownPrices, VerifiedPrices};
use plangate::service::return_urls::ReturnUrls;
use plangate::store::clock::Clock;
use plangate::store::plan_book::PlanBook;
use plangate::store::pool;
use plangate::store::schema::usage_events;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use secrecy::SecretString;

use super::{assert_derivable, connect};
use crate::support::cluster::fresh_database;
use deeds::{Act, BEGINNINGS};
use words::{CATALOGUE, Time};
use world::World;

const HISTORIES: u32 = 64;
const STEPS: usize = 60;

/// A clock that stays where it is put.
struct StandingClock(Mutex<Time>);

impl Clock for StandingClock {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }

    fn decide(&self, _: Time) -> Time {
        self.now()
    }
}

/// All that a meter stands among, on the model's plans.
fn context(url: &str, clock: &Arc<StandingClock>, group_key: Option<GroupKey>) -> Context {
    let catalogue = Catalogue::parse(CATALOGUE).unwrap();
    let plans = register(&mut connect(url), &catalogue, None, &[], clock.now()).unwrap();
    let rules = Rules {
        book: Arc::new(PlanBook::new(plans)),
        clock: clock.clone(),
        enforcement: Enforcement::Enforce,
        unknown_customers: UnknownCustomers::Create,
    };
    let mut options = Options::default();
    options.group_key = group_key.unwrap_or(options.group_key);
    let pool = pool::build(&SecretString::from(url), 4);
    Context {
        meter: Meter::start(pool.clone(), rules, &options).unwrap(),
        pool,
        storefronts: Vec::new(),
        verified_prices: VerifiedPrices::default(),
        known_prices: KnownPrices::default(),
        return_urls: Arc::new(ReturnUrls {
            origins: Vec::new(),
            success_url: None,
            cancel_url: None,
        }),
        billing_policy: BillingPolicy {
            on_full_refund: OnFullRefund::Cancel,
            on_duplicate: OnDuplicate::Refund,
        },
        bells: Arc::default(),
    }
}

fn group_of_its_own(customer: &str) -> u64 {
    u64::from(crc32fast::hash(customer.as_bytes()))
}

/// Plays a history. Every answer must be the model's.
async fn play(world: &mut World, clock: &StandingClock, acts: &[Act]) {
    for act in acts {
        let now = clock.now();
        match act {
            Act::One(who, deed) => {
                let order = world.order(now, *who, *deed);
                world.ask(now, *who, order).await;
            }
            Act::Again(which) => {
                if let Some((who, order)) = world.earlier(*which) {
                    world.ask(now, who, order).await;
                }
            }
            Act::Burst(deeds) => {
                let orders = deeds.iter();
                let orders = orders.map(|(who, deed)| (*who, world.order(now, *who, *deed)));
                let orders = orders.collect();
                world.ask_at_once(now, orders).await;
            }
            Act::Pass(seconds) => *clock.0.lock().unwrap() += TimeDelta::seconds(*seconds),
            Act::Grant(who, tier) => world.grant(now, *who, *tier).await,
            Act::End(who) => world.end(now, *who).await,
            Act::Override(who, feature, limit, cap, days) => {
                let limit = (*limit, *cap);
                world.allow(now, *who, *feature, limit, *days).await;
            }
        }
    }
    world.check_stored(clock.now());
}

/// Plays many histories on meters of one database; a history that fails is made shorter, and shown.
fn play_many(group_key: Option<GroupKey>) {
    let database = fresh_database();
    let beginnings = BEGINNINGS.map(|beginning| beginning.parse::<Time>().unwrap());
    let clock = Arc::new(StandingClock(Mutex::new(beginnings[0])));
    let replicas = [(); 2].map(|()| context(&database.url, &clock, group_key));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        max_shrink_iters: 500,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let played = AtomicU32::new(0);
    let outcome = runner.run(&deeds::history(STEPS), |(beginning, acts)| {
        *clock.0.lock().unwrap() = beginnings[beginning];
        let name = format!("history{}", played.fetch_add(1, Ordering::Relaxed));
        let mut world = World::new(replicas.clone(), database.url.clone(), name);
        runtime.block_on(play(&mut world, &clock, &acts));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let mut conn = database.connect();
    assert_derivable(&mut conn);
    assert_eq!(keys_used_twice(&mut conn), 0);
}

fn keys_used_twice(conn: &mut PgConnection) -> i64 {
    let twice = usage_events::table
        .filter(usage_events::idempotency_key.is_not_null())
        .group_by((
            usage_events::customer_id,
            usage_events::operation,
            usage_events::source,
            usage_events::idempotency_key,
        ))
        .having(diesel::dsl::count_star().gt(1))
        .select(usage_events::customer_id);
    let twice: Vec<String> = twice.load(conn).unwrap();
    i64::try_from(twice.len()).unwrap()
}

#[test]
fn random_histories_are_answered_as_the_model_answers_them() {
    play_many(None);
}

#[test]
fn the_same_histories_are_answered_the_same_where_every_customer_is_a_group() {
    play_many(Some(group_of_its_own));
}
