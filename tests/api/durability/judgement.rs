//! The verdict over the database, once a load has ended: what was acknowledged is there once, what was not is there at most once.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use futures_util::future::join_all;
use serde_json::Value;

use super::bookings;
use super::deeds::{Deed, EntryKey};
use super::load::{Attempt, Desk, Fate, Tried};

/// How many acknowledged deeds are repeated.
const SAMPLE: usize = 200;
/// Repetitions at the same time.
const AT_ONCE: usize = 16;

/// Proves the promises on everything that was tried. The service must be up; it is asked again for what its callers do not know.
pub(super) async fn judge(tried: Tried, base: &str, conn: &mut PgConnection) {
    let desk = Desk::new(base);
    let Tried {
        mut attempts,
        bookings,
        ..
    } = tried;
    let ledger = read_ledger(conn);
    assert_fits(&attempts, &ledger);

    let (unknown, known): (Vec<_>, Vec<_>) = attempts
        .drain(..)
        .partition(|attempt| matches!(attempt.fate, Fate::Unknown));
    let mut settled = Vec::new();
    for attempts in chunks(unknown) {
        settled.extend(join_all(attempts.into_iter().map(|attempt| repeat(&desk, attempt))).await);
    }
    for attempt in &settled {
        assert_repeats_what_is_stored(attempt, &ledger);
    }
    assert_answers_repeat(&desk, &known).await;
    bookings::settle(&desk, bookings, conn).await;
    desk.assert_no_offence();

    attempts = known;
    attempts.extend(settled);
    let ledger = read_ledger(conn);
    assert_fits(&attempts, &ledger);
    assert_nothing_else(&attempts, &ledger);
    assert_one_history(&attempts);
    assert_counters_equal_ledger(conn);
}

fn chunks<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let some: Vec<T> = all.by_ref().take(AT_ONCE).collect();
        (!some.is_empty()).then_some(some)
    })
}

async fn repeat(desk: &Desk, attempt: Attempt) -> Attempt {
    let fate = desk.insist(&attempt.deed).await;
    Attempt { fate, ..attempt }
}

/// Quantities by key, more than one where a key was counted more than once.
type Ledger = HashMap<EntryKey, Vec<i64>>;

fn read_ledger(conn: &mut PgConnection) -> Ledger {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        customer_id: String,
        #[diesel(sql_type = Text)]
        operation: String,
        #[diesel(sql_type = Nullable<Text>)]
        idempotency_key: Option<String>,
        #[diesel(sql_type = BigInt)]
        quantity: i64,
    }
    let statement = "SELECT customer_id, operation, idempotency_key, quantity FROM usage_events";
    let rows: Vec<Row> = diesel::sql_query(statement).load(conn).unwrap();
    let mut ledger = Ledger::new();
    for row in rows {
        if bookings::is_booker(&row.customer_id) {
            continue;
        }
        let key = EntryKey {
            customer: row.customer_id,
            operation: row.operation,
            key: row.idempotency_key.expect("every caller has a key"),
        };
        ledger.entry(key).or_default().push(row.quantity);
    }
    ledger
}

fn assert_fits(attempts: &[Attempt], ledger: &Ledger) {
    for attempt in attempts {
        for wish in &attempt.deed.0 {
            let entries = ledger.get(&wish.entry).map_or(&[][..], Vec::as_slice);
            let fits = match attempt.fate {
                Fate::Acknowledged { .. } => entries.len() == 1,
                Fate::Refused => entries.is_empty(),
                Fate::Unknown => entries.len() <= 1,
            };
            assert!(fits, "{attempt:?} is in the ledger as {entries:?}");
            let adds = wish.adds();
            let right = entries
                .iter()
                .all(|entry| adds.is_none_or(|adds| adds == *entry));
            assert!(right, "{attempt:?} is in the ledger as {entries:?}");
        }
    }
}

/// What had been stored although its caller was not told so is now said to be a repetition, and nothing else is.
fn assert_repeats_what_is_stored(attempt: &Attempt, ledger: &Ledger) {
    for (nth, wish) in attempt.deed.0.iter().enumerate() {
        match attempt.fate.repeats(nth) {
            Some(repeats) => assert_eq!(repeats, ledger.contains_key(&wish.entry), "{attempt:?}"),
            None => assert!(attempt.deed.may_be_refused(), "{attempt:?}"),
        }
    }
}

