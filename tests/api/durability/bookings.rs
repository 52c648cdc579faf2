//! Callers who reserve first and settle later, on customers of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::judgement::used_by;
use super::load::{Desk, Fate};
use super::service::Reply;

/// Callers who reserve, each for a customer of its own.
const BOOKERS: u64 = 4;
const PREFIX: &str = "booker-";
const PATIENCE: Duration = Duration::from_mins(1);

/// How a reservation is to end.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit(i64),
    Release,
}

/// A reservation, and how far it got as far as its caller knows.
#[derive(Debug)]
pub(super) struct Booking {
    customer: String,
    key: String,
    quantity: i64,
    end: End,
    /// Known once the reservation was acknowledged.
    id: Option<String>,
    settled: bool,
}

/// Whether all that the customer does is book.
pub(super) fn is_booker(customer: &str) -> bool {
    customer.starts_with(PREFIX)
}

/// Sets the bookers to work, where the service knows reservations.
pub(super) async fn start(desk: &Arc<Desk>, seed: u64) -> Vec<JoinHandle<Vec<Booking>>> {
    let empty = json!({});
    let probe = desk.service.send(Method::POST, "/reservations", &empty);
    if matches!(probe.await, Reply::Answered { status: 404, .. }) {
        return Vec::new();
    }
    let mut bookers = Vec::new();
    for n in 0..BOOKERS {
        let customer = format!("{PREFIX}{n}");
        desk.service.grant(&customer, "scale").await;
        // The other callers have the dice of the low numbers.
        let dice = Dice::new(seed, u64::MAX - n);
        bookers.push(tokio::spawn(book(Arc::clone(desk), customer, dice)));
    }
    bookers
}

async fn book(desk: Arc<Desk>, customer: String, mut dice: Dice) -> Vec<Booking> {
    let mut bookings = Vec::new();
    while !desk.is_stopped() {
        let quantity = dice.quantity(9);
        let mut booking = Booking {
            key: format!("booking-{}", bookings.len()),
            quantity,
            end: match dice.below(4) {
                0 => End::Release,
                _ => End::Commit(quantity.min(dice.quantity(9))),
            },
            customer: customer.clone(),
            id: None,
            settled: false,
        };
        booking.reserve(&desk).await;
        // Now and then work never ends, and its hold stays.
        if dice.below(10) > 0 {
            booking.settle(&desk).await;
        }
        bookings.push(booking);
    }
    bookings
}

impl Booking {
    async fn reserve(&mut self, desk: &Desk) {
        let body = json!({"customer_id": self.customer, "feature": "attribution_runs", "quantity": self.quantity,
                          "ttl_seconds": 86_400, "idempotency_key": self.key});
        let fate = desk.ask(Method::POST, "/reservations", &body).await;
        if let Some(Fate::Acknowledged { body, .. }) = fate {
            let id = body["id"].as_str();
            self.id = Some(id.expect("a reservation has an id").to_owned());
        }
    }

    /// Ends the reservation as it is to end. The answer to a commit or a release of what is held.
    async fn settle(&mut self, desk: &Desk) -> Option<Fate> {
        let id = self.id.as_ref()?;
        let (path, body) = match self.end {
            End::Commit(quantity) => (
                format!("/reservations/{id}/commit"),
                json!({"customer_id": self.customer, "quantity": quantity}),
            ),
            End::Release => (
                format!("/reservations/{id}/release"),
                json!({"customer_id": self.customer}),
            ),
        };
        let fate = desk.ask(Method::POST, &path, &body).await?;
        self.settled = matches!(fate, Fate::Acknowledged { .. });
        Some(fate)
    }
}

/// Ends every reservation and proves that each was counted once, with what was committed of it, and holds nothing any more.
pub(super) async fn settle(desk: &Desk, mut bookings: Vec<Booking>, conn: &mut PgConnection) {
    let deadline = Instant::now() + PATIENCE;
    for booking in &mut bookings {
        let was_settled = booking.settled;
        while booking.id.is_none() {
            booking.reserve(desk).await;
            assert!(Instant::now() < deadline, "{booking:?} is not held");
        }
        loop {
            match booking.settle(desk).await {
                Some(Fate::Acknowledged { replayed, .. }) => {
                    let again = replayed || matches!(booking.end, End::Release);
                    assert!(again || !was_settled, "{booking:?} was settled twice");
                    break;
                }
                Some(Fate::Refused) => panic!("{booking:?} is refused"),
                Some(Fate::Unknown) | None => {
                    assert!(Instant::now() < deadline, "{booking:?} is not settled");
                }
            }
        }
    }
    bookings.sort_by(|a, b| a.customer.cmp(&b.customer));
    for of_customer in bookings.chunk_by(|a, b| a.customer == b.customer) {
        let customer = &of_customer[0].customer;
        let mut committed: Vec<i64> = of_customer
            .iter()
            .filter_map(|booking| match booking.end {
                End::Commit(quantity) => Some(quantity),
                End::Release => None,
            })
            .collect();
        committed.sort_unstable();
        assert_eq!(counted(conn, customer), committed, "{customer}");
        let sum = committed.iter().sum();
        assert_eq!(used_by(conn, customer), (sum, sum), "{customer}");
        let path = format!("/usage?customer_id={customer}");
        let usage = desk.service.expect(200, Method::GET, &path, &Value::Null);
        for metric in usage.await["metrics"].as_array().unwrap() {
            assert_eq!(metric["held"], 0, "{customer}: {metric}");
        }
    }
}

/// The quantities that the ledger has of a customer, in order of size.
fn counted(conn: &mut PgConnection, customer: &str) -> Vec<i64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        quantity: i64,
    }
    let statement = "SELECT quantity FROM usage_events WHERE customer_id = $1 AND quantity <> 0 ORDER BY quantity";
    let rows: Vec<Row> = diesel::sql_query(statement)
        .bind::<Text, _>(customer)
        .load(conn)
        .unwrap();
    rows.into_iter().map(|row| row.quantity).collect()
}
