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

    /// Whether anything is given under that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let prefix = format!("{name}[");
        self.left
            .keys()
            .any(|key| key == name || key.starts_with(&prefix))
    }

    /// Whether the parameter has this value.
    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.left.get(name).is_some_and(|given| given == value)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        self.optional(name)
            .map(|text| integer(name, &text))
            .transpose()
    }

    pub(crate) fn required_integer(&mut self, name: &str) -> Result<i64, Refusal> {
        let text = self.required(name)?;
        integer(name, &text)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.optional(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::invalid(
                None,
                name,
                format!("Invalid boolean: {other}"),
            )),
        }
    }

    /// One of a few words.
    pub(crate) fn choice(&mut self, name: &str, words: &[&str]) -> Result<Option<String>, Refusal> {
        match self.optional(name) {
            Some(word) if !words.contains(&word.as_str()) => Err(Refusal::invalid(
                None,
                name,
                format!("Invalid {name}: must be one of {}", words.join(", ")),
            )),
            word => Ok(word),
        }
    }

    pub(crate) fn address(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.optional(name) {
            Some(text) if url::Url::parse(&text).is_err() => Err(Refusal::invalid(
                Some("url_invalid"),
                name,
                "Not a valid URL",
            )),
            address => Ok(address),
        }
    }

    /// `name[0]`, `name[1]`, …
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        (0..self.left.len())
            .map_while(|i| self.optional(&format!("{name}[{i}]")))
            .collect()
    }

    /// What an update does to the metadata; `None`: nothing.
    pub(crate) fn metadata(&mut self) -> Result<Option<MetadataChange>, Refusal> {
        self.metadata_of("metadata")
    }

    /// The same of an object further inside.
    pub(crate) fn metadata_of(&mut self, name: &str) -> Result<Option<MetadataChange>, Refusal> {
        if self.left.get(name).is_some_and(String::is_empty) {
            self.left.remove(name);
            return Ok(Some(MetadataChange::Clear));
        }
        if !self.has(name) {
            return Ok(None);
        }
        self.map(name).map(MetadataChange::Merge).map(Some)
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

/// What an update does to an object's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetadataChange {
    Clear,
    /// Keys that are not named stay; a key with an empty value goes.
    Merge(Value),
}

impl MetadataChange {
    pub(crate) fn apply(&self, metadata: &mut Value) {
        match self {
            Self::Clear => *metadata = json!({}),
            Self::Merge(change) => merge_metadata(metadata, change),
        }
    }
}

/// Keys that are not named stay; a key with an empty value goes.
pub(crate) fn merge_metadata(metadata: &mut Value, change: &Value) {
    let (Some(kept), Some(change)) = (metadata.as_object_mut(), change.as_object()) else {
        return;
    };
    for (key, value) in change {
        if value == "" {
            kept.remove(key);
        } else {
            kept.insert(key.clone(), value.clone());
        }
    }
}

fn integer(name: &str, text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid(
            Some("parameter_invalid_integer"),
            name,
            format!("Invalid integer: {text}"),
        )
    })
}

/// Decodes a form body or a query. `name[]=a&name[]=b` becomes `name[0]`, `name[1]`, as Stripe reads it.
pub(crate) fn decode(encoded: &[u8]) -> BTreeMap<String, String> {
    let mut decoded = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(encoded).into_owned() {
        let name = match name.strip_suffix("[]") {
            None => name,
            Some(list) => (0..=decoded.len())
                .map(|i| format!("{list}[{i}]"))
                .find(|name| !decoded.contains_key(name))
                .unwrap_or_default(),
        };
        decoded.insert(name, value);
    }
    decoded
}
