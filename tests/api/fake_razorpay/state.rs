//! What the fake remembers: customers, plans, and everything that came of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::events::{FakeEvent, Quirk};
use super::faults::{Endpoint, Faults};
use super::params::{Params, Refusal};

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    /// `None` for an address that does not exist.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// Null if it was no JSON, an empty object if there was none.
    pub(crate) body: Value,
    /// `X-Refund-Idempotency`.
    pub(crate) refund_key: Option<String>,
    pub(crate) user_agent: Option<String>,
}

/// A plan to be sold.
#[derive(Debug, Clone)]
pub(crate) struct FakePlan {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `daily`, `weekly`, `monthly`, `yearly`.
    pub(crate) period: String,
    pub(crate) interval: u32,
    /// In the currency's minor units.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) active: bool,
}

impl FakePlan {
    /// Paid every month, in paise.
    pub(crate) fn monthly(id: &str, amount: i64) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            period: "monthly".to_owned(),
            interval: 1,
            amount,
            currency: "INR".to_owned(),
            active: true,
        }
    }
}

pub(crate) struct State {
    pub(crate) now: DateTime<Utc>,
    pub(crate) plans: BTreeMap<String, Value>,
    pub(crate) customers: BTreeMap<String, Value>,
    pub(crate) subscriptions: BTreeMap<String, Value>,
    /// What shows nowhere: subscriptions that end with their cycle.
    pub(crate) ending: BTreeSet<String>,
    pub(crate) invoices: BTreeMap<String, Value>,
    pub(crate) payments: BTreeMap<String, Value>,
    pub(crate) refunds: BTreeMap<String, Value>,
    pub(crate) disputes: BTreeMap<String, Value>,
    pub(crate) links: BTreeMap<String, Value>,
    /// By `X-Refund-Idempotency`: what was asked for, and the answer.
    pub(crate) refund_keys: HashMap<String, (String, Value, Value)>,
    /// Whether every payment is declined.
    pub(crate) declining: bool,
    /// Whether cycles end at midnight in India, as the real ones do.
    pub(crate) whole_days: bool,
    pub(crate) quirks: BTreeSet<Quirk>,
    pub(crate) faults: Faults,
    pub(crate) requests: Vec<Recorded>,
    /// Of what the API was asked to do, and nobody took yet.
    pub(crate) untold: Vec<FakeEvent>,
    last_id: u64,
    /// Sets the ids of this fake apart from those of another one.
    run: String,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            now: Utc::now(),
            plans: BTreeMap::new(),
            customers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            ending: BTreeSet::new(),
            invoices: BTreeMap::new(),
            payments: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            links: BTreeMap::new(),
            refund_keys: HashMap::new(),
            declining: false,
            whole_days: false,
            quirks: BTreeSet::new(),
            faults: Faults::default(),
            requests: Vec::new(),
            untold: Vec::new(),
            last_id: 0,
            run: uuid::Uuid::now_v7().simple().to_string().split_off(23),
        }
    }

    /// Ids sort in the order in which they were made; fourteen characters follow the prefix.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.last_id += 1;
        format!("{prefix}_{}{:05}", self.run, self.last_id)
    }

    /// Time passes, and with it what was open too long.
    pub(crate) fn set_now(&mut self, now: DateTime<Utc>) {
        self.now = now;
        self.expire_subscriptions();
        self.expire_links();
    }

    pub(crate) fn timestamp(&self) -> i64 {
        self.now.timestamp()
    }

    pub(crate) fn add_plan(&mut self, plan: FakePlan) {
        let item = self.new_id("item");
        let now = self.timestamp();
        let rendered = json!({
            "id": plan.id, "entity": "plan", "interval": plan.interval, "period": plan.period,
            "item": {
                "id": item, "active": plan.active, "name": plan.name, "description": null,
                "amount": plan.amount, "unit_amount": plan.amount, "currency": plan.currency,
                "type": "plan", "unit": null, "tax_inclusive": false, "hsn_code": null,
                "sac_code": null, "tax_rate": null, "tax_id": null, "tax_group_id": null,
                "created_at": now, "updated_at": now,
            },
            "notes": [], "created_at": now,
        });
        self.plans.insert(plan.id, rendered);
    }

    pub(crate) fn create_customer(&mut self, mut params: Params) -> Result<Value, Refusal> {
        let name = params.short("name", 50)?;
        let email = params.email("email")?;
        let contact = params.short("contact", 15)?;
        let fail_existing = params.flag("fail_existing")?.unwrap_or(true);
        let notes = params.notes()?;
        params.finish()?;
        if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
            let description = match name.chars().count() {
                0..=2 => "The name must be at least 3 characters.",
                _ => "The name format is invalid.",
            };
            return Err(Refusal::field("name", description));
        }
        let same = |customer: &&Value| {
            customer["email"] == json!(email) && customer["contact"] == json!(contact)
        };
        let known = email.is_some() || contact.is_some();
        if let Some(existing) = self.customers.values().find(same).filter(|_| known) {
            if fail_existing {
                return Err(Refusal::bad_request(
                    "Customer already exists for the merchant",
                ));
            }
            return Ok(existing.clone());
        }
        let id = self.new_id("cust");
        let customer = json!({
            "id": id, "entity": "customer", "name": name, "email": email, "contact": contact,
            "gstin": null, "notes": notes, "created_at": self.timestamp(),
        });
        self.customers.insert(id, customer.clone());
        Ok(customer)
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .'/@()".contains(c);
    name.chars().count() >= 3 && name.chars().all(allowed)
}

/// A text inside an object.
pub(crate) fn text(object: &Value, name: &str) -> String {
    let text = object[name].as_str();
    text.unwrap_or_else(|| panic!("no {name} in {object}"))
        .to_owned()
}

/// An integer inside an object.
pub(crate) fn number(object: &Value, name: &str) -> i64 {
    let number = object[name].as_i64();
    number.unwrap_or_else(|| panic!("no {name} in {object}"))
}
