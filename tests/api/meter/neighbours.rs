//! What is wrong with one command of a batch, or with one customer, is nobody else's trouble.

use diesel::prelude::*;
use futures_util::future::{join, join_all};
use plangate::domain::ids::{CustomerId, IdempotencyKey};
use plangate::meter::{Meter, MeterError, Options, Record, Recorded, Step};
use plangate::store::pool::StoreError;
use serde_json::json;

use super::pile::Puppeteer;
use super::{Calls, RUNS, assert_derivable, meter, recorded, run_of};
use crate::support::cluster::{TestDatabase, fresh_database};

fn start() -> (TestDatabase, Meter, std::sync::Arc<Puppeteer>) {
    let database = fresh_database();
    let puppeteer = Puppeteer::new();
    let options = Options {
        at_step: Some(puppeteer.at_step()),
        ..Options::default()
    };
    let meter = meter(&mut database.connect(), &database.url, options);
    (database, meter, puppeteer)
}

#[actix_web::test]
async fn what_the_database_refuses_fails_alone() {
    let (database, meter, puppeteer) = start();
    let mut commands = Calls::commands("good");
    let mut bad = run_of("anna", Some("bad"));
    // JSON can hold it, PostgreSQL's JSON cannot.
    bad.properties = Some(json!({"note": "\u{0}"}));
    commands.insert(3, bad);
    let mut calls = puppeteer.in_one_batch(&meter, commands, None).await;
    let refused = calls.told.remove(3);
    calls.commands.remove(3);
    assert!(
        matches!(refused, Err(MeterError::Store(StoreError::Query(_)))),
        "{refused:?}"
    );
    assert!(calls.all_done(), "{:?}", calls.told);
    let mut conn = database.connect();
    assert_eq!(recorded(&mut conn, "anna", Some("bad")), 0);
    calls.assert_true(&mut conn);
    calls.assert_settled_by_repetition(&meter, &mut conn).await;
}

#[actix_web::test]
async fn a_report_of_usage_with_a_bad_neighbour_is_recorded() {
    let (database, meter, puppeteer) = start();
    let event = |customer: &str, note: &str| Record {
        id: IdempotencyKey::parse("event").unwrap(),
        source: String::new(),
        customer: CustomerId::parse(customer).unwrap(),
        feature: RUNS.to_owned(),
        quantity: 1,
        occurred_at: None,
        properties: Some(json!({"note": note})),
    };
    let reports = join(
        meter.record(vec![event("anna", "fine")]),
        meter.record(vec![event("bert", "\u{0}")]),
    );
    let (good, bad) = puppeteer.together(&meter, reports, None).await;
    assert_eq!(good.unwrap(), [Recorded::Recorded]);
    assert!(bad.is_err(), "{bad:?}");
    let mut conn = database.connect();
    assert_eq!(recorded(&mut conn, "anna", Some("event")), 1);
    assert_eq!(recorded(&mut conn, "bert", Some("event")), 0);
    assert_derivable(&mut conn);
}

fn fail() {
    panic!("a test's own panic");
}

#[actix_web::test]
async fn a_panic_in_a_batch_costs_nobody_the_answer() {
    for step in [Step::Locked, Step::Read, Step::Judged, Step::Written] {
        let (database, meter, puppeteer) = start();
        let commands = Calls::commands("good");
        let at = Some((step, Box::new(fail) as Box<_>));
        let calls = puppeteer.in_one_batch(&meter, commands, at).await;
        assert!(calls.all_done(), "{step:?}: {:?}", calls.told);
        let mut conn = database.connect();
        calls.assert_true(&mut conn);
        calls.assert_settled_by_repetition(&meter, &mut conn).await;
    }
}

#[actix_web::test]
async fn a_customer_whom_somebody_else_has_locked_keeps_no_neighbour_waiting_for_too_long() {
    let (database, meter, puppeteer) = start();
    let mut conn = database.connect();
    // Two of them, of whom one is known to be before the others in every order by name.
    let locked = ["aaron", "locked"];
    let calls = locked.map(|customer| meter.consume(run_of(customer, Some("known"))));
    for told in join_all(calls).await {
        told.unwrap();
    }
    let mut other = database.connect();
    let lock = |conn: &mut PgConnection| {
        diesel::sql_query("BEGIN").execute(conn)?;
        diesel::sql_query("SELECT 1 FROM customers FOR NO KEY UPDATE").execute(conn)
    };
    lock(&mut other).unwrap();

    let mut commands = Calls::commands("good");
    for customer in locked {
        commands.insert(0, run_of(customer, Some("later")));
        commands.push(run_of(customer, Some("last")));
    }
    let calls = puppeteer.in_one_batch(&meter, commands, None).await;
    calls.assert_true(&mut conn);
    for (command, told) in calls.commands.iter().zip(&calls.told) {
        let customer = command.customer.as_str();
        let busy = matches!(told, Err(MeterError::Store(StoreError::Busy(_))));
        assert_eq!(busy, locked.contains(&customer), "{customer}: {told:?}");
    }
    diesel::sql_query("ROLLBACK").execute(&mut other).unwrap();
    calls.assert_settled_by_repetition(&meter, &mut conn).await;
}
