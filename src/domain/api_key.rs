//! API keys: how they look, what may be stored of them, what they may do.
//!
//! `pg_live_<id>_<secret><checksum>`: the id finds the row, the secret proves the caller, the checksum lets a typing
//! error or a made-up key be refused without a look-up (and lets secret scanners recognise a leaked one).

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bytes of randomness that a new key takes: 16 for the id, 32 for the secret.
pub const KEY_ENTROPY: usize = 48;

const ID_LENGTH: usize = 12;
/// 62⁴³ is just above 2²⁵⁶, so the 32 bytes always fit.
const SECRET_LENGTH: usize = 43;
/// 62⁶ is above 2³².
const CHECKSUM_LENGTH: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether a key belongs to production. A service accepts only keys of its own mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMode {
    /// `pg_live_…`, for production.
    Live,
    /// `pg_test_…`, for everything else.
    Test,
}

impl KeyMode {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "pg_live_",
            Self::Test => "pg_test_",
        }
    }
}

/// A whole key. It exists only while it is made and while a request is authenticated; what is stored is its id and a
/// hash of its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    mode: KeyMode,
    id: String,
    secret: String,
}

impl ApiKey {
    /// Makes a key out of random bytes, which the caller must take from the operating system.
    pub fn from_entropy(mode: KeyMode, entropy: &[u8; KEY_ENTROPY]) -> Self {
        let (id, secret) = entropy.split_at(16);
        Self {
            mode,
            id: base62(id, ID_LENGTH),
            secret: base62(secret, SECRET_LENGTH),
        }
    }

    /// Reads a key as it was shown. None for anything that was never a key, a wrong checksum included.
    pub fn parse(text: &str) -> Option<Self> {
        let (mode, rest) = [KeyMode::Live, KeyMode::Test]
            .into_iter()
            .find_map(|mode| Some((mode, text.strip_prefix(mode.prefix())?)))?;
        let (id, tail) = rest.split_once('_')?;
        let is_base62 = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric());
        if id.len() != ID_LENGTH
            || tail.len() != SECRET_LENGTH + CHECKSUM_LENGTH
            || !is_base62(id)
            || !is_base62(tail)
        {
            return None;
        }
        let (secret, sum) = tail.split_at_checked(SECRET_LENGTH)?;
        let key = Self {
            mode,
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        (checksum(&key.body()) == sum).then_some(key)
    }

    /// The key as its owner sees it, once.
    pub fn reveal(&self) -> String {
        let mut text = self.body();
        let sum = checksum(&text);
        text.push_str(&sum);
        text
    }

    /// Which environment the key was made for.
    pub fn mode(&self) -> KeyMode {
        self.mode
    }

    /// The public part, under which the key is stored and listed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part. Only its SHA-256 may be stored.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    fn body(&self) -> String {
        format!("{}{}_{}", self.mode.prefix(), self.id, self.secret)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}_[redacted]", self.mode.prefix(), self.id)
    }
}

/// What a key may be used for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything under Entitlements, Reservations, Usage and Plan context.
    Entitlements,
    /// The reads among those, `check`, and reading customers and subscriptions.
    Read,
    /// Billing, reading and writing customers, customer tokens.
    Billing,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Entitlements, Self::Read, Self::Billing, Self::Admin];

    /// The scope's name in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entitlements => "entitlements",
            Self::Read => "read",
            Self::Billing => "billing",
            Self::Admin => "admin",
        }
    }
}

/// A text that names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one of: entitlements, read, billing, admin")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// What is kept about a key, and shown in lists: everything but the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyRecord {
    /// Public id, the part after `pg_live_`.
    #[schema(example = "4fT0aZk29QpL")]
    pub id: String,
    /// What the operator called it.
    #[schema(example = "attribution backend")]
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused; null for never.
    #[schema(required = true)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked; null while it is good.
    #[schema(required = true)]
    pub revoked_at: Option<DateTime<Utc>>,
}

