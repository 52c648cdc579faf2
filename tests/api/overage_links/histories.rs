//! Random histories of use, corrections, time and trouble: what is owed is always what was counted, and in the end it is asked for, each unit
//! once, but for what does not come to a rupee.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Months, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use plangate::domain::overage::Owed;
use plangate::domain::provider_event::ProviderName;
use plangate::service::context::Context;
use plangate::service::overage_invoices::bill_next;
use plangate::store::clock::Clock as _;
use plangate::store::customers;
use plangate::store::usage_reports::{Accrual, accrue_all};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use uuid::Uuid;

use super::{MESSAGES, RUNS, impatient, selling, subscribe};
use crate::fake_razorpay::{Endpoint, Fault};
use crate::support::app::TestApp;

const HISTORIES: u32 = 24;
const STEPS: usize = 40;

#[derive(Debug, Clone)]
enum Act {
    /// Something above the limit is used in a period so many before this one, or taken back.
    Use {
        feature: &'static str,
        periods_ago: u32,
        units: i64,
    },
    /// Seconds.
    Pass(i64),
    /// Several workers bill what is due.
    Bill,
    /// A worker dies after so many microseconds.
    Die(u64),
    /// Somebody pays what can be paid, and the provider tells so many times.
    Pay(usize),
    Fail(Endpoint, Fault, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let units = prop_oneof![
        4 => 1..4_i64,
        3 => 1..200_i64,
        3 => -150..0_i64,
    ];
    let (hour, day) = (3600_i64, 86_400_i64);
    let seconds = prop_oneof![
        3 => 1..200_i64,
        3 => hour..12 * hour,
        4 => day..12 * day,
        3 => 28 * day..33 * day,
    ];
    let endpoint = prop_oneof![
        4 => Just(Endpoint::CreatePaymentLink),
        2 => Just(Endpoint::PaymentLinks),
        1 => Just(Endpoint::PaymentLink),
    ];
    let fault = prop_oneof![
        4 => Just(Fault::DropAfterEffect),
        2 => Just(Fault::DropBeforeEffect),
        1 => Just(Fault::SERVER_ERROR),
        1 => Just(Fault::Refuse("not now")),
        1 => Just(Fault::Garbage),
    ];
    prop_oneof![
        12 => (prop_oneof![Just(RUNS), Just(MESSAGES)], prop_oneof![4 => Just(0_u32), 1 => Just(1), 1 => Just(2)], units)
            .prop_map(|(feature, periods_ago, units)| Act::Use { feature, periods_ago, units }),
        8 => seconds.prop_map(Act::Pass),
        8 => Just(Act::Bill),
        3 => (0..20_000_u64).prop_map(Act::Die),
        2 => (0..3_usize).prop_map(Act::Pay),
        4 => (endpoint, fault, 1..5_usize).prop_map(|(at, fault, times)| Act::Fail(at, fault, times)),
    ]
}

/// Quarters of a paisa that a unit costs.
fn quarters(feature: &str) -> i64 {
    if feature == RUNS { 330 } else { 3 }
}

/// What is owed of each counter, by the rule alone, and what was seen that must never change.
struct Model {
    customer: String,
    anchor: DateTime<Utc>,
    owed: BTreeMap<(String, DateTime<Utc>), i64>,
    billed: BTreeMap<Uuid, (i64, Uuid)>,
    paid: BTreeMap<Uuid, i64>,
}

#[derive(Debug, QueryableByName)]
struct Part {
    #[diesel(sql_type = SqlUuid)]
    report_id: Uuid,
    #[diesel(sql_type = Text)]
    metric_name: String,
    #[diesel(sql_type = Timestamptz)]
    period_start: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    invoice_id: Option<Uuid>,
}

#[derive(Debug, QueryableByName)]
struct Asked {
    #[diesel(sql_type = SqlUuid)]
    invoice_id: Uuid,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    amount: i64,
    #[diesel(sql_type = Text)]
    reference: String,
}

impl Model {
    fn period(&self, number: u32) -> DateTime<Utc> {
        self.anchor + Months::new(number)
    }

    fn current(&self, now: DateTime<Utc>) -> u32 {
        (0..1200)
            .take_while(|n| self.period(*n) <= now)
            .last()
            .unwrap()
    }

    fn reports(&self, app: &TestApp) -> Vec<Part> {
        diesel::sql_query("SELECT * FROM usage_reports WHERE customer_id = $1")
            .bind::<Text, _>(&self.customer)
            .load(&mut app.connect())
            .unwrap()
    }

    fn invoices(&self, app: &TestApp) -> Vec<Asked> {
        diesel::sql_query("SELECT * FROM overage_invoices WHERE customer_id = $1")
            .bind::<Text, _>(&self.customer)
            .load(&mut app.connect())
            .unwrap()
    }

    fn links(&self, app: &TestApp) -> Vec<Value> {
        let mut links = app.razorpay().links();
        links.retain(|link| link["notes"]["customer_id"] == *self.customer);
        links
    }

