//! What the fake remembers, and the rules by which it changes.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::events::EventBook;
use super::faults::{Endpoint, Faults};
use super::meters::MeterBook;
use super::objects::{self, FakePrice, SessionParams, is_over, text};
use super::params::{Params, Refusal};

/// How long an idempotency key is remembered.
const KEYS_LAST: TimeDelta = TimeDelta::hours(24);

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// `None` for an address that does not exist.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Flat, as in `line_items[0][price]`.
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) stripe_version: Option<String>,
    pub(crate) user_agent: Option<String>,
}

/// What was answered under an idempotency key.
struct Answered {
    at: DateTime<Utc>,
    path: String,
    params: BTreeMap<String, String>,
    body: Value,
}

pub(crate) struct State {
    pub(crate) now: DateTime<Utc>,
    pub(crate) customers: BTreeMap<String, Value>,
    pub(crate) prices: BTreeMap<String, Value>,
    pub(crate) sessions: BTreeMap<String, Value>,
    pub(crate) subscriptions: BTreeMap<String, Value>,
    pub(crate) schedules: BTreeMap<String, Value>,
    pub(crate) invoices: BTreeMap<String, Value>,
    pub(crate) invoice_payments: BTreeMap<String, Value>,
    pub(crate) payment_intents: BTreeMap<String, Value>,
    pub(crate) charges: BTreeMap<String, Value>,
    pub(crate) refunds: BTreeMap<String, Value>,
    pub(crate) disputes: BTreeMap<String, Value>,
    pub(crate) meter: MeterBook,
    pub(crate) events: EventBook,
    /// Whether every card is declined.
    pub(crate) declining: bool,
    pub(crate) faults: Faults,
    pub(crate) requests: Vec<Recorded>,
    pub(crate) session_params: HashMap<String, SessionParams>,
    answered: HashMap<String, Answered>,
    last_id: u64,
    /// Sets the ids of this fake apart from those of another one.
    run: String,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            now: Utc::now(),
            customers: BTreeMap::new(),
            prices: BTreeMap::new(),
            sessions: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            schedules: BTreeMap::new(),
            invoices: BTreeMap::new(),
            invoice_payments: BTreeMap::new(),
            payment_intents: BTreeMap::new(),
            charges: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            meter: MeterBook::default(),
            events: EventBook::default(),
            declining: false,
            faults: Faults::default(),
            requests: Vec::new(),
            session_params: HashMap::new(),
            answered: HashMap::new(),
            last_id: 0,
            run: uuid::Uuid::now_v7().simple().to_string().split_off(20),
        }
    }

    /// Ids sort in the order in which they were made.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.last_id += 1;
        format!("{prefix}_{}{:05}", self.run, self.last_id)
    }

    pub(crate) fn add_price(&mut self, price: FakePrice) {
        self.prices.insert(price.id.clone(), price.render(self.now));
    }

    /// Does a read, or a deletion, for which keys mean nothing.
    pub(crate) fn plainly(
        &mut self,
        request: &Recorded,
        work: impl FnOnce(&mut Self, Params) -> Result<Value, Refusal>,
    ) -> Result<(Value, bool), Refusal> {
        let mut params = Params::new(request.params.clone());
        let paths = params.list("expand");
        let mut body = work(self, params)?;
        self.expand(&mut body, &paths)?;
        Ok((body, false))
    }

    /// Does a write once per idempotency key. Only successes are kept, and those for a day: a refused request may be
    /// corrected and sent again. The flag tells a replayed answer.
    pub(crate) fn once(
        &mut self,
        request: &Recorded,
        work: impl FnOnce(&mut Self, Params) -> Result<Value, Refusal>,
    ) -> Result<(Value, bool), Refusal> {
        if let Some(answered) = request
            .idempotency_key
            .as_ref()
            .and_then(|key| self.answered.get(key))
            .filter(|answered| self.now - answered.at < KEYS_LAST)
        {
            if answered.path != request.path || answered.params != request.params {
                return Err(Refusal::new(
                    400,
                    "idempotency_error",
                    None,
                    None,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                ));
            }
            return Ok((answered.body.clone(), true));
        }
        let (body, _) = self.plainly(request, work)?;
        if let Some(key) = &request.idempotency_key {
            let answered = Answered {
                at: self.now,
                path: request.path.clone(),
                params: request.params.clone(),
                body: body.clone(),
            };
            self.answered.insert(key.clone(), answered);
        }
        Ok((body, false))
    }

    pub(crate) fn create_customer(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let email = params.optional("email");
        let name = params.optional("name");
        let metadata = params.map("metadata")?;
        params.finish()?;
        if let Some(email) = email
            .as_deref()
            .filter(|e| !e.contains('@') || e.len() > 512)
        {
            return Err(Refusal::invalid(
                Some("email_invalid"),
                "email",
                format!("Invalid email address: {email}"),
            ));
        }
        let id = self.new_id("cus");
        let customer =
            objects::customer(&id, email.as_deref(), name.as_deref(), &metadata, self.now);
        self.customers.insert(id, customer.clone());
        Ok(customer)
    }

    /// A customer that still exists.
    pub(crate) fn live_customer(&self, id: &str) -> Result<(), Refusal> {
        match self.customers.get(id) {
            Some(customer) if customer.get("deleted").is_none() => Ok(()),
            _ => Err(Refusal::missing(400, "customer", "customer", id)),
        }
    }

    pub(crate) fn delete_customer(&mut self, id: &str, params: Params) -> Result<Value, Refusal> {
        params.finish()?;
        self.live_customer(id)
            .map_err(|_| Refusal::missing(404, "id", "customer", id))?;
        let billed: Vec<_> = self
            .subscriptions
            .values()
            .filter(|s| s["customer"] == id && !is_over(s))
            .map(|s| text(s, "id"))
            .collect();
        for subscription in billed {
            self.end_subscription(&subscription, self.now.timestamp());
        }
        let customer = self.customers[id].clone();
        let deleted = json!({"id": id, "object": "customer", "deleted": true});
        self.customers.insert(id.to_owned(), deleted.clone());
        self.tell("customer.deleted", &customer);
        Ok(deleted)
    }
}
