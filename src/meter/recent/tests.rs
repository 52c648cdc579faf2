use std::cell::Cell;
use std::future::ready;
use std::sync::Mutex;

use futures_util::future::join;
use tokio::sync::oneshot;

use super::*;
use crate::domain::catalogue::Catalogue;
use crate::domain::plans::{PlanVersion, Plans};

const CUSTOMER: &str = "acme";

/// A clock that stays where it is put.
struct StandingClock(Mutex<DateTime<Utc>>);

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }

    fn decide(&self, _: DateTime<Utc>) -> DateTime<Utc> {
        self.now()
    }
}

/// What was read, with a clock and plans to make readings of.
struct Desk {
    recent: Recent,
    clock: Arc<StandingClock>,
    plans: Arc<Plans>,
}

/// The instant that readings are told apart by.
fn minute(number: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(number)
}

impl Desk {
    /// Readings are kept for longer than any test takes.
    fn new() -> Self {
        Self::keeping(Duration::from_mins(10))
    }

    fn keeping(max_age: Duration) -> Self {
        let clock = Arc::new(StandingClock(Mutex::new(minute(0))));
        let catalogue = Catalogue::embedded().unwrap();
        let current = catalogue.tiers.iter().map(|plan| {
            let plan = plan.as_ref().clone();
            Arc::new(PlanVersion { version: 1, plan })
        });
        let plans = Plans::new(current.collect(), catalogue.default_tier, None, 7, 3);
        Self {
            recent: Recent::new(max_age, clock.clone()),
            clock,
            plans: Arc::new(plans),
        }
    }

    fn pass(&self, time: TimeDelta) {
        *self.clock.0.lock().unwrap() += time;
    }

    /// What is true at the minute.
    fn snapshot(&self, number: i64) -> Snapshot {
        Snapshot::of_stranger(CUSTOMER, &self.plans, minute(number))
    }

    /// Asks as a check does. Returns what is answered from; `number` is what the database would say.
    async fn ask(&self, number: i64) -> DateTime<Utc> {
        let slot = self.recent.slot(CUSTOMER);
        self.read(&slot, number).await
    }

    async fn read(&self, slot: &Arc<Slot>, number: i64) -> DateTime<Utc> {
        let read = || ready(Ok(self.snapshot(number)));
        let reading = self.recent.reading(CUSTOMER, slot, read).await;
        reading.unwrap().now
    }

    /// Asks of a database that takes its time: `meanwhile` happens between the question and its answer.
    async fn ask_while(&self, number: i64, meanwhile: impl FnOnce()) -> DateTime<Utc> {
        let slot = self.recent.slot(CUSTOMER);
        let (answer, answered) = oneshot::channel();
        let read = || async {
            answered.await.unwrap();
            Ok(self.snapshot(number))
        };
        let asked = self.recent.reading(CUSTOMER, &slot, read);
        let (reading, ()) = join(asked, async {
            meanwhile();
            answer.send(()).unwrap();
        })
        .await;
        reading.unwrap().now
    }
}

#[actix_web::test]
async fn a_reading_serves_everyone_until_it_is_forgotten() {
    let desk = Desk::new();
    assert_eq!(desk.ask(1).await, minute(1));
    assert_eq!(desk.ask(2).await, minute(1));
    desk.recent.forget(CUSTOMER);
    assert_eq!(desk.ask(3).await, minute(3));
}

#[actix_web::test]
async fn what_this_process_wrote_is_seen_at_once() {
    let desk = Desk::new();
    desk.ask(1).await;
    desk.recent.publish(desk.snapshot(2), desk.recent.epoch());
    assert_eq!(desk.ask(3).await, minute(2));
}

#[actix_web::test]
async fn a_customer_whom_nobody_checks_takes_no_room() {
    let desk = Desk::new();
    desk.recent.publish(desk.snapshot(1), desk.recent.epoch());
    assert_eq!(desk.ask(2).await, minute(2));
}

#[actix_web::test]
async fn a_reading_under_way_does_not_come_back_after_what_was_written_meanwhile() {
    let desk = Desk::new();
    let publish = || desk.recent.publish(desk.snapshot(2), desk.recent.epoch());
    // Its own caller asked before, and may be told what was true then.
    assert_eq!(desk.ask_while(1, publish).await, minute(1));
    assert_eq!(desk.ask(3).await, minute(2));
}

#[actix_web::test]
async fn a_reading_under_way_does_not_come_back_after_it_was_forgotten() {
    let desk = Desk::new();
    desk.ask_while(1, || desk.recent.forget(CUSTOMER)).await;
    assert_eq!(desk.ask(2).await, minute(2));
}

