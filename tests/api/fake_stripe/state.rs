//! What the fake remembers, and the rules by which it changes.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::faults::{Endpoint, Faults};
use super::objects::{self, FakePrice, SessionParams};
use super::params::{Params, Refusal};

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
    pub(crate) faults: Faults,
    pub(crate) requests: Vec<Recorded>,
    session_params: HashMap<String, SessionParams>,
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

    /// Does a write once per idempotency key. Only successes are kept: a refused request may be corrected and sent
    /// again. The flag tells a replayed answer.
    pub(crate) fn once(
        &mut self,
        request: &Recorded,
        work: impl FnOnce(&mut Self, Params) -> Result<Value, Refusal>,
    ) -> Result<(Value, bool), Refusal> {
        if let Some(answered) = request
            .idempotency_key
            .as_ref()
            .and_then(|key| self.answered.get(key))
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
        let body = work(self, Params::new(request.params.clone()))?;
        if let Some(key) = &request.idempotency_key {
            let answered = Answered {
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

    pub(crate) fn create_session(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let mode = params.required("mode")?;
        let customer = params.required("customer")?;
        let success_url = params.required("success_url")?;
        let cancel_url = params.optional("cancel_url");
        let client_reference_id = params.optional("client_reference_id");
        let metadata = params.map("metadata")?;
        let subscription_metadata = params.map("subscription_data[metadata]")?;
        let lines = self.lines(&mut params)?;
        params.finish()?;
        if mode != "subscription" {
            return Err(Refusal::invalid(
                None,
                "mode",
                "This fake sells subscriptions only",
            ));
        }
        if !self.customers.contains_key(&customer) {
            return Err(Refusal::missing(400, "customer", "customer", &customer));
        }
        for (name, address) in [
            ("success_url", Some(&success_url)),
            ("cancel_url", cancel_url.as_ref()),
        ] {
            if address.is_some_and(|address| url::Url::parse(address).is_err()) {
                return Err(Refusal::invalid(
                    Some("url_invalid"),
                    name,
                    "Not a valid URL",
                ));
            }
        }
        if client_reference_id
            .as_ref()
            .is_some_and(|id| id.is_empty() || id.chars().count() > 200)
        {
            return Err(Refusal::invalid(
                None,
                "client_reference_id",
                "Invalid string: must be at most 200 characters",
            ));
        }
        let id = self.new_id("cs_test");
        let params = SessionParams {
            customer,
            lines,
            metadata,
            subscription_metadata,
            client_reference_id,
            success_url,
            cancel_url,
        };
        let session = objects::session(&id, &params, self.now);
        self.sessions.insert(id.clone(), session.clone());
        self.session_params.insert(id, params);
        Ok(session)
    }

    fn lines(&self, params: &mut Params) -> Result<Vec<(String, Option<u64>)>, Refusal> {
        let mut lines = Vec::new();
        for i in 0..params.indices("line_items") {
            let name = format!("line_items[{i}][price]");
            let price_id = params.required(&name)?;
            let price = self
                .prices
                .get(&price_id)
                .ok_or_else(|| Refusal::missing(400, &name, "price", &price_id))?;
            if price["active"] != json!(true) {
                return Err(Refusal::invalid(
                    None,
                    &name,
                    "The price specified is inactive.",
                ));
            }
            let name = format!("line_items[{i}][quantity]");
            let quantity = match params.optional(&name) {
                Some(text) => Some(text.parse().map_err(|_| {
                    Refusal::invalid(
                        Some("parameter_invalid_integer"),
                        &name,
                        format!("Invalid integer: {text}"),
                    )
                })?),
                None => None,
            };
            match (
                price["recurring"]["usage_type"] == json!("metered"),
                quantity,
            ) {
                (true, Some(_)) => {
                    return Err(Refusal::invalid(
                        None,
                        &name,
                        "You cannot set the quantity of a metered price.",
                    ));
                }
                (false, None | Some(0)) => {
                    return Err(Refusal::invalid(
                        Some("parameter_missing"),
                        &name,
                        "Quantity is required.",
                    ));
                }
                _ => lines.push((price_id, quantity)),
            }
        }
        if lines.is_empty() {
            return Err(Refusal::invalid(
                Some("parameter_missing"),
                "line_items",
                "Missing required param: line_items.",
            ));
        }
        Ok(lines)
    }

    pub(crate) fn expire_session(&mut self, id: &str) -> Result<Value, Refusal> {
        let session = self
            .sessions
            .get_mut(id)
            .ok_or_else(|| Refusal::missing(404, "session", "checkout.session", id))?;
        if session["status"] != json!("open") {
            let message = format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.",
                session["status"]
            );
            return Err(Refusal::new(
                400,
                "invalid_request_error",
                None,
                None,
                message,
            ));
        }
        session["status"] = json!("expired");
        session["url"] = Value::Null;
        Ok(session.clone())
    }

    /// Returns the session and the subscription.
    pub(crate) fn complete_checkout(&mut self, session_id: &str) -> (Value, Value) {
        let params = self
            .session_params
            .get(session_id)
            .unwrap_or_else(|| panic!("no session {session_id}"))
            .clone();
        assert_eq!(
            self.sessions[session_id]["status"],
            json!("open"),
            "only an open session can be paid"
        );
        let prices: Vec<_> = params
            .lines
            .iter()
            .map(|(price, _)| self.prices[price].clone())
            .collect();
        let item_ids: Vec<_> = prices.iter().map(|_| self.new_id("si")).collect();
        let id = self.new_id("sub");
        let subscription = objects::subscription(&id, &params, &prices, &item_ids, self.now);
        self.subscriptions.insert(id.clone(), subscription.clone());
        let session = self
            .sessions
            .get_mut(session_id)
            .expect("it was found above");
        session["status"] = json!("complete");
        session["payment_status"] = json!("paid");
        session["subscription"] = json!(id);
        session["url"] = Value::Null;
        (session.clone(), subscription)
    }
}