impl KeyRecord {
    /// Whether the key is good at `now`. Its last good instant is just before `expires_at`.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

fn checksum(body: &str) -> String {
    base62(
        &crc32fast::hash(body.as_bytes()).to_be_bytes(),
        CHECKSUM_LENGTH,
    )
}

/// The lowest `width` base-62 digits of a big-endian number, zero-padded.
fn base62(number: &[u8], width: usize) -> String {
    let mut number = number.to_vec();
    let mut digits: Vec<char> = (0..width)
        .map(|_| {
            let remainder = number.iter_mut().fold(0_u16, |carry, byte| {
                let value = (carry << 8) | u16::from(*byte);
                // `carry` is below 62, so the quotient always fits the low byte.
                let [_, quotient] = (value / 62).to_be_bytes();
                *byte = quotient;
                value % 62
            });
            ALPHABET
                .get(usize::from(remainder))
                .copied()
                .map_or('0', char::from)
        })
        .collect();
    digits.reverse();
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base62_is_positional_and_padded() {
        assert_eq!(base62(&[0, 61], 3), "00z");
        assert_eq!(base62(&[0, 62], 3), "010");
        assert_eq!(base62(&[0xff; 4], 6), "4gfFC3");
        assert_eq!(base62(&[0xff; 32], 43).len(), 43);
        assert_ne!(base62(&[0xff; 32], 43), base62(&[0xff; 32], 44)[..43]);
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let key = ApiKey::from_entropy(KeyMode::Live, &[7; KEY_ENTROPY]);
        let text = key.reveal();
        assert!(text.starts_with("pg_live_"));
        assert_eq!(text.len(), 8 + 12 + 1 + 43 + 6);
        assert_eq!(
            format!("{key:?}"),
            format!("pg_live_{}_[redacted]", key.id())
        );
    }

    #[test]
    fn what_was_never_a_key_is_refused() {
        for text in [
            "",
            "pg_live_",
            "pg_live__",
            "pg_prod_abc_def",
            "Bearer",
            "pg_test_abcdefghijkl_é",
        ] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_ends_at_its_expiry_and_at_its_revocation() {
        let now = DateTime::UNIX_EPOCH;
        let second = TimeDelta::seconds(1);
        let key = |expires_at, revoked_at| KeyRecord {
            id: String::new(),
            name: String::new(),
            scopes: vec![],
            created_at: now,
            expires_at,
            revoked_at,
        };
        assert!(key(None, None).is_live(now));
        assert!(key(Some(now + second), None).is_live(now));
        assert!(!key(Some(now), None).is_live(now));
        assert!(!key(None, Some(now)).is_live(now));
    }

    proptest! {
        #[test]
        fn every_key_survives_being_shown(first in any::<[u8; 24]>(), second in any::<[u8; 24]>(), live in any::<bool>()) {
            let mode = if live { KeyMode::Live } else { KeyMode::Test };
            let mut entropy = [0; KEY_ENTROPY];
            entropy[..24].copy_from_slice(&first);
            entropy[24..].copy_from_slice(&second);
            let key = ApiKey::from_entropy(mode, &entropy);
            prop_assert_eq!(ApiKey::parse(&key.reveal()), Some(key));
        }

        #[test]
        fn one_wrong_character_is_noticed(seed in any::<[u8; 24]>(), at in 0_usize..70, to in 0_usize..62) {
            let mut entropy = [3; KEY_ENTROPY];
            entropy[..24].copy_from_slice(&seed);
            let text = ApiKey::from_entropy(KeyMode::Test, &entropy).reveal();
            let mut bytes = text.clone().into_bytes();
            bytes[at] = ALPHABET[to];
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(ApiKey::parse(&changed).is_some(), changed == text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(pg_live_|pg_test_)?\\PC{0,80}") {
            let _ = ApiKey::parse(&text);
        }
    }
}