#[actix_web::test]
async fn a_batch_that_began_before_a_plan_changed_leaves_nothing_to_answer_from() {
    let desk = Desk::new();
    desk.ask(1).await;
    let epoch = desk.recent.epoch();
    desk.recent.forget(CUSTOMER);
    // Somebody asks again before the batch is done, so that there is room for what it leaves.
    desk.ask(2).await;
    desk.recent.publish(desk.snapshot(1), epoch);
    assert_eq!(desk.ask(3).await, minute(3));
}

#[actix_web::test]
async fn a_fresher_reading_takes_the_place_of_the_one_it_was_made_for_alone() {
    let desk = Desk::new();
    let fresher = async |number| {
        let slot = Arc::new(desk.recent.empty());
        desk.read(&slot, number).await;
        slot
    };
    desk.ask(1).await;
    let older = desk.recent.slot(CUSTOMER);
    let replacement = fresher(2).await;
    desk.recent.replace(CUSTOMER, &older, replacement);
    assert_eq!(desk.ask(3).await, minute(2));

    let late = fresher(4).await;
    desk.recent.publish(desk.snapshot(5), desk.recent.epoch());
    let current = desk.recent.slot(CUSTOMER);
    desk.recent.replace(CUSTOMER, &older, Arc::clone(&late));
    assert_eq!(desk.ask(6).await, minute(5), "something was written since");
    desk.recent.forget(CUSTOMER);
    desk.recent.replace(CUSTOMER, &current, late);
    assert_eq!(desk.ask(7).await, minute(7), "it was forgotten since");
}

#[actix_web::test]
async fn one_caller_alone_is_told_to_refresh() {
    let desk = Desk::keeping(Duration::from_nanos(1));
    let slot = Arc::new(desk.recent.empty());
    assert!(!desk.recent.is_ageing(&slot), "nothing was read yet");
    desk.read(&slot, 1).await;
    assert!(desk.recent.is_ageing(&slot));
    assert!(!desk.recent.is_ageing(&slot));

    let desk = Desk::new();
    desk.ask(1).await;
    assert!(!desk.recent.is_ageing(&desk.recent.slot(CUSTOMER)), "young");
}

#[actix_web::test]
async fn nothing_is_answered_from_a_reading_that_is_too_old() {
    let desk = Desk::new();
    desk.ask(1).await;
    desk.pass(TimeDelta::seconds(599));
    assert_eq!(desk.ask(2).await, minute(1));
    desk.pass(TimeDelta::seconds(1));
    assert_eq!(desk.ask(3).await, minute(3), "its age by the clock");
    desk.pass(TimeDelta::seconds(-1));
    assert_eq!(desk.ask(4).await, minute(4), "a clock that was set back");

    let impatient = Desk::keeping(Duration::from_nanos(1));
    impatient.ask(1).await;
    assert_eq!(impatient.ask(2).await, minute(2), "its age by the machine");
}

#[actix_web::test]
async fn a_failed_reading_is_shared_by_those_who_waited_and_tried_again_by_the_next() {
    let desk = Desk::new();
    let slot = desk.recent.slot(CUSTOMER);
    let attempts = Cell::new(0);
    let fail = || async {
        attempts.set(attempts.get() + 1);
        tokio::task::yield_now().await;
        Err(StoreError::Unavailable("away".to_owned()).into())
    };
    let told = join(
        desk.recent.reading(CUSTOMER, &slot, fail),
        desk.recent.reading(CUSTOMER, &slot, fail),
    )
    .await;
    for told in [told.0, told.1] {
        let told = told.map(|snapshot| snapshot.now);
        assert!(
            matches!(told, Err(MeterError::Store(StoreError::Unavailable(_)))),
            "{told:?}"
        );
    }
    assert_eq!(attempts.get(), 1);
    assert_eq!(desk.ask(1).await, minute(1));
}

#[actix_web::test]
async fn a_reading_that_fails_late_takes_no_newer_one_with_it() {
    let desk = Desk::new();
    let slot = desk.recent.slot(CUSTOMER);
    desk.recent.publish(desk.snapshot(1), desk.recent.epoch());
    let fail = || ready(Err(StoreError::Unavailable("away".to_owned()).into()));
    assert!(desk.recent.reading(CUSTOMER, &slot, fail).await.is_err());
    assert_eq!(desk.ask(2).await, minute(1));
}
