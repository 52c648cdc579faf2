//! Instants that callers send.

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An instant as RFC 3339 writes it: years 0000 to 9999, kept to the microsecond, which is what the database can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, format = DateTime, example = "2026-01-20T10:00:00Z")]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Reads `2026-01-20T10:00:00Z` and the like.
    ///
    /// # Errors
    /// Says the rule.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be an RFC 3339 time such as 2026-01-20T10:00:00Z";
        // The library also reads a blank in place of the `T`, and years that RFC 3339 cannot write.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
            return Err(RULE);
        }
        let instant = DateTime::parse_from_rfc3339(text)
            .map_err(|_| RULE)?
            .to_utc();
        if (0..=9999).contains(&instant.year()) {
            Ok(Self(instant.trunc_subsecs(6)))
        } else {
            Err(RULE)
        }
    }

    /// The instant.
    pub const fn get(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rfc_3339_writes_is_an_instant() {
        for good in [
            "2026-01-20T10:00:00Z",
            "2026-01-20T10:00:00.1234567+05:30",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(Timestamp::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2026-01-20",
            "2026-01-20 10:00:00Z",
            "2026-01-20T10:00:00",
            "-9000-01-01T00:00:00Z",
            "+262142-12-31T23:59:59Z",
            "9999-12-31T23:59:59-01:00",
            "2026-02-30T00:00:00Z",
            "1768900000",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }
}
