//! Reservations: units held for work under way, until they are committed, released, or expire.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Id of a reservation: `res_` and a UUID version 7 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReservationId(pub Uuid);

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "res_{}", self.0.simple())
    }
}

/// The text is no reservation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reservation id is `res_` and 32 hexadecimal digits")]
pub struct InvalidReservationId;

impl FromStr for ReservationId {
    type Err = InvalidReservationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("res_")
            .filter(|digits| digits.len() == 32)
            .ok_or(InvalidReservationId)?;
        Uuid::try_parse(digits)
            .map(Self)
            .map_err(|_| InvalidReservationId)
    }
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Its units are held.
    Held,
    /// Some or all of it was recorded as used, the rest was freed.
    Committed,
    /// All of it was freed.
    Released,
    /// Its time ran out: it holds nothing any more.
    Expired,
}

impl ReservationState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A reservation at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// Whose.
    pub customer_id: String,
    /// Of which feature.
    pub feature: String,
    /// What became of it.
    pub state: ReservationState,
    /// Units held at first; at least 1.
    pub quantity: i64,
    /// Units recorded as used; `None`: it was not committed.
    pub committed_quantity: Option<i64>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// First instant at which it holds nothing.
    pub expires_at: DateTime<Utc>,
    /// When it was committed or released.
    pub settled_at: Option<DateTime<Utc>>,
}
