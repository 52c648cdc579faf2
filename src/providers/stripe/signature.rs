//! Stripe's webhook signature: `t=<unix>,v1=<hex>[,v1=<hex>…]`, HMAC-SHA256 over `"{t}." + raw body`.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::providers::SignatureFault;
use crate::providers::signing::{Bytes, any_matches, unhex};

/// How far the signing time may be from ours, in seconds, in either direction. Longer makes a stolen delivery
/// replayable for longer; shorter refuses real ones when a clock drifts.
pub(super) const TOLERANCE_SECONDS: u64 = 300;

/// More candidates than a rolling of secrets ever makes; a header beyond it is somebody's probe.
const MAX_CANDIDATES: usize = 32;

/// The parts of the header that matter.
#[derive(Debug, PartialEq, Eq)]
struct Header<'a> {
    /// As written: these very characters were signed.
    timestamp: &'a str,
    seconds: i64,
    candidates: Vec<Bytes>,
}

/// Accepts if any `v1` signature was made with any of the secrets, near enough to `now`. Other schemes (`v0` is what
/// Stripe's test mode once added) count for nothing.
pub(super) fn verify(
    header: &str,
    body: &[u8],
    secrets: &[SecretString],
    now: DateTime<Utc>,
) -> Result<(), SignatureFault> {
    let header = parse(header).ok_or(SignatureFault::Malformed)?;
    let signed: [&[u8]; 3] = [header.timestamp.as_bytes(), b".", body];
    if !any_matches(secrets, &signed, &header.candidates) {
        return Err(SignatureFault::NoMatch);
    }
    if header.seconds.abs_diff(now.timestamp()) > TOLERANCE_SECONDS {
        return Err(SignatureFault::OutsideTolerance);
    }
    Ok(())
}

