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

/// A correction: added to a counter where it is positive, taken away where it is negative; at most 2⁶³ − 1 either way, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64")]
#[schema(value_type = i64, minimum = -9_223_372_036_854_775_807_i64, example = -3)]
pub struct Delta(i64);

impl Delta {
    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Delta {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        match number {
            0 => Err("must not be 0"),
            i64::MIN => Err("must be at least -9223372036854775807"),
            number => Ok(Self(number)),
        }
    }
}

/// For how long a reservation holds, in seconds: 1 to 86 400, a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64")]
#[schema(value_type = i64, minimum = 1, maximum = 86_400, example = 300)]
pub struct HoldSeconds(i64);

impl HoldSeconds {
    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl Default for HoldSeconds {
    fn default() -> Self {
        Self(300)
    }
}

impl TryFrom<i64> for HoldSeconds {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        if (1..=86_400).contains(&number) {
            Ok(Self(number))
        } else {
            Err("must be 1 to 86400")
        }
    }
}
