//! What can be asked of the meter, and what it answers.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::account::Account;

use crate::domain::catalogue::FeatureKind;
use crate::domain::decision::Decision;
use crate::domain::ids::{CustomerId, IdempotencyKey};
use crate::domain::plans::Plans;
use crate::domain::reservation::{Reservation, ReservationId, ReservationState};
use crate::store::ledger::KeyUse;
use crate::store::pool::StoreError;

/// What a batch must read for its commands, besides where their customers stand now.
#[derive(Debug, Default)]
pub(super) struct Needs<'a> {
    pub(super) keys: Vec<KeyUse<'a>>,
    pub(super) reservations: Vec<(&'a str, ReservationId)>,
    pub(super) reservation_keys: Vec<(&'a str, &'a str)>,
    /// Customers whose counters of past periods may be needed.
    pub(super) past: HashSet<&'a str>,
}

/// Something that changes what is counted or held of one customer.
pub(super) trait Command: Send + 'static {
    /// What the caller is told.
    type Answer: Send + 'static;

    /// Whose.
    fn customer(&self) -> &CustomerId;

    /// Says what must be read to judge it.
    fn needs<'a>(&'a self, needs: &mut Needs<'a>);

    /// Refuses what can be known to be nonsense before anything of the customer is read or made.
    fn precheck(&self, _plans: &Plans) -> Result<(), MeterError> {
        Ok(())
    }

    /// Whether a customer who was never seen is made by it.
    fn creates(&self) -> bool {
        true
    }

    /// How many entries it may add to the ledger.
    fn entries(&self) -> usize {
        1
    }

    /// Roughly how many bytes of the caller's own notes it carries.
    fn bytes(&self) -> usize {
        0
    }

    /// The answer where there is no such customer, and none is made.
    fn of_nobody(&self) -> Result<Self::Answer, MeterError> {
        Err(MeterError::UnknownCustomer)
    }

    /// Judges it and changes the account. A refusal has changed nothing.
    fn judge(&self, account: &mut Account<'_>) -> Result<Self::Answer, MeterError>;
}

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

/// Usage of one customer that has happened already. One bad event fails no other.
#[derive(Debug, Clone)]
pub(super) struct RecordAll {
    /// Whose.
    pub(super) customer: CustomerId,
    /// Each of them that customer's.
    pub(super) events: Vec<Record>,
}

/// Hold units for work that is about to be done.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units; at least 1.
    pub quantity: i64,
    /// For how long they are held; whole seconds.
    pub ttl: TimeDelta,
    /// Makes a repetition safe.
    pub key: Option<IdempotencyKey>,
}

/// Record held units as used, and free the rest.
#[derive(Debug, Clone)]
pub struct CommitReservation {
    /// Whose.
    pub customer: CustomerId,
    /// Which.
    pub id: ReservationId,
    /// Units, from 0; `None`: all of them.
    pub quantity: Option<i64>,
}

/// Free held units.
#[derive(Debug, Clone)]
pub struct ReleaseReservation {
    /// Whose.
    pub customer: CustomerId,
    /// Which.
    pub id: ReservationId,
}

/// An operator's correction of what is counted.
#[derive(Debug, Clone)]
pub struct Adjust {
    /// Whose.
    pub customer: CustomerId,
    /// Feature key.
    pub feature: String,
    /// Units to add; negative to take away.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// Who, for the audit log.
    pub actor: String,
    /// Makes a repetition safe.
    pub key: IdempotencyKey,
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

/// The answer to a reservation.
#[derive(Debug, Clone)]
pub struct Reserved {
    /// What is held; `None`: it was denied.
    pub reservation: Option<Reservation>,
    /// The decision.
    pub decision: Decision,
    /// It was made by an earlier request under the same key.
    pub replayed: bool,
}

/// The answer to a commit.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The reservation, committed.
    pub reservation: Reservation,
    /// The decision, with what it recorded.
    pub decision: Decision,
    /// An earlier request committed it.
    pub replayed: bool,
}

/// The answer to a reservation's release.
#[derive(Debug, Clone)]
pub struct Freed {
    /// The reservation, released.
    pub reservation: Reservation,
    /// An earlier request released it.
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
    /// The count would not fit into 64 bits.
    #[error("the period's usage would not fit into 64 bits")]
    Uncountable,
    /// The customer has no such reservation.
    #[error("there is no such reservation")]
    UnknownReservation,
    /// The reservation was settled in another way.
    #[error("the reservation is {} already", .state.as_str())]
    ReservationSettled {
        /// What became of it.
        state: ReservationState,
    },
    /// The reservation's time ran out, and its units are not to be had any more. The decision tells why, unless the period that
    /// they were held in takes no usage any more.
    #[error("the reservation has expired, and what it held is not to be had any more")]
    ReservationExpired(Option<Box<Decision>>),
    /// More would be committed than is held.
    #[error("only {held} are held")]
    CommitAboveHold {
        /// How many.
        held: i64,
    },
    /// Too many commands wait: nothing was done, a repetition may succeed.
    #[error("too many requests wait to be recorded")]
    Overloaded,
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

/// The feature's kind, which must be one of `fitting`; `needed` says which, with its article.
pub(super) fn kind_of(
    plans: &Plans,
    feature: &str,
    fitting: &[FeatureKind],
    needed: &'static str,
) -> Result<FeatureKind, MeterError> {
    let kind = plans
        .kind(feature)
        .ok_or_else(|| MeterError::UnknownFeature(feature.to_owned()))?;
    if fitting.contains(&kind) {
        return Ok(kind);
    }
    Err(MeterError::WrongKind {
        feature: feature.to_owned(),
        kind,
        needed,
    })
}

fn shown_key(key: &str) -> String {
    if key.len() <= KEY_MAX {
        format!(" \"{key}\"")
    } else {
        " of so long a key".to_owned()
    }
}

/// What a caller's notes take, as JSON.
pub(super) fn bytes_of(notes: &Value) -> usize {
    serde_json::to_vec(notes).map_or(0, |json| json.len())
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

impl Reserve {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let Self {
            feature,
            quantity,
            ttl,
            ..
        } = self;
        Payload {
            feature,
            quantity: *quantity,
            value: Some(ttl.num_seconds()),
            occurred_at: None,
            properties: None,
        }
        .fingerprint()
    }
}

impl Adjust {
    /// SHA-256 of the payload.
    pub fn fingerprint(&self) -> Vec<u8> {
        let reason = Value::String(self.reason.clone());
        Payload {
            feature: &self.feature,
            quantity: self.delta,
            value: None,
            occurred_at: None,
            properties: Some(&reason),
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
