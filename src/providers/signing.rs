//! What all providers sign with: HMAC-SHA256, written as hexadecimal digits.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A digest or a signature.
pub(super) type Bytes = [u8; 32];

/// Whether any of the secrets makes any of the candidates of these parts, one after the other. How long it takes does not tell how
/// near a candidate came.
pub(super) fn any_matches(secrets: &[SecretString], parts: &[&[u8]], candidates: &[Bytes]) -> bool {
    let mut matched = Choice::from(0);
    for secret in secrets {
        let Some(expected) = sign(secret.expose_secret(), parts) else {
            continue;
        };
        for candidate in candidates {
            matched |= expected.ct_eq(candidate);
        }
    }
    bool::from(matched)
}

/// `None` never happens (HMAC takes keys of any length), but no digest must then match, least of all a made-up one.
fn sign(secret: &str, parts: &[&[u8]]) -> Option<Bytes> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

/// The SHA-256 of these bytes, in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Reads 64 hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Bytes> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}
