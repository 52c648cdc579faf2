//! Razorpay's fields, whose types it does not keep to: nearly every one can be null, numbers come as text and text as numbers, an empty
//! map is an empty list. What is of no use reads as absent; what is missing then says so where it is needed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::domain::subscription::PlanRef;
use crate::providers::ProviderError;

/// Text that is not empty; a number is taken for its digits.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, also one in quotes.
pub(super) fn as_whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn as_truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// For a field that [`as_text`] reads.
pub(super) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(input).map(|value| as_text(&value))
}

/// For a field that holds a whole number.
pub(super) fn whole<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    Value::deserialize(input).map(|value| as_whole(&value))
}

/// For a field that holds yes or no.
pub(super) fn truth<'de, D: Deserializer<'de>>(input: D) -> Result<Option<bool>, D::Error> {
    Value::deserialize(input).map(|value| as_truth(&value))
}

/// For a field that holds Unix seconds, of which zero means never.
pub(super) fn instant<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let seconds = whole(input)?.filter(|seconds| *seconds != 0);
    Ok(seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)))
}

/// What an object cannot be understood without.
pub(super) fn needed<T>(what: &'static str, field: Option<T>) -> Result<T, ProviderError> {
    field.ok_or_else(|| ProviderError::Unreadable {
        reason: format!("{what} is missing"),
    })
}

/// Our own marks on Razorpay's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes(HashMap<String, String>);

impl Notes {
    /// The value of our mark.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The plan that our marks name.
    pub(super) fn sold_as(&self) -> Option<PlanRef> {
        Some(PlanRef {
            tier: self.get("plan_tier")?.to_owned(),
            version: self.get("plan_version")?.parse().ok()?,
        })
    }
}

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let notes = match Value::deserialize(input)? {
            Value::Object(notes) => notes,
            _ => serde_json::Map::new(),
        };
        let notes = notes
            .into_iter()
            .filter_map(|(key, value)| Some((key, as_text(&value)?)));
        Ok(Self(notes.collect()))
    }
}
