//! A COMMIT that is lost between the meter and PostgreSQL.

use std::cell::Cell;
use std::time::Duration;

use diesel::PgConnection;
use futures_util::future::join;
use plangate::domain::ids::IdempotencyKey;
use plangate::meter::{Consistency, Meter, Options, Question};

use super::pile::Puppeteer;
use super::proxy::{Loss, Proxy};
use super::{Calls, RUNS, meter, recorded};
use crate::support::cluster::{TestDatabase, fresh_database};

struct Line {
    database: TestDatabase,
    proxy: Proxy,
    meter: Meter,
    puppeteer: std::sync::Arc<Puppeteer>,
}

impl Line {
    fn new() -> Self {
        let database = fresh_database();
        let proxy = Proxy::to(&database.url);
        let puppeteer = Puppeteer::new();
        let options = Options {
            at_step: Some(puppeteer.at_step()),
            ..Options::default()
        };
        let meter = meter(&mut database.connect(), &proxy.url, options);
        Self {
            database,
            proxy,
            meter,
            puppeteer,
        }
    }

    /// Calls that are one batch.
    async fn call(&self, batch: &str) -> Calls {
        let commands = Calls::commands(batch);
        self.puppeteer
            .in_one_batch(&self.meter, commands, None)
            .await
    }

    fn connect(&self) -> PgConnection {
        self.database.connect()
    }
}

#[actix_web::test]
async fn a_commit_that_never_came_is_carried_out_again() {
    let line = Line::new();
    line.proxy.lose(Loss::OnTheWay);
    let calls = line.call("lost").await;
    assert!(calls.all_done(), "{:?}", calls.told);
    assert_eq!(line.proxy.commits(), 2);
    let mut conn = line.connect();
    calls.assert_true(&mut conn);
    calls
        .assert_settled_by_repetition(&line.meter, &mut conn)
        .await;
}

#[actix_web::test]
async fn a_commit_whose_answer_was_lost_is_found_out_and_not_repeated() {
    for loss in [Loss::OfTheAnswer, Loss::GarbledAnswer] {
        let line = Line::new();
        // Everything but the customers themselves is new to the batch that is lost, and then nothing is.
        for batch in ["lost", "lost-again"] {
            let before = line.proxy.commits();
            line.proxy.lose(loss);
            let calls = line.call(batch).await;
            assert!(calls.all_done(), "{loss:?}: {:?}", calls.told);
            assert_eq!(line.proxy.commits(), before + 1, "{loss:?}");
            let mut conn = line.connect();
            calls.assert_true(&mut conn);
            calls
                .assert_settled_by_repetition(&line.meter, &mut conn)
                .await;
        }
    }
}

#[actix_web::test]
async fn a_commit_that_takes_its_time_is_waited_for_and_shows_in_checks_once_it_is_answered() {
    let line = Line::new();
    let known = line.call("known").await;
    assert!(known.all_done(), "{:?}", known.told);
    let used = async || {
        let question = [Question {
            feature: RUNS.to_owned(),
            quantity: 1,
            value: None,
        }];
        let checked = line.meter.check("anna", &question, Consistency::Default);
        let answer = checked.await.unwrap().pop().unwrap().unwrap();
        answer.decision.used.unwrap()
    };
    line.proxy.lose(Loss::Delayed);
    let answered = Cell::new(false);
    let (calls, ()) = join(
        async {
            let calls = line.call("late").await;
            answered.set(true);
            assert_eq!(used().await, 4, "whoever was answered sees it");
            calls
        },
        async {
            // Somebody keeps asking what is true before it is done.
            while !answered.get() {
                assert!([2, 4].contains(&used().await));
                actix_web::rt::time::sleep(Duration::from_millis(5)).await;
            }
        },
    )
    .await;
    assert!(calls.all_done(), "{:?}", calls.told);
    assert_eq!(line.proxy.commits(), 2);
    calls.assert_true(&mut line.connect());
}

#[actix_web::test]
async fn a_fate_that_cannot_be_found_out_is_an_error_and_a_repetition_settles_it() {
    for (loss, happened) in [(Loss::OfTheAnswer, 1), (Loss::OnTheWay, 0)] {
        let line = Line::new();
        line.proxy.lose_and_go_away(loss);
        let calls = line.call("lost").await;
        let mut conn = line.connect();
        calls.assert_true(&mut conn);
        for (command, told) in calls.commands.iter().zip(&calls.told) {
            let told = told.as_ref().unwrap_err().to_string();
            assert!(told.contains("cannot be reached"), "{told}");
            let key = command.key.as_ref().map(IdempotencyKey::as_str);
            assert_eq!(
                recorded(&mut conn, command.customer.as_str(), key),
                happened
            );
        }
        line.proxy.come_back();
        calls
            .assert_settled_by_repetition(&line.meter, &mut conn)
            .await;
        assert_eq!(recorded(&mut conn, "keyless-lost", None), happened);
    }
}
