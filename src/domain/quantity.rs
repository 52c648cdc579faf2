//! Numbers that callers send, with their ranges.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Units that are asked for: 1 to 2⁶³ − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64")]
#[schema(value_type = i64, minimum = 1, example = 1)]
pub struct Quantity(i64);

impl Quantity {
    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<i64> for Quantity {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        if number >= 1 {
            Ok(Self(number))
        } else {
            Err("must be at least 1")
        }
    }
}

/// A level or a count: 0 to 2⁶³ − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64")]
#[schema(value_type = i64, minimum = 0, example = 30)]
pub struct Level(i64);

impl Level {
    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Level {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        if number >= 0 {
            Ok(Self(number))
        } else {
            Err("must not be negative")
        }
    }
}