    /// All that must be true at any time.
    fn check(&mut self, app: &TestApp) {
        let (reports, invoices) = (self.reports(app), self.invoices(app));
        let mut owed: BTreeMap<(String, DateTime<Utc>), i64> = BTreeMap::new();
        let mut sums: BTreeMap<Uuid, i64> = BTreeMap::new();
        for report in &reports {
            let counter = (report.metric_name.clone(), report.period_start);
            *owed.entry(counter).or_default() += report.quantity;
            assert_eq!(report.state == "sent", report.invoice_id.is_some());
            if let Some(invoice) = report.invoice_id {
                *sums.entry(invoice).or_default() +=
                    report.quantity * quarters(&report.metric_name);
                let billed = (report.quantity, invoice);
                let before = self.billed.insert(report.report_id, billed);
                assert_eq!(before.unwrap_or(billed), billed);
            }
        }
        owed.retain(|_, units| *units != 0);
        let mut expected = self.owed.clone();
        expected.retain(|_, units| *units != 0);
        assert_eq!(owed, expected);
        assert_eq!(sums.len(), invoices.len(), "{invoices:?}");
        for invoice in &invoices {
            assert_eq!(invoice.amount, sums[&invoice.invoice_id].div_euclid(4));
            assert!(invoice.amount >= 100, "{invoice:?}");
            if invoice.state == "paid" {
                self.paid.insert(invoice.invoice_id, invoice.amount);
            }
            assert_eq!(
                invoice.state == "paid",
                self.paid.contains_key(&invoice.invoice_id)
            );
        }
        let mut asked: Vec<_> = self
            .links(app)
            .iter()
            .map(|link| (link["reference_id"].clone(), link["amount"].clone()))
            .collect();
        let links = asked.len();
        asked.retain(|(reference, amount)| {
            let mut invoices = invoices.iter();
            invoices.any(|invoice| *reference == *invoice.reference && *amount == invoice.amount)
        });
        assert_eq!(asked.len(), links);
        asked.dedup_by_key(|(reference, _)| reference.clone());
        assert_eq!(asked.len(), links);
    }
}

async fn step(app: &TestApp, context: &Context, model: &mut Model, act: &Act) {
    let now = app.clock.now();
    match *act {
        Act::Use {
            feature,
            periods_ago,
            units,
        } => {
            let Some(number) = model.current(now).checked_sub(periods_ago) else {
                return;
            };
            let (start, end) = (model.period(number), model.period(number + 1));
            let accrual = Accrual {
                customer: &model.customer,
                provider: ProviderName::Razorpay,
                metric: feature,
                period_start: start,
                period_end: Some(end),
                owed: Owed::default().and(units),
                used_at: now,
                due_at: now + TimeDelta::seconds(15),
            };
            app.connect()
                .transaction(|conn| {
                    customers::lock(conn, &model.customer)?;
                    accrue_all(conn, &[accrual])
                })
                .unwrap();
            let owed = model.owed.entry((feature.to_owned(), start)).or_default();
            *owed = (*owed + units).max(0);
        }
        Act::Pass(seconds) => app.advance(TimeDelta::seconds(seconds)),
        Act::Bill => {
            let workers = (0..2).map(|_| bill_next(context));
            for billed in futures_util::future::join_all(workers).await {
                billed.unwrap();
            }
        }
        Act::Die(micros) => {
            let life = Duration::from_micros(micros);
            drop(tokio::time::timeout(life, bill_next(context)).await);
        }
        Act::Pay(times) => {
            for link in model.links(app) {
                if link["status"] == "created" {
                    let paid = app.razorpay().pay_link(link["id"].as_str().unwrap());
                    for _ in 0..times {
                        app.deliver_razorpay(&paid).await;
                    }
                }
            }
            app.apply_webhooks().await;
        }
        Act::Fail(endpoint, fault, times) => app.razorpay().fail(endpoint, fault, times),
    }
}

async fn play(app: &TestApp, context: &Context, customer: String, acts: &[Act]) {
    // Where a history broke off, its faults must not meet the next one.
    subscribe(app, &customer, "scale").await;
    let mut model = Model {
        customer,
        anchor: app.clock.now(),
        owed: BTreeMap::new(),
        billed: BTreeMap::new(),
        paid: BTreeMap::new(),
    };
    for act in acts {
        step(app, context, &mut model, act).await;
        model.check(app);
    }
    app.advance(TimeDelta::days(40));
    for _ in 0..200 {
        while bill_next(context).await.unwrap() {}
        if model.invoices(app).iter().all(|i| i.state != "sealed") {
            break;
        }
        app.advance(TimeDelta::hours(1));
    }
    model.check(app);
    let left: i64 = model
        .reports(app)
        .iter()
        .filter(|report| report.state == "open")
        .map(|report| report.quantity * quarters(&report.metric_name))
        .sum();
    assert!(
        left < 400,
        "{left} quarters of a paisa were never asked for"
    );
    assert_eq!(model.links(app).len(), model.invoices(app).len());
    step(app, context, &mut model, &Act::Pay(2)).await;
    app.advance(TimeDelta::days(2));
    for _ in 0..200 {
        while bill_next(context).await.unwrap() {}
        if model.invoices(app).iter().all(|i| i.state == "paid") {
            break;
        }
        app.advance(TimeDelta::hours(1));
    }
    model.check(app);
    let (asked, paid): (i64, i64) = (
        model.invoices(app).iter().map(|i| i.amount).sum(),
        model.paid.values().sum(),
    );
    assert_eq!(asked, paid);
}

#[test]
fn in_the_end_all_that_is_owed_is_asked_for_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let app = runtime.block_on(selling());
    let context = impatient(&app);
    let config = Config {
        cases: HISTORIES,
        failure_persistence: None,
        max_shrink_iters: 100,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let histories = proptest::collection::vec(act(), 1..=STEPS);
    let number = std::cell::Cell::new(0);
    let outcome = runner.run(&histories, |acts| {
        number.set(number.get() + 1);
        let customer = format!("customer-{}", number.get());
        runtime.block_on(play(&app, &context, customer, &acts));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
