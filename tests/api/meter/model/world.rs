//! Two replicas on one database, beside the model of their customers.

use std::collections::{BTreeMap, HashMap};

use chrono::TimeDelta;
use diesel::prelude::*;
use plangate::domain::decision::Decision;
use plangate::domain::ids::CustomerId;
use plangate::domain::reservation::ReservationId;
use plangate::service::context::Context;
use plangate::service::{grants, overrides};
use plangate::store::counters;
use plangate::store::schema::usage_events;

use super::account::Account;
use super::calls::{Answer, call};
use super::deeds::{CUSTOMERS, Deed, Part, When};
use super::words::{Feature, Order, TIERS, Time, Told};

/// Every answer that is given again must be the one given first.
type FirstAnswers = HashMap<(usize, String), Decision>;

/// The replicas, their customers of one history, and what the model says of them.
pub(super) struct World {
    replicas: [Context; 2],
    /// How many calls were made: the replicas are asked in turn.
    calls: usize,
    url: String,
    /// Before every customer's name.
    name: String,
    accounts: Vec<Account>,
    /// The operator's ids of the grants, as the accounts have them.
    grants: Vec<Vec<String>>,
    reservations: Vec<BTreeMap<u32, ReservationId>>,
    next_label: u32,
    answers: FirstAnswers,
    /// What was asked for, in its order.
    asked: Vec<(usize, Order)>,
}

impl World {
    pub(super) fn new(replicas: [Context; 2], url: String, name: String) -> Self {
        Self {
            replicas,
            calls: 0,
            url,
            name,
            accounts: vec![Account::default(); CUSTOMERS],
            grants: vec![Vec::new(); CUSTOMERS],
            reservations: vec![BTreeMap::new(); CUSTOMERS],
            next_label: 0,
            answers: HashMap::new(),
            asked: Vec::new(),
        }
    }

    fn customer(&self, who: usize) -> CustomerId {
        CustomerId::parse(&format!("{}-{who}", self.name)).unwrap()
    }

    fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url).unwrap()
    }

    /// The order that the deed is now.
    pub(super) fn order(&mut self, now: Time, who: usize, deed: Deed) -> Order {
        let labels: Vec<u32> = self.reservations[who].keys().copied().collect();
        let pick = |which: u8| {
            // One more than there are: a reservation that nobody made.
            let index = usize::from(which) % (labels.len() + 1);
            labels.get(index).copied()
        };
        match deed {
            Deed::Consume(feature, quantity, key) => Order::Consume(feature, quantity, key),
            Deed::Release(feature, quantity, key) => Order::Release(feature, quantity, key),
            Deed::Set(feature, value, key) => Order::Set(feature, value, key),
            Deed::Adjust(feature, delta, key) => Order::Adjust(feature, delta, key),
            Deed::Record(feature, quantity, when, key) => {
                let at = match when {
                    When::Now => None,
                    When::Ago(minutes) => Some(now - TimeDelta::minutes(minutes)),
                };
                Order::Record(feature, quantity, at, key)
            }
            Deed::Reserve(feature, quantity, ttl, key) => {
                Order::Reserve(feature, quantity, ttl, key, self.label())
            }
            Deed::Commit { which, part } => Order::Commit(
                pick(which),
                match part {
                    Part::All => None,
                    Part::Nothing => Some(0),
                    Part::Units(units) => Some(units),
                },
            ),
            Deed::Free { which } => Order::Free(pick(which)),
        }
    }

    fn label(&mut self) -> u32 {
        self.next_label += 1;
        self.next_label
    }

    /// An earlier order, as its caller repeats it.
    pub(super) fn earlier(&mut self, which: u8) -> Option<(usize, Order)> {
        let (who, mut order) = self
            .asked
            .get(usize::from(which) % self.asked.len().max(1))?
            .clone();
        if let Order::Reserve(.., label) = &mut order {
            *label = self.label();
        }
        Some((who, order))
    }

    /// One caller asks. The meter must answer what the model does.
    pub(super) async fn ask(&mut self, now: Time, who: usize, order: Order) {
        let answer = self.call(who, &order).await;
        let told = self.note(who, &order, answer);
        let mut account = self.accounts[who].clone();
        let expected = account.apply(now, &order);
        if expected == Told::Recorded("nobody knows") {
            self.check_unforeseen(now, who, &order, told);
        } else {
            assert_eq!(told, expected, "{} {who}: {order:?} at {now}", self.name);
            self.accounts[who] = account;
        }
        self.asked.push((who, order));
    }

    /// Several callers ask at once. Some order among them must explain all that they are told.
    pub(super) async fn ask_at_once(&mut self, now: Time, orders: Vec<(usize, Order)>) {
        let mut callers = Vec::new();
        for (who, order) in orders {
            let order = self.foreseen(now, who, order);
            let caller = self.call(who, &order);
            callers.push((who, order, tokio::spawn(caller)));
        }
        let mut answers: Vec<(usize, Order, Answer)> = Vec::new();
        for (who, order, caller) in callers {
            answers.push((who, order, caller.await.unwrap()));
        }
        // First answers before those that repeat them.
        answers.sort_by_key(|(_, _, answer)| match answer.told {
            Told::Decided(said) | Told::Reserved(said, _) => said.replayed,
            _ => false,
        });
        let mut told: Vec<Vec<(Order, Told)>> = vec![Vec::new(); CUSTOMERS];
        for (who, order, answer) in answers {
            let answer = self.note(who, &order, answer);
            told[who].push((order.clone(), answer));
            self.asked.push((who, order));
        }
        for (who, told) in told.into_iter().enumerate() {
            let stored = self.stored(who, now);
            let explained = explain(&self.accounts[who], now, &told, &stored);
            let name = &self.name;
            self.accounts[who] = explained.unwrap_or_else(|| {
                panic!("{name} {who} at {now}: no order explains {told:#?} and {stored:#?}");
            });
        }
    }

    /// The order, without an instant that only the meter could tell the period of.
    fn foreseen(&self, now: Time, who: usize, order: Order) -> Order {
        match order {
            Order::Record(feature, quantity, Some(at), key)
                if self.accounts[who].span_of(now, at).is_none() =>
            {
                Order::Record(feature, quantity, None, key)
            }
            order => order,
        }
    }

    /// Late usage from under an anchor that nothing remembers: it goes into a span of its own, which overlaps none.
    fn check_unforeseen(&mut self, now: Time, who: usize, order: &Order, told: Told) {
        let &Order::Record(_, _, Some(at), key) = order else {
            panic!("{order:?}");
        };
        let recent = now - TimeDelta::days(3) < at;
        if told == Told::Recorded("invalid") {
            assert!(!recent, "{order:?}: its period cannot have closed long ago");
            return;
        }
        assert_eq!(told, Told::Recorded("recorded"), "{order:?}");
        let mut conn = self.connect();
        let customer = self.customer(who);
        let start: Time = usage_events::table
            .filter(usage_events::customer_id.eq(customer.as_str()))
            .filter(usage_events::operation.eq("record"))
            .filter(usage_events::idempotency_key.eq(format!("key-{key}")))
            .select(usage_events::period_start)
            .get_result(&mut conn)
            .unwrap();
        let stored = counters::of_customers(&mut conn, &[customer.as_str()]).unwrap();
        let counter = stored
            .iter()
            .find(|counter| counter.metric_name == "runs" && counter.period_start == start)
            .unwrap();
        let end = counter.period_end.unwrap();
        assert!(start <= at && at < end, "{order:?}: {start} to {end}");
        for ((feature, other), counter) in &self.accounts[who].counters {
            let apart = counter.end.is_none_or(|other_end| other_end <= start) || end <= *other;
            assert!(
                *feature != Feature::Runs || apart,
                "{start} to {end} overlaps {other}"
            );
        }
        self.accounts[who].adopt(order, told, (start, Some(end)));
    }

    /// Keeps what is needed to tell later answers, and checks that one which is given again is the first one's equal.
    fn note(&mut self, who: usize, order: &Order, answer: Answer) -> Told {
        let known = &mut self.reservations[who];
        let told = match (answer.told, answer.reservation) {
            (Told::Reserved(said, _), Some(id)) => {
                let made_before = known.iter().find(|(_, known)| **known == id);
                let label = match (made_before, order) {
                    (Some((label, _)), _) | (None, Order::Reserve(.., label)) => *label,
                    (None, _) => panic!("{order:?} holds nothing"),
                };
                known.insert(label, id);
                Told::Reserved(said, Some(label))
            }
            (told, _) => told,
        };
        if let Some((key, decision)) = answer.remembered {
            match self.answers.get(&(who, key.clone())) {
                Some(first) => assert_eq!(decision, *first, "{order:?} is answered otherwise"),
                None => drop(self.answers.insert((who, key), decision)),
            }
        }
        told
    }

    fn call(&mut self, who: usize, order: &Order) -> impl Future<Output = Answer> + Send + use<> {
        self.calls += 1;
        let meter = self.replicas[self.calls % 2].meter.clone();
        let reservations = &self.reservations[who];
        let id = match order {
            Order::Commit(label, _) | Order::Free(label) => {
                label.and_then(|label| reservations.get(&label).copied())
            }
            _ => None,
        };
        let id = id.unwrap_or(ReservationId(uuid::Uuid::nil()));
        let (customer, order) = (self.customer(who), order.clone());
        async move { call(&meter, customer, order, id).await }
    }

    /// An operator grants the tier.
    pub(super) async fn grant(&mut self, now: Time, who: usize, tier: usize) {
        let grant = grants::Grant {
            customer: self.customer(who),
            plan_tier: TIERS[tier].to_owned(),
            until: None,
            unit_amount: 0,
            currency: None,
            reason: "a test".to_owned(),
        };
        let granted = grants::grant(&self.replicas[0], "operator".to_owned(), grant).await;
        self.grants[who].push(granted.unwrap().provider_subscription_id);
        self.accounts[who].grant(now, tier);
    }

    /// An operator ends the grant that counts.
    pub(super) async fn end(&mut self, now: Time, who: usize) {
        let Some(index) = self.accounts[who].leading() else {
            return;
        };
        let id = self.grants[who].remove(index);
        let ended = grants::end(&self.replicas[0], "operator".to_owned(), id).await;
        ended.unwrap();
        self.accounts[who].end(now, index);
    }

    /// An operator allows more or less than the plan.
    pub(super) async fn allow(
        &mut self,
        now: Time,
        who: usize,
        feature: Feature,
        (limit, cap): (i64, bool),
        days: i64,
    ) {
        let until = now + TimeDelta::days(days);
        let order = overrides::Order {
            customer: self.customer(who),
            feature: feature.key().to_owned(),
            limit: Some(limit),
            add: None,
            enabled: None,
            cap,
            expires_at: Some(until),
            reason: "a test".to_owned(),
        };
        let put = overrides::put(&self.replicas[0], "operator".to_owned(), order).await;
        put.unwrap();
        self.accounts[who].allow(feature, limit, cap, until);
    }

    /// The database holds what the model does.
    pub(super) fn check_stored(&self, now: Time) {
        for (who, account) in self.accounts.iter().enumerate() {
            let stored = self.stored(who, now);
            assert_eq!(stored, Books::of(account, now), "{} {who}", self.name);
        }
    }

    fn stored(&self, who: usize, now: Time) -> Books {
        let customer = self.customer(who);
        let mut conn = self.connect();
        let kept = counters::of_customers(&mut conn, &[customer.as_str()]).unwrap();
        let holds = counters::holds(&mut conn, &[customer.as_str()], now).unwrap();
        let held: BTreeMap<_, _> = holds
            .into_iter()
            .map(|hold| ((hold.metric_name, hold.period_start), hold.quantity))
            .collect();
        let mut counted = BTreeMap::new();
        for counter in kept {
            let stale = counter.is_hold_stale(now);
            let name = (counter.metric_name, counter.period_start);
            // What is kept with the counter is what the reservations sum up to.
            let live = held.get(&name).copied().unwrap_or(0);
            assert!(stale || counter.held == live, "{customer} {name:?}");
            counted.insert(name, (counter.period_end, counter.value));
        }
        Books { counted, held }
    }
}

