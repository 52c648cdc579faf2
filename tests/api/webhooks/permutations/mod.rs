//! Every story of a subscription ends the same way, whatever order, number and delay its webhooks have, with several workers at them.
//!
//! Customers live through the same story side by side, on one clock. Of each, every event is delivered once or twice, at a step of
//! the story that chance picks; the first customer's come at once and in order. `PLANGATE_PERMUTATIONS` sets how many there are.
//! Only what was never in force here can leave nothing: of a plan that was bought and given up unheard of there is no grace, and a pause
//! that nobody heard of interrupts no usage period. In those stories something of each turn is heard before the next one.

mod razorpay;
mod stripe;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Jsonb, Text};
use serde_json::{Value, json};

use crate::provider_contract::Side;
use crate::support::app::TestApp;
use crate::support::steps::{count, travel};

/// What happens to a subscription at the provider, and the events of it.
type Turn<S> = fn(&TestApp, &str) -> Vec<<S as Side>::Event>;

/// In an ordinary run; enough to find what is not rare.
const USUAL_PERMUTATIONS: usize = 12;
const WORKERS: usize = 3;

fn permutations() -> usize {
    std::env::var("PLANGATE_PERMUTATIONS")
        .map_or(USUAL_PERMUTATIONS, |number| number.parse().unwrap())
}

/// A small generator, so that a failing order can be had again.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % 1_000_003).unwrap() % most
    }
}

/// How late webhooks may come.
#[derive(Clone, Copy, PartialEq)]
enum Delay {
    /// Until the end of the story.
    Any,
    /// Until the next turn.
    WithinTheTurn,
}

/// A customer in the story, with the events that are still to come.
struct Life<E> {
    customer: String,
    subscription: String,
    /// Each with the step at which it is delivered.
    underway: Vec<(usize, E)>,
    chance: Option<Chance>,
}

impl<E: Clone> Life<E> {
    fn hear_of(&mut self, events: Vec<E>, step: usize, steps: usize, delay: Delay) {
        let span = if delay == Delay::Any { steps - step } else { 1 };
        for event in events {
            let Some(chance) = &mut self.chance else {
                self.underway.push((step, event));
                continue;
            };
            for _ in 0..=chance.below(2) {
                self.underway
                    .push((step + chance.below(span), event.clone()));
            }
        }
    }

    /// What comes at this step, in an order of chance.
    fn due(&mut self, step: usize) -> Vec<E> {
        let (mut now, later): (Vec<_>, Vec<_>) =
            self.underway.drain(..).partition(|(at, _)| *at <= step);
        self.underway = later;
        if let Some(chance) = &mut self.chance {
            for last in (1..now.len()).rev() {
                now.swap(last, chance.below(last + 1));
            }
        }
        now.into_iter().map(|(_, event)| event).collect()
    }
}

/// Plays a story and returns how it ended for the first customer, and so for all.
async fn all_end_alike<S: Side>(tier: &str, delay: Delay, story: &[(&str, Turn<S>)]) -> Value {
    let app = S::open().await;
    // One step more than the story has, at the time of its last one: what is late comes then.
    let steps = story.len() + 2;
    let mut lives = Vec::new();
    for number in 0..permutations() {
        let customer = format!("customer-{number}");
        let (subscription, events) = buy::<S>(&app, &customer, tier).await;
        let mut life = Life {
            subscription,
            customer,
            underway: Vec::new(),
            chance: (number > 0).then(|| Chance::new(number as u64)),
        };
        life.hear_of(events, 0, steps, delay);
        lives.push(life);
    }
    S::news(&app);
    for step in 0..steps {
        if let Some((when, turn)) = step.checked_sub(1).and_then(|turn| story.get(turn)) {
            travel(&app, when);
            for life in &mut lives {
                let events = turn(&app, &life.subscription);
                life.hear_of(events, step, steps, delay);
            }
        }
        for life in &mut lives {
            S::send(&app, &life.due(step)).await;
        }
        work::<S>(&app).await;
    }
    let ends: Vec<(String, Value)> = lives
        .iter()
        .map(|life| (life.customer.clone(), stored(&app, &life.customer)))
        .collect();
    for (customer, end) in &ends {
        assert_eq!(end, &ends[0].1, "{customer}");
        let standing = shown(&app, customer).await;
        assert_eq!(standing, shown(&app, &ends[0].0).await, "{customer}");
    }
    assert_eq!(
        count(
            &app,
            "SELECT count(*) FROM webhooks WHERE status <> 'processed'"
        ),
        0
    );
    ends[0].1.clone()
}

