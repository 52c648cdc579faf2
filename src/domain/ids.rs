//! Names that cross the API: validated once, at the edge, so that nothing behind it has to ask again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest id that a caller may choose for a customer, and longest idempotency key, in characters.
const LONG_MAX: usize = 255;
/// Longest tier key, in characters.
const KEY_MAX: usize = 64;

/// Why a text is not a valid name of its kind. The message says the rule and never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(&'static str);

macro_rules! name {
    ($(#[$meta:meta])* $name:ident, $valid:path, $rule:literal) => {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        $(#[$meta])*
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name if `text` keeps the rule of its kind, else what the rule is.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidName($rule))
                }
            }

            /// The text as the caller wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // A map keyed by a name can be asked with a plain `&str`.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }
    };
}

name!(
    /// The caller's own id of a customer.
    #[schema(value_type = String, min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_.:@|-]+$", example = "acme")]
    CustomerId,
    is_customer_id,
    "a customer id has 1 to 255 characters of A-Z a-z 0-9 _ - . : @ | and is neither `.` nor `..`"
);

name!(
    /// Key of a tier of the catalogue.
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_.-]*$", example = "pro")]
    TierKey,
    is_key,
    "a tier key has 1 to 64 characters of a-z 0-9 _ - . and starts with a letter"
);

name!(
    /// What makes a repeated call the same call. It belongs to one customer and operation.
    #[schema(value_type = String, min_length = 1, max_length = 255, example = "run-8f14e45f")]
    IdempotencyKey,
    is_idempotency_key,
    "an idempotency key has 1 to 255 characters and no control character"
);

impl IdempotencyKey {
    /// Reads the value of an `Idempotency-Key` header: the quoted string of the IETF draft (a structured-field string),
    /// or the bare text that most clients send.
    pub fn from_header(value: &str) -> Result<Self, InvalidName> {
        let value = value.trim_matches([' ', '\t']);
        match value.strip_prefix('"') {
            Some(rest) => Self::parse(&unquote(rest).ok_or(InvalidName(
                "a quoted idempotency key ends with `\"` and escapes only `\"` and `\\`",
            ))?),
            None => Self::parse(value),
        }
    }
}

/// The content of a structured-field string whose opening quote is already gone.
fn unquote(rest: &str) -> Option<String> {
    let mut content = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => content.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            plain => content.push(plain),
        }
    }
    characters.next().is_none().then_some(content)
}

fn is_customer_id(text: &str) -> bool {
    (1..=LONG_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.:@|".contains(&b))
        // These two are dropped from URLs by clients, so such a customer could not be addressed.
        && text != "."
        && text != ".."
}

fn is_key(text: &str) -> bool {
    (1..=KEY_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b))
}

fn is_idempotency_key(text: &str) -> bool {
    (1..=LONG_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customer_ids_are_the_callers_own_ids_of_a_url_safe_alphabet() {
        for good in [
            "acme",
            "a",
            "user@example.com",
            "auth0|5f7c",
            "org:1.2-3_4",
            "...",
            &"x".repeat(255),
        ] {
            assert!(CustomerId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "é",
            "a\0",
            "a%20",
            &"x".repeat(256),
        ] {
            assert!(CustomerId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_start_with_a_lower_case_letter() {
        for good in ["pro", "attribution_runs", "a", "v1.2-x", &"x".repeat(64)] {
            assert!(TierKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Pro", "1pro", "_x", "a b", "é", &"x".repeat(65)] {
            assert!(TierKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn idempotency_keys_count_characters_and_refuse_control_characters() {
        assert!(IdempotencyKey::parse(&"é".repeat(255)).is_ok());
        assert!(IdempotencyKey::parse(&"é".repeat(256)).is_err());
        for bad in ["", "a\nb", "a\0", "\u{85}"] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_header_key_may_be_bare_or_quoted() {
        for (header, key) in [
            ("run-1", "run-1"),
            ("  run-1 ", "run-1"),
            (r#""run-1""#, "run-1"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#"a"b"#, r#"a"b"#),
        ] {
            assert_eq!(IdempotencyKey::from_header(header).unwrap().as_str(), key);
        }
        for bad in ["", "\"\"", "\"open", "\"a\"b", r#""a\x""#, "\""] {
            assert!(IdempotencyKey::from_header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_travel_as_plain_strings_and_are_checked_on_the_way_in() {
        let id: CustomerId = serde_json::from_str("\"acme\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"acme\"");
        let error = serde_json::from_str::<CustomerId>("\"a b\"").unwrap_err();
        assert!(
            error.to_string().starts_with("a customer id has"),
            "{error}"
        );
    }
}
