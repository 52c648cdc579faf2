//! Stripe's form encoding, kept flat (`line_items[0][price]`), and Stripe's strictness about it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A refusal in Stripe's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Refusal {
    pub(crate) fn new(
        status: u16,
        kind: &str,
        code: Option<&str>,
        param: Option<&str>,
        message: impl Into<String>,
    ) -> Self {
        let mut error = Map::new();
        error.insert("type".to_owned(), json!(kind));
        error.insert("message".to_owned(), json!(message.into()));
        for (name, value) in [("code", code), ("param", param)] {
            if let Some(value) = value {
                error.insert(name.to_owned(), json!(value));
            }
        }
        Self {
            status,
            body: json!({ "error": error }),
        }
    }

    pub(crate) fn invalid(code: Option<&str>, param: &str, message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", code, Some(param), message)
    }

    pub(crate) fn missing(status: u16, param: &str, what: &str, id: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        Self::new(
            status,
            "invalid_request_error",
            Some("resource_missing"),
            Some(param),
            message,
        )
    }
}

/// The parameters of one request. Every one must be asked for: what is left over at the end is unknown.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    left: BTreeMap<String, String>,
}

impl Params {
    pub(crate) fn new(pairs: BTreeMap<String, String>) -> Self {
        Self { left: pairs }
    }

    pub(crate) fn optional(&mut self, name: &str) -> Option<String> {
        self.left.remove(name)
    }

    pub(crate) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.optional(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Refusal::invalid(
                    Some("parameter_missing"),
                    name,
                    format!("Missing required param: {name}."),
                )
            })
    }

    /// `name[key]=value…`, within Stripe's limits.
    pub(crate) fn map(&mut self, name: &str) -> Result<Value, Refusal> {
        let prefix = format!("{name}[");
        let keys: Vec<_> = self
            .left
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect();
        let mut map = Map::new();
        for full in keys {
            let Some(key) = full
                .strip_prefix(&prefix)
                .and_then(|rest| rest.strip_suffix(']'))
            else {
                continue;
            };
            if key.contains(['[', ']']) {
                continue;
            }
            let value = self.left.remove(&full).unwrap_or_default();
            if key.len() > 40 || value.chars().count() > 500 {
                return Err(Refusal::invalid(
                    None,
                    &full,
                    "Metadata keys have up to 40, values up to 500 characters",
                ));
            }
            map.insert(key.to_owned(), json!(value));
        }
        if map.len() > 50 {
            return Err(Refusal::invalid(
                None,
                name,
                "Metadata can have up to 50 keys",
            ));
        }
        Ok(Value::Object(map))
    }

    /// The indices of `name[0]…`, `name[1]…`, which must have no gap.
    pub(crate) fn indices(&self, name: &str) -> usize {
        let exists = |i: usize| {
            let prefix = format!("{name}[{i}][");
            self.left.keys().any(|key| key.starts_with(&prefix))
        };
        (0..self.left.len()).take_while(|i| exists(*i)).count()
    }

    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let message = format!("Received unknown parameter: {name}");
                Err(Refusal::invalid(Some("parameter_unknown"), &name, message))
            }
        }
    }
}

/// Decodes a form body or a query.
pub(crate) fn decode(encoded: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}
