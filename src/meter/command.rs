//! What can be asked of the meter, and what it answers.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::Decision;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::store::pool::StoreError;

/// Admit and count, in one step.
#[derive(Debug, Clone)]
pub struct Consume {
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// Value of a static feature.
    pub value: Option<i64>,
    /// Makes a repetition safe.
    pub key: Option<IdempotencyKey>,
    /// The caller's own notes.
    pub properties: Option<Value>,
}

/// Give units of an allocated feature back.
#[derive(Debug, Clone)]
pub struct Release {
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// Makes a repetition safe.
    pub key: Option<IdempotencyKey>,
}

/// State how many units of an allocated feature exist.
#[derive(Debug, Clone)]
pub struct SetAllocated {
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units; not negative.
    pub value: i64,
    /// Makes a repetition safe.
    pub key: Option<IdempotencyKey>,
}

/// Usage that has happened already, whatever the limit.
#[derive(Debug, Clone)]
pub struct Record {
    /// The caller's id: the idempotency key.
    pub id: IdempotencyKey,
    /// `source` of a `CloudEvent`, else empty; part of the key.
    pub source: String,
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// When it happened; `None`: now.
    pub occurred_at: Option<DateTime<Utc>>,
    /// The caller's own notes.
    pub properties: Option<Value>,
}

/// What became of recorded usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// In the ledger now.
    Recorded,
    /// In the ledger before.
    Duplicate,
    /// Refused, with the reason.
    Invalid(String),
}

/// A decision that stands, with what it recorded committed.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The decision.
    pub decision: Decision,
    /// It was made by an earlier request under the same key.
    pub replayed: bool,
}

/// Why a command was not carried out. Nothing was recorded, except for [`MeterError::Store`], whose outcome may be unknown.
#[derive(Debug, thiserror::Error)]
pub enum MeterError {
    /// No plan ever had such a feature. The message leaves out a key that is longer than any.
    #[error("no plan has a feature{}", shown_key(.0))]
    UnknownFeature(String),
    /// The customer was never seen, and unknown customers are rejected.
    #[error("the customer is not known")]
    UnknownCustomer,
    /// The feature is of another kind than the operation needs.
    #[error("\"{feature}\" is a {} feature; this needs {needed} one", .kind.as_str())]
    WrongKind {
        /// Feature key.
        feature: String,
        /// Its kind.
        kind: FeatureKind,
        /// The kind needed, with its article.
        needed: &'static str,
    },
    /// A static feature is asked for without a value, or another kind with one.
    #[error("{0}")]
    Value(&'static str),
    /// The key was used for another payload.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// More would be released than exists.
    #[error("only {used} can be released")]
    BelowZero {
        /// How many exist.
        used: i64,
    },
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for MeterError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Longest feature key that a catalogue can have, in bytes.
const KEY_MAX: usize = 64;

fn shown_key(key: &str) -> String {
    if key.len() <= KEY_MAX {
        format!(" \"{key}\"")
    } else {
        " of so long a key".to_owned()
    }
}

/// What identifies a request's payload: equal requests after defaults have equal fingerprints.
#[derive(Serialize)]
struct Payload<'a> {
    feature: &'a str,
    quantity: i64,
    value: Option<i64>,
    occurred_at: Option<DateTime<Utc>>,
    properties: Option<&'a Value>,
}

impl Payload<'_> {
    fn fingerprint(&self) -> Vec<u8> {
        // A struct of plain fields always serializes; should it ever not, an empty payload only makes replays refuse.
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).to_vec()
    }
}

impl Consume {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Self {
            feature,
            quantity,
            value,
            properties,
            ..
        } = self;
        let properties = properties.as_ref();
        Payload {
            feature,
            quantity: *quantity,
            value: *value,
            occurred_at: None,
            properties,
        }
        .fingerprint()
    }
}

impl Release {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Self {
            feature, quantity, ..
        } = self;
        Payload {
            feature,
            quantity: *quantity,
            value: None,
            occurred_at: None,
            properties: None,
        }
        .fingerprint()
    }
}

impl SetAllocated {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Self { feature, value, .. } = self;
        Payload {
            feature,
            quantity: 0,
            value: Some(*value),
            occurred_at: None,
            properties: None,
        }
        .fingerprint()
    }
}

impl Record {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Self {
            feature,
            quantity,
            occurred_at,
            properties,
            ..
        } = self;
        let (occurred_at, properties) = (*occurred_at, properties.as_ref());
        Payload {
            feature,
            quantity: *quantity,
            value: None,
            occurred_at,
            properties,
        }
        .fingerprint()
    }
}
