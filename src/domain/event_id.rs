//! Ids that the API shows: a prefix that says what it is, and a UUID that is ordered by time.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Id of a ledger entry: `evt_` and a UUID version 7 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", self.0.simple())
    }
}

/// The text is no ledger entry's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id is `evt_` and 32 hexadecimal digits")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("evt_")
            .filter(|digits| digits.len() == 32)
            .ok_or(InvalidEventId)?;
        Uuid::try_parse(digits)
            .map(Self)
            .map_err(|_| InvalidEventId)
    }
}
