//! Random histories of use, corrections, limits, time and trouble: what is owed is always what the rule says, and in the end the provider
//! has it, each unit once.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Months, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz};
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::meter::{Adjust, Consume, Record, Recorded};
use plangate::service::overrides;
use plangate::service::usage_reports::tell_due;
use plangate::store::clock::Clock as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::RUNS;
use crate::fake_stripe::{Endpoint, Fault};
use crate::support::shop::Shop;

const HISTORIES: u32 = 24;
const STEPS: usize = 40;

#[derive(Debug, Clone)]
enum Act {
    Consume(i64),
    /// Units, and how many minutes ago they were used.
    Record(i64, i64),
    Adjust(i64),
    Limit(i64),
    /// Seconds.
    Pass(i64),
    /// Several workers tell what is due.
    Tell,
    /// A worker dies after so many microseconds.
    Die(u64),
    Fail(Endpoint, Fault, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let endpoint = prop_oneof![
        5 => Just(Endpoint::CreateMeterEvent),
        3 => Just(Endpoint::AdjustMeterEvent),
        1 => Just(Endpoint::MeterSummaries),
    ];
    let fault = prop_oneof![
        3 => Just(Fault::DropAfterEffect),
        2 => Just(Fault::DropBeforeEffect),
        1 => Just(Fault::SERVER_ERROR),
        1 => Just(Fault::CONFLICT),
        1 => Just(Fault::Garbage),
    ];
    let (hour, day) = (3600, 86_400);
    let seconds = prop_oneof![
        6 => Just(16),
        2 => Just(150),
        2 => Just(hour),
        2 => Just(5 * hour),
        1 => Just(day + hour),
        1 => Just(4 * day),
    ];
    prop_oneof![
        8 => (1..12_i64).prop_map(Act::Consume),
        3 => (1..12_i64, prop_oneof![Just(1_i64), Just(90), Just(24 * 60)])
            .prop_map(|(units, ago)| Act::Record(units, ago)),
        5 => (-15..4_i64).prop_map(Act::Adjust),
        1 => (5..40_i64).prop_map(Act::Limit),
        8 => seconds.prop_map(Act::Pass),
        8 => Just(Act::Tell),
        3 => (0..9_000_u64).prop_map(Act::Die),
        // A call is given up after the third.
        4 => (endpoint, fault, 1..7_usize).prop_map(|(at, fault, times)| Act::Fail(at, fault, times)),
    ]
}

/// What was used and what is owed of each period, by the rule alone.
struct Model {
    anchor: DateTime<Utc>,
    limit: i64,
    used: BTreeMap<DateTime<Utc>, i64>,
    owed: BTreeMap<DateTime<Utc>, i64>,
}

impl Model {
    fn period(&self, instant: DateTime<Utc>) -> DateTime<Utc> {
        let starts = (0..48).map(|months| self.anchor + Months::new(months));
        starts.take_while(|start| *start <= instant).last().unwrap()
    }