/// The customer pays for the plan, and the service does not know of it yet.
async fn buy<S: Side>(app: &TestApp, customer: &str, tier: &str) -> (String, Vec<S::Event>) {
    let order = json!({"customer_id": customer, "plan_tier": tier, "provider": S::NAME.as_str()});
    let checkout = app.post("/billing/create-checkout").json(order);
    let checkout = checkout.send().await.expect(201);
    S::pay(app, checkout["session_id"].as_str().unwrap())
}

/// Several workers at once, until nothing is left. What one of them took from another is due again at once.
async fn work<S: Side>(app: &TestApp) {
    for _ in 0..50 {
        let workers = (0..WORKERS).map(|_| app.do_the_work());
        futures_util::future::join_all(workers).await;
        // What our own work made happen at the provider is told at once.
        let caused = S::news(app);
        S::send(app, &caused).await;
        let waiting = "SELECT count(*) FROM webhooks WHERE status IN ('queued', 'parked')";
        if caused.is_empty() && count(app, waiting) == 0 {
            return;
        }
        diesel::sql_query("UPDATE webhooks SET next_attempt_at = received_at WHERE status IN ('queued', 'parked')")
            .execute(&mut app.connect())
            .unwrap();
        // What waits for an event that is still to come cannot be done yet.
        let owned =
            "SELECT count(*) FROM webhooks w WHERE status IN ('queued', 'parked') AND attempts < 2";
        if caused.is_empty() && count(app, owned) == 0 {
            return;
        }
    }
    panic!("the work does not end");
}

/// Everything that is stored of a customer's billing, but for ids.
fn stored(app: &TestApp, customer: &str) -> Value {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Jsonb)]
        all: Value,
    }
    let statement = "SELECT jsonb_build_object(\
        'subscriptions', (SELECT jsonb_agg(to_jsonb(s) - ARRAY['customer_id', 'subscription_id', 'provider_subscription_id', 'fence', \
                                                               'updated_at'] ORDER BY s.started_at, s.status) \
                          FROM subscriptions s WHERE s.customer_id = $1), \
        'charges', (SELECT jsonb_agg(jsonb_build_array(c.amount, c.amount_refunded, c.dispute) ORDER BY c.amount, c.amount_refunded) \
                    FROM charges c WHERE c.customer_id = $1), \
        'endings', (SELECT jsonb_agg(jsonb_build_array(e.reason, e.state)) FROM subscription_endings e WHERE e.customer_id = $1), \
        'bound', (SELECT provider_customer_id IS NOT NULL FROM provider_customers p WHERE p.customer_id = $1), \
        'anchor', (SELECT period_anchor FROM customers k WHERE k.customer_id = $1)) AS all";
    let row: Row = diesel::sql_query(statement)
        .bind::<Text, _>(customer)
        .get_result(&mut app.connect())
        .unwrap();
    row.all
}

/// What everybody is told of it.
async fn shown(app: &TestApp, customer: &str) -> Value {
    let path = format!("/plan-context?customer_id={customer}");
    let context = app.get(&path).send().await.ok();
    json!({"plan": context["plan"]["tier"], "grace": context["grace"], "period": context["usage"]["attribution_runs"]["period"],
           "warnings": context["warnings"]})
}

fn status(end: &Value) -> &Value {
    &end["subscriptions"][0]["status"]
}

fn grace(end: &Value) -> Option<DateTime<Utc>> {
    let text = end["subscriptions"][0]["grace_ends_at"].as_str()?;
    Some(text.parse().unwrap())
}

const FIRST_END: &str = "2026-02-12T00:00:00Z";
const SECOND_END: &str = "2026-03-12T00:00:00Z";
