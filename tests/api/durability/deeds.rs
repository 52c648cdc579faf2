//! What callers ask of the service, each time under a key of its own, and what that leaves in the ledger.

use reqwest::Method;
use serde_json::{Value, json};

use super::dice::Dice;

/// More is used by this customer than by any other.
pub(super) const HOT: &str = "hot";
/// Customers of whom everything is asked.
const MIXED: u64 = 6;
/// Customers in each round whose cap the load reaches.
const CAPPED: u64 = 2;
const CAPPED_PREFIX: &str = "capped-";
/// More than the largest plan's limit of models, which a statement may exceed.
const MOST_MODELS: u64 = 12;

/// The key of an entry in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    pub(super) customer: String,
    pub(super) operation: String,
    pub(super) key: String,
}

/// What is asked for one customer under one key.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) entry: EntryKey,
    feature: &'static str,
    /// Units; for `set`, how many there are to be.
    pub(super) quantity: i64,
}

impl Wish {
    /// What the entry adds to the counter; `None`: that depends on what was there.
    pub(super) fn adds(&self) -> Option<i64> {
        match self.entry.operation.as_str() {
            "set" => None,
            "release" => Some(-self.quantity),
            _ => Some(self.quantity),
        }
    }
}

/// One request: several wishes where it records usage, else one.
#[derive(Debug, Clone)]
pub(super) struct Deed(pub(super) Vec<Wish>);

impl Deed {
    fn of(
        customer: &str,
        operation: &str,
        feature: &'static str,
        quantity: i64,
        key: &str,
    ) -> Self {
        let entry = EntryKey {
            customer: customer.to_owned(),
            operation: operation.to_owned(),
            key: key.to_owned(),
        };
        Self(vec![Wish {
            entry,
            feature,
            quantity,
        }])
    }

    /// One use of a metered feature.
    pub(super) fn consume(customer: &str, quantity: i64, key: &str) -> Self {
        Self::of(customer, "consume", "attribution_runs", quantity, key)
    }

    /// Anything.
    pub(super) fn random(dice: &mut Dice, round: usize, key: &str) -> Self {
        let one = format!("mixed-{}", dice.below(MIXED));
        let quantity = dice.quantity(5);
        match dice.below(100) {
            0..35 => Self::consume(HOT, quantity, key),
            35..55 => {
                let capped = format!("{CAPPED_PREFIX}{round}-{}", dice.below(CAPPED));
                Self::consume(&capped, quantity, key)
            }
            55..70 => Self::consume(&one, quantity, key),
            70..80 => {
                let events = (0..=dice.below(4)).flat_map(|event| {
                    let customer = format!("mixed-{}", dice.below(MIXED));
                    let key = format!("{key}-{event}");
                    Self::of(&customer, "record", "attribution_runs", quantity, &key).0
                });
                Self(events.collect())
            }
            80..88 => Self::of(&one, "consume", "models", 1, key),
            88..95 => Self::of(&one, "release", "models", 1, key),
            _ => Self::of(&one, "set", "models", dice.quantity(MOST_MODELS), key),
        }
    }

    /// Customers who need a plan on which use is never denied.
    pub(super) fn customers() -> impl Iterator<Item = String> {
        let mixed = (0..MIXED).map(|n| format!("mixed-{n}"));
        mixed.chain([HOT.to_owned()])
    }

    fn first(&self) -> &Wish {
        self.0.first().expect("a deed has a wish")
    }

    /// Method, path and body of the request.
    pub(super) fn request(&self) -> (Method, &'static str, Value) {
        let wish = self.first();
        let one = |name: &str| {
            let mut body = json!({"customer_id": wish.entry.customer, "feature": wish.feature,
                                  "idempotency_key": wish.entry.key});
            body[name] = json!(wish.quantity);
            body
        };
        match wish.entry.operation.as_str() {
            "consume" => (Method::POST, "/entitlements/consume", one("quantity")),
            "release" => (Method::POST, "/entitlements/release", one("quantity")),
            "set" => (Method::PUT, "/entitlements/allocated", one("value")),
            _ => {
                let events = self.0.iter().map(|wish| {
                    json!({"id": wish.entry.key, "customer_id": wish.entry.customer,
                           "feature": wish.feature, "quantity": wish.quantity})
                });
                let events: Vec<Value> = events.collect();
                (Method::POST, "/usage", json!({"events": events}))
            }
        }
    }

    /// Whether it is a use of a customer who does nothing else, so that the answers tell the counter's whole history.
    pub(super) fn is_of_pure_use(&self) -> bool {
        self.is_capped() || self.first().entry.customer == HOT
    }

    /// Whether it is a use by a customer whose cap the load reaches.
    pub(super) fn is_capped(&self) -> bool {
        self.first().entry.customer.starts_with(CAPPED_PREFIX)
    }

    /// Whether a full cap, a full gauge or an empty one may stand in its way.
    pub(super) fn may_be_refused(&self) -> bool {
        let wish = self.first();
        let operation = wish.entry.operation.as_str();
        self.is_capped() || wish.feature == "models" && matches!(operation, "consume" | "release")
    }
}