/// What counters count, with the ends of their periods, and what live reservations hold of them.
#[derive(Debug, PartialEq, Eq)]
struct Books {
    counted: BTreeMap<(String, Time), (Option<Time>, i64)>,
    held: BTreeMap<(String, Time), i64>,
}

impl Books {
    fn of(account: &Account, now: Time) -> Self {
        let name = |(feature, start): (Feature, Time)| (feature.key().to_owned(), start);
        let counted = account.counters.iter();
        let held = account.holding(now).into_iter();
        Self {
            counted: counted
                .map(|(counter, kept)| (name(*counter), (kept.end, kept.used)))
                .collect(),
            held: held
                .map(|(counter, units)| (name(counter), units))
                .collect(),
        }
    }
}

/// An order of these in which the model tells the same and leaves what is stored; `None`: there is none.
fn explain(
    account: &Account,
    now: Time,
    told: &[(Order, Told)],
    stored: &Books,
) -> Option<Account> {
    if told.is_empty() {
        return (Books::of(account, now) == *stored).then(|| account.clone());
    }
    (0..told.len()).find_map(|first| {
        let mut rest = told.to_vec();
        let (order, answer) = rest.remove(first);
        let mut after = account.clone();
        (after.apply(now, &order) == answer).then(|| explain(&after, now, &rest, stored))?
    })
}