fn parse(header: &str) -> Option<Header<'_>> {
    let mut timestamp = None;
    let mut candidates = Vec::new();
    for part in header.split(',') {
        let (name, value) = part.trim().split_once('=')?;
        match name {
            "t" if timestamp.is_some() => return None,
            "t" => timestamp = Some(value),
            "v1" => candidates.push(unhex(value)?),
            _ => {}
        }
    }
    let timestamp = timestamp.filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))?;
    let seconds = timestamp.parse().ok()?;
    (!candidates.is_empty() && candidates.len() <= MAX_CANDIDATES).then_some(Header {
        timestamp,
        seconds,
        candidates,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Golden digests: computed with the Python package `stripe` 16.1.0 by
    // `stripe.WebhookSignature._compute_signature(f"{t}.{body}", secret)` for t = 1767225600, and accepted there by
    // `verify_header`.
    const SIGNED_AT: i64 = 1_767_225_600;
    const SECRET: &str = "whsec_plangate_golden";
    const OTHER: &str = "whsec_other_secret";
    const BODY: &str = r#"{"id":"evt_1","object":"event"}"#;
    const BY_SECRET: &str = "e879400b0bc378685ab88a071479404d48d866bd6cc0755c6e4545a4cbcf17d0";
    const BY_OTHER: &str = "4f7b809274cea55a991958f7946af1a643eca8ad442ea684c68f8927614f7a02";
    const UNICODE_BODY: &str = "{\"name\":\"Zoë ☂\"}\n";
    const UNICODE_BY_SECRET: &str =
        "fdf66458de99a0fb15ffa6ea89fc5ea5cc2701430feab0abb8799960e9eb0ea6";

    fn check(
        header: &str,
        body: &str,
        secrets: &[&str],
        seconds_later: i64,
    ) -> Result<(), SignatureFault> {
        let secrets: Vec<_> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        let now = DateTime::from_timestamp(SIGNED_AT + seconds_later, 0).unwrap();
        verify(header, body.as_bytes(), &secrets, now)
    }

    fn signed(v1: &str) -> String {
        format!("t={SIGNED_AT},v1={v1}")
    }

    #[test]
    fn signatures_of_stripes_own_library_are_accepted() {
        assert_eq!(check(&signed(BY_SECRET), BODY, &[SECRET], 0), Ok(()));
        assert_eq!(check(&signed(BY_OTHER), BODY, &[OTHER], 0), Ok(()));
        assert_eq!(
            check(&signed(UNICODE_BY_SECRET), UNICODE_BODY, &[SECRET], 0),
            Ok(())
        );
    }

    #[derive(serde::Deserialize)]
    struct Signed {
        secret: String,
        timestamp: i64,
        body: String,
        header: String,
    }

    #[test]
    fn every_header_that_stripes_own_library_made_is_good_for_its_body_alone() {
        // Written by tests/sdk/stripe_sdk.py.
        let vectors = include_str!("../../../tests/sdk/golden/signatures.json");
        let vectors: Vec<Signed> = serde_json::from_str(vectors).unwrap();
        assert!(!vectors.is_empty());
        for vector in &vectors {
            let later = vector.timestamp - SIGNED_AT;
            let checked = |body: &str| check(&vector.header, body, &[&vector.secret], later);
            assert_eq!(checked(&vector.body), Ok(()), "{}", vector.header);
            for other in vectors.iter().filter(|other| other.body != vector.body) {
                assert_eq!(checked(&other.body), Err(SignatureFault::NoMatch));
            }
        }
    }

    #[test]
    fn any_signature_may_match_any_secret() {
        let rolling = format!("t={SIGNED_AT},v1={BY_OTHER},v1={BY_SECRET},v0=anything");
        assert_eq!(check(&rolling, BODY, &[SECRET], 0), Ok(()));
        assert_eq!(check(&rolling, BODY, &["whsec_new", OTHER], 0), Ok(()));
        assert_eq!(
            check(&signed(BY_SECRET), BODY, &["whsec_new", SECRET], 0),
            Ok(())
        );
        assert_eq!(
            check(&rolling, BODY, &["whsec_new"], 0),
            Err(SignatureFault::NoMatch)
        );
    }

    #[test]
    fn another_body_secret_or_time_does_not_match() {
        assert_eq!(
            check(&signed(BY_SECRET), &format!("{BODY} "), &[SECRET], 0),
            Err(SignatureFault::NoMatch)
        );
        assert_eq!(
            check(&signed(BY_SECRET), BODY, &[OTHER], 0),
            Err(SignatureFault::NoMatch)
        );
        assert_eq!(
            check(&signed(BY_SECRET), BODY, &[], 0),
            Err(SignatureFault::NoMatch)
        );
        let moved = format!("t={},v1={BY_SECRET}", SIGNED_AT + 1);
        assert_eq!(
            check(&moved, BODY, &[SECRET], 0),
            Err(SignatureFault::NoMatch)
        );
        let respelled = format!("t=0{SIGNED_AT},v1={BY_SECRET}");
        assert_eq!(
            check(&respelled, BODY, &[SECRET], 0),
            Err(SignatureFault::NoMatch)
        );
        assert_eq!(
            check(&signed(&"0".repeat(64)), BODY, &[SECRET], 0),
            Err(SignatureFault::NoMatch)
        );
    }

    #[test]
    fn the_tolerance_holds_in_both_directions() {
        for late in [-300, 0, 300] {
            assert_eq!(
                check(&signed(BY_SECRET), BODY, &[SECRET], late),
                Ok(()),
                "{late}"
            );
        }
        for late in [-301, 301, 86_400] {
            let outcome = check(&signed(BY_SECRET), BODY, &[SECRET], late);
            assert_eq!(outcome, Err(SignatureFault::OutsideTolerance), "{late}");
        }
    }

    #[test]
    fn v0_alone_is_no_signature() {
        let v0 = format!("t={SIGNED_AT},v0={BY_SECRET}");
        assert_eq!(
            check(&v0, BODY, &[SECRET], 0),
            Err(SignatureFault::Malformed)
        );
    }

    #[test]
    fn malformed_headers_are_refused() {
        for header in [
            String::new(),
            ",".to_owned(),
            "t".to_owned(),
            format!("t={SIGNED_AT}"),
            format!("v1={BY_SECRET}"),
            format!("t=,v1={BY_SECRET}"),
            format!("t=-5,v1={BY_SECRET}"),
            format!("t=+{SIGNED_AT},v1={BY_SECRET}"),
            format!("t=99999999999999999999,v1={BY_SECRET}"),
            format!("t={SIGNED_AT},t={SIGNED_AT},v1={BY_SECRET}"),
            format!("t={SIGNED_AT},v1={}", &BY_SECRET[1..]),
            format!("t={SIGNED_AT},v1={}g", &BY_SECRET[1..]),
            format!(
                "t={SIGNED_AT}{}",
                format!(",v1={BY_SECRET}").repeat(MAX_CANDIDATES + 1)
            ),
        ] {
            assert_eq!(
                check(&header, BODY, &[SECRET], 0),
                Err(SignatureFault::Malformed),
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in any::<String>()) {
            let _ = parse(&header);
        }

        #[test]
        fn no_header_of_the_right_look_passes_by_luck(
            header in "(t=[0-9]{0,20}|v1=[0-9a-f☂]{0,64}|v0=[a-z]{0,3}|,| |=){0,12}",
        ) {
            prop_assert!(check(&header, BODY, &[SECRET], 0).is_err());
        }
    }
}