    fn count(&mut self, period: DateTime<Utc>, units: i64) {
        let used = self.used.entry(period).or_default();
        let above = |used: i64| (used - self.limit).max(0);
        let change = above(*used + units) - above(*used);
        *used += units;
        let owed = self.owed.entry(period).or_default();
        *owed = (*owed + change).max(0);
    }
}

fn acme() -> CustomerId {
    CustomerId::parse("acme").unwrap()
}

async fn limit(shop: &Shop, limit: i64) {
    let order = overrides::Order {
        customer: acme(),
        feature: RUNS.to_owned(),
        limit: Some(limit),
        add: None,
        enabled: None,
        cap: true,
        expires_at: None,
        reason: "a test".to_owned(),
    };
    let put = overrides::put(&shop.context, "operator".to_owned(), order).await;
    put.unwrap();
}

async fn play(acts: &[Act]) {
    let shop = Shop::open();
    let anchor = shop.clock.now();
    let bought = shop.buy("scale").await.unwrap();
    shop.pay(&bought.session_id).await;
    limit(&shop, 20).await;
    // The period ends within most histories.
    shop.pass(TimeDelta::days(30));
    let mut model = Model {
        anchor,
        limit: 20,
        used: BTreeMap::new(),
        owed: BTreeMap::new(),
    };
    for (number, act) in acts.iter().enumerate() {
        step(&shop, &mut model, number, act).await;
        assert_owed(&shop, &model, acts);
    }
    let mut rounds = 0;
    while pending(&shop) {
        rounds += 1;
        assert!(rounds < 100, "{acts:?}: it is never told");
        shop.pass(TimeDelta::minutes(6));
        tell_due(&shop.context).await.unwrap();
    }
    assert_owed(&shop, &model, acts);
    let customers = shop.fake.customers();
    let told = shop.fake.meter_total(customers[0]["id"].as_str().unwrap());
    let sums = sums(&shop);
    let of = |states: &[&str]| -> i64 {
        let rows = sums
            .iter()
            .filter(|row| states.contains(&row.state.as_str()));
        rows.map(|row| row.quantity).sum()
    };
    // What could not be taken back is a credit: less than nothing is owed in an open report.
    assert_eq!(told, of(&["sent"]), "{acts:?}: {sums:?}");
    assert_eq!(
        told + of(&["open", "doubtful"]),
        model.owed.values().sum::<i64>(),
        "{acts:?}"
    );
    assert!(
        sums.iter()
            .all(|row| row.state != "doubtful" || row.quantity < 0),
        "{acts:?}: {sums:?}"
    );
}

async fn step(shop: &Shop, model: &mut Model, number: usize, act: &Act) {
    let (meter, now) = (&shop.context.meter, shop.clock.now());
    let key = || IdempotencyKey::parse(&number.to_string()).unwrap();
    match *act {
        Act::Consume(quantity) => {
            let command = Consume {
                customer: acme(),
                feature: RUNS.to_owned(),
                quantity,
                value: None,
                key: None,
                properties: None,
            };
            assert!(meter.consume(command).await.unwrap().decision.allowed);
            model.count(model.period(now), quantity);
        }
        Act::Record(quantity, minutes) => {
            let at = now - TimeDelta::minutes(minutes);
            let event = Record {
                source: String::new(),
                id: key(),
                customer: acme(),
                feature: RUNS.to_owned(),
                quantity,
                occurred_at: Some(at),
                properties: None,
            };
            let recorded = meter.record(vec![event]).await.unwrap();
            assert!(matches!(recorded[0], Recorded::Recorded), "{recorded:?}");
            model.count(model.period(at), quantity);
        }
        Act::Adjust(delta) => {
            let period = model.period(now);
            let used = model.used.get(&period).copied().unwrap_or(0);
            let command = Adjust {
                customer: acme(),
                feature: RUNS.to_owned(),
                delta,
                reason: "a test".to_owned(),
                actor: "operator".to_owned(),
                key: key(),
            };
            let adjusted = meter.adjust(command).await;
            assert_eq!(adjusted.is_ok(), used + delta >= 0);
            if adjusted.is_ok() {
                model.count(period, delta);
            }
        }
        Act::Limit(units) => {
            limit(shop, units).await;
            model.limit = units;
        }
        Act::Pass(seconds) => shop.pass(TimeDelta::seconds(seconds)),
        Act::Tell => {
            let workers = (0..2).map(|_| tell_due(&shop.context));
            for told in futures_util::future::join_all(workers).await {
                told.unwrap();
            }
        }
        Act::Die(micros) => {
            let life = Duration::from_micros(micros);
            drop(tokio::time::timeout(life, tell_due(&shop.context)).await);
        }
        Act::Fail(endpoint, fault, times) => shop.fake.fail(endpoint, fault, times),
    }
}

#[derive(Debug, QueryableByName)]
struct Sum {
    #[diesel(sql_type = Timestamptz)]
    period_start: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
}

fn sums(shop: &Shop) -> Vec<Sum> {
    diesel::sql_query(
        "SELECT period_start, state, sum(quantity)::bigint AS quantity FROM usage_reports GROUP BY 1, 2",
    )
    .load(&mut shop.database.connect())
    .unwrap()
}

/// Of each counter is owed what the rule says, whatever state the reports are in.
fn assert_owed(shop: &Shop, model: &Model, acts: &[Act]) {
    let mut owed: BTreeMap<DateTime<Utc>, i64> = BTreeMap::new();
    for sum in sums(shop) {
        if !["retracting", "retracted"].contains(&sum.state.as_str()) {
            *owed.entry(sum.period_start).or_default() += sum.quantity;
        }
    }
    owed.retain(|_, units| *units != 0);
    let mut expected = model.owed.clone();
    expected.retain(|_, units| *units != 0);
    assert_eq!(owed, expected, "{acts:?}");
}

fn pending(shop: &Shop) -> bool {
    use plangate::store::usage_reports::backlog;
    backlog(&mut shop.database.connect(), &[]).unwrap().pending > 0
}

#[test]
fn in_the_end_the_provider_has_what_is_owed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let histories = proptest::collection::vec(act(), 1..=STEPS);
    let outcome = runner.run(&histories, |acts| {
        runtime.block_on(play(&acts));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
