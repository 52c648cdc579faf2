//! What is asked of Razorpay, and what is read from its objects and events. Whole stories are told in `tests/api`.

mod events;
mod history;
mod links;
mod payments;
mod sales;
mod script;
mod signatures;
mod subscriptions;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use url::Url;

use self::script::{Answer, Script, no, ok};
use super::{Razorpay, RazorpaySettings, RazorpaySetupError};
use crate::providers::{Provider as _, ProviderError};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// One that nothing is asked of.
fn razorpay(
    (key_id, key_secret): (&str, &str),
    webhook_secrets: &[&str],
) -> Result<Razorpay, RazorpaySetupError> {
    let settings = RazorpaySettings {
        key_id: key_id.to_owned(),
        key_secret: SecretString::from(key_secret),
        webhook_secrets: webhook_secrets
            .iter()
            .map(|secret| SecretString::from(*secret))
            .collect(),
        api_base: Url::parse("https://api.razorpay.com").unwrap(),
    };
    Razorpay::new(settings, Script::transport())
}

#[test]
fn the_key_tells_the_mode() {
    for (key, livemode) in [("rzp_live_1", true), ("rzp_test_1", false)] {
        let razorpay = razorpay((key, "s"), &[]).unwrap();
        assert_eq!(razorpay.livemode(), livemode, "{key}");
        assert_eq!(razorpay.publishable_key(), Some(key));
    }
}

#[test]
fn settings_that_cannot_be_safe_are_refused() {
    for key in [
        ("", "s"),
        ("rzp_test_1", ""),
        ("rzp_test_1", " "),
        ("rzp:test", "s"),
        ("rzp_test_1", "a\nb"),
    ] {
        assert_eq!(
            razorpay(key, &["w"]).err(),
            Some(RazorpaySetupError::BadKey),
            "{key:?}"
        );
    }
    for secrets in [vec![" "], vec!["w", ""]] {
        assert_eq!(
            razorpay(("rzp_test_1", "s"), &secrets).err(),
            Some(RazorpaySetupError::BlankWebhookSecret)
        );
    }
}

#[test]
fn no_secret_shows_when_settings_are_printed() {
    let razorpay = razorpay(("rzp_test_1", "hidden-key"), &["hidden-webhook"]).unwrap();
    let printed = format!("{:?} {:?}", razorpay.settings, razorpay.authorization);
    assert!(!printed.contains("hidden"), "{printed}");
    // Nor as it is sent.
    assert!(!printed.contains("cnpw"), "{printed}");
}

#[tokio::test]
async fn every_request_bears_the_key() {
    let script = Script::of([ok(serde_json::json!({"id": "sub_1", "status": "active"}))]).await;
    script.razorpay().fetch_subscription("sub_1").await.unwrap();
    // Of `rzp_test_script:script-secret`.
    assert_eq!(
        script.headers("authorization"),
        [Some(
            "Basic cnpwX3Rlc3Rfc2NyaXB0OnNjcmlwdC1zZWNyZXQ=".to_owned()
        )]
    );
    assert_eq!(script.asked(), ["GET /v1/subscriptions/sub_1"]);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let fetched = async |answers: Vec<Answer>| {
        let script = Script::of(answers).await;
        let outcome = script.razorpay().fetch_subscription("sub_1").await;
        outcome.unwrap_err()
    };
    for gone in [
        no(400, "The id provided does not exist"),
        no(404, "The requested URL was not found on the server."),
    ] {
        assert_eq!(fetched(vec![gone]).await, ProviderError::NotFound);
    }
    let busy = || no(429, "Too many requests");
    assert!(matches!(
        fetched(vec![busy(), busy(), busy()]).await,
        ProviderError::Unavailable { .. }
    ));
    let broken = || Answer::Of(502, serde_json::json!("bad gateway"));
    assert!(
        fetched(vec![broken(), Answer::Lost, broken()])
            .await
            .is_transient()
    );
    let rejected = |error| match error {
        ProviderError::Rejected {
            status,
            code,
            message,
        } => (status, code, message),
        other => unreachable!("{other}"),
    };
    let bad = Some("BAD_REQUEST_ERROR".to_owned());
    assert_eq!(
        rejected(fetched(vec![no(400, "It contains script-secret.")]).await),
        (400, bad.clone(), "It contains [redacted].".to_owned())
    );
    assert_eq!(
        rejected(fetched(vec![no(401, "The api key script-secret is invalid")]).await),
        (401, bad, "the API key is not valid".to_owned())
    );
    assert_eq!(
        rejected(fetched(vec![Answer::Of(400, serde_json::json!(null))]).await),
        (400, None, "no reason given".to_owned())
    );
}

#[tokio::test]
async fn ids_that_are_none_are_not_asked_for() {
    let script = Script::of([]).await;
    let razorpay = script.razorpay();
    for id in ["", "../plans", "sub_1/cancel", "sub_1?x", "sub 1"] {
        let outcome = razorpay.fetch_subscription(id).await;
        assert_eq!(outcome.unwrap_err(), ProviderError::NotFound, "{id}");
    }
    assert!(script.asked().is_empty());
}