/// Requests that were not answered were not begun.
pub(super) fn assert_nothing_was_done_in_silence(tried: &Tried, conn: &mut PgConnection) {
    let ledger = read_ledger(conn);
    let in_silence = tried.attempts.iter().find(|attempt| {
        let mut wishes = attempt.deed.0.iter();
        matches!(attempt.fate, Fate::Unknown) && wishes.any(|wish| ledger.contains_key(&wish.entry))
    });
    assert!(in_silence.is_none(), "{in_silence:?} is in the ledger");
}

/// What was acknowledged is acknowledged again with the same words.
async fn assert_answers_repeat(desk: &Desk, attempts: &[Attempt]) {
    let acknowledged: Vec<(&Deed, &Value)> = attempts
        .iter()
        .filter_map(|attempt| match &attempt.fate {
            Fate::Acknowledged { body, .. } => Some((&attempt.deed, body)),
            _ => None,
        })
        .collect();
    let every = acknowledged.len().div_ceil(SAMPLE).max(1);
    let sample = acknowledged.into_iter().step_by(every).collect();
    for some in chunks(sample) {
        let again = some.iter().map(|(deed, _)| desk.insist(deed));
        for (again, (deed, first)) in join_all(again).await.into_iter().zip(&some) {
            let all = 0..deed.0.len();
            let repeats = all.into_iter().all(|nth| again.repeats(nth) == Some(true));
            assert!(repeats, "{deed:?}: {again:?}");
            if let Fate::Acknowledged { body, .. } = &again
                && body["results"].is_null()
            {
                assert_eq!(body, *first, "{deed:?}");
            }
        }
    }
}

fn assert_nothing_else(attempts: &[Attempt], ledger: &Ledger) {
    let tried: HashSet<&EntryKey> = attempts
        .iter()
        .flat_map(|attempt| attempt.deed.0.iter().map(|wish| &wish.entry))
        .collect();
    let foreign = ledger.keys().find(|entry| !tried.contains(entry));
    assert_eq!(foreign, None, "nobody asked for this");
}

/// Every answer's `used` continues another's, from zero and never past the cap: the admissions happened one after another.
fn assert_one_history(attempts: &[Attempt]) {
    let mut histories: BTreeMap<(String, String), Vec<(i64, i64)>> = BTreeMap::new();
    for attempt in attempts
        .iter()
        .filter(|attempt| attempt.deed.is_of_pure_use())
    {
        let Fate::Acknowledged { body, .. } = &attempt.fate else {
            continue;
        };
        let used = body["used"].as_i64().unwrap();
        assert!(
            body["hard_limit"].as_i64().is_none_or(|cap| used <= cap),
            "{body}"
        );
        for wish in &attempt.deed.0 {
            let counter = (wish.entry.customer.clone(), body["period"].to_string());
            histories
                .entry(counter)
                .or_default()
                .push((used, wish.quantity));
        }
    }
    for (counter, mut history) in histories {
        history.sort_unstable();
        let mut before = 0;
        for (used, quantity) in &history {
            assert_eq!(before + quantity, *used, "{counter:?}: {history:?}");
            before = *used;
        }
    }
}

/// Each counter is its ledger's sum, on one snapshot of both.
pub(super) fn assert_counters_equal_ledger(conn: &mut PgConnection) {
    assert_eq!(plangate::store::counters::drifts(conn, None).unwrap(), []);
}

/// What the ledger and the counters say a customer has used, both in all periods.
pub(super) fn used_by(conn: &mut PgConnection, customer: &str) -> (i64, i64) {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        ledger: i64,
        #[diesel(sql_type = BigInt)]
        counters: i64,
    }
    let statement = "SELECT (SELECT coalesce(sum(quantity), 0) FROM usage_events WHERE customer_id = $1)::bigint AS ledger, \
                            (SELECT coalesce(sum(value), 0) FROM usage_metrics WHERE customer_id = $1)::bigint AS counters";
    let row: Row = diesel::sql_query(statement)
        .bind::<Text, _>(customer)
        .get_result(conn)
        .unwrap();
    (row.ledger, row.counters)
}
