//! The fake Razorpay against Razorpay's own library, which `tests/sdk` drives, and what was recorded of that.

use chrono::{DateTime, Utc};
use plangate::providers::Provider;
use plangate::providers::razorpay::{Razorpay, RazorpaySettings};
use plangate::providers::transport::{RetryPolicy, Timeouts, Transport};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake_razorpay::{
    Endpoint, FakeEvent, FakePlan, FakeRazorpay, Fault, KEY_ID, KEY_SECRET, WEBHOOK_SECRET, sign,
};
use crate::support::sdk::{drive, golden};

#[test]
#[ignore = "needs Python with Razorpay's SDK: .ci/run prepares it"]
fn razorpays_own_library_finds_nothing_wrong_with_the_fake() {
    let fake = shop();
    let base = fake.base().as_str().trim_end_matches('/');
    let arguments = [base, KEY_ID, KEY_SECRET, WEBHOOK_SECRET];
    drive("razorpay_sdk.py", &arguments, |act| perform(&fake, act));
}

/// One step of the recording: an act, or a request and what came of it.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Act {
        act: Vec<Value>,
    },
    Request {
        /// `GET /v1/…?…`
        send: String,
        body: Option<String>,
        refund_key: Option<String>,
        /// Another header than the right one.
        authorization: Option<String>,
        /// The status and a few words of the body; `none` for a connection that was cut.
        answer: String,
    },
}

#[tokio::test]
async fn what_razorpays_own_library_sends_is_still_answered_as_it_was() {
    let fake = shop();
    let recording = golden("razorpay_requests.json");
    let steps: Vec<Value> = serde_json::from_str(&recording).unwrap();
    let client = reqwest::Client::new();
    let mut requests = 0;
    for step in steps {
        // Ids differ from fake to fake in one part.
        let mut text = step.to_string();
        if text.contains("{run}") {
            text = text.replace("{run}", &run_of(&fake));
        }
        match serde_json::from_str(&text).unwrap() {
            Step::Act { act } => {
                perform(&fake, &act);
            }
            Step::Request {
                send: line,
                body,
                refund_key,
                authorization,
                answer,
            } => {
                let (method, address) = line.split_once(' ').expect("a method and an address");
                let url = fake.base().join(address).unwrap();
                let mut request = client.request(method.parse().unwrap(), url);
                request = match authorization {
                    Some(other) => request.header("authorization", other),
                    None => request.basic_auth(KEY_ID, Some(KEY_SECRET)),
                };
                if let Some(key) = refund_key {
                    request = request.header("x-refund-idempotency", key);
                }
                let seen = send(request, body).await;
                assert_eq!(seen, answer, "{text}");
                requests += 1;
            }
        }
    }
    assert!(requests > 70, "only {requests} requests are recorded");
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    Webhook,
    Checkout,
    Link,
}

#[derive(Deserialize)]
struct Signed {
    of: Of,
    secret: String,
    signs: Vec<String>,
    signature: String,
}

#[test]
fn what_razorpays_own_library_finds_right_the_fake_signs_and_the_service_accepts() {
    let vectors: Vec<Signed> = serde_json::from_str(&golden("razorpay_signatures.json")).unwrap();
    assert!(vectors.len() > 20, "only {} are recorded", vectors.len());
    for vector in vectors {
        let Signed {
            secret,
            signs,
            signature,
            ..
        } = vector;
        assert_eq!(sign(&signs.join("|"), &secret), signature, "{signs:?}");
        match vector.of {
            Of::Webhook => {
                let provider = provider_with(KEY_SECRET, &secret);
                assert!(!is_forged(&provider, &signs[0], &signature), "{signs:?}");
                let other = format!("{} ", signs[0]);
                assert!(is_forged(&provider, &other, &signature), "{other:?}");
            }
            Of::Checkout => {
                let provider = provider_with(&secret, WEBHOOK_SECRET);
                let vouches = |signature: &str| {
                    provider.vouches_for_payment(&signs[0], &signs[1], signature) == Some(true)
                };
                assert!(vouches(&signature), "{signs:?}");
                assert!(!vouches(&sign(&signs.join("|"), "other")), "{signs:?}");
            }
            // What a browser says of a payment link is not believed: the link is fetched.
            Of::Link => {}
        }
    }
}

/// A fake with everything that the script buys.
fn shop() -> FakeRazorpay {
    let fake = FakeRazorpay::start();
    fake.add_plan(FakePlan::monthly("plan_pro", 399_900));
    fake
}

/// What happens without a request: `[name, argument…]`.
fn perform(fake: &FakeRazorpay, act: &[Value]) -> Value {
    let word = |i: usize| act[i].as_str().expect("the argument is a text");
    match word(0) {
        "set_now" => {
            let now = act[1]
                .as_i64()
                .and_then(|at| DateTime::from_timestamp(at, 0));
            fake.set_now(now.expect("it is an instant"));
            Value::Null
        }
        "fail" => {
            fake.fail(endpoint(word(1)), fault(&act[2]), 1);
            Value::Null
        }
        "pay_checkout" => bodies(fake.pay_checkout(word(1))),
        "begin" => bodies(fake.begin(word(1))),
        "end_period" => bodies(fake.end_period(word(1))),
        "fail_renewal" => bodies(fake.fail_renewal(word(1))),
        "halt" => bodies(fake.halt(word(1))),
        "pay_overdue" => bodies(fake.pay_overdue(word(1))),
        "expire" => {
            fake.expire(word(1));
            Value::Null
        }
        "dispute_open" => bodies(fake.dispute_open(word(1)).1),
        "dispute_lost" => bodies(fake.dispute_lost(word(1))),
        "pay_link" => bodies(fake.pay_link(word(1))),
        "expire_link" => bodies(fake.expire_link(word(1))),
        "link_signature" => json!(fake.link_signature(word(1))),
        "checkout_signature" => json!(FakeRazorpay::checkout_signature(word(1), word(2))),
        "sign" => {
            let event = FakeEvent {
                id: "evt_sdk".to_owned(),
                body: act[1].clone(),
            };
            let delivery = fake.sign(&event);
            json!({"body": delivery.body, "signature": delivery.signature})
        }
        "verify" => {
            let provider = fake.provider(Timeouts::default(), RetryPolicy::default());
            json!(!is_forged(&provider, word(1), word(2)))
        }
        "vouches" => {
            let provider = fake.provider(Timeouts::default(), RetryPolicy::default());
            json!(provider.vouches_for_payment(word(1), word(2), word(3)))
        }
        unknown => panic!("nobody knows how to {unknown}"),
    }
}

fn bodies(events: Vec<FakeEvent>) -> Value {
    events.into_iter().map(|event| event.body).collect()
}

fn endpoint(name: &str) -> Endpoint {
    match name {
        "plan" => Endpoint::Plan,
        "create_subscription" => Endpoint::CreateSubscription,
        unknown => panic!("no endpoint {unknown}"),
    }
}

fn fault(given: &Value) -> Fault {
    match given.as_u64() {
        Some(429) => Fault::rate_limited(1),
        Some(status) => Fault::status(u16::try_from(status).expect("it is a status")),
        None if given == "drop_after_effect" => Fault::DropAfterEffect,
        None => panic!("no fault {given}"),
    }
}

/// The real provider with these secrets.
fn provider_with(key_secret: &str, webhook_secret: &str) -> Razorpay {
    let settings = RazorpaySettings {
        key_id: KEY_ID.to_owned(),
        key_secret: SecretString::from(key_secret),
        webhook_secrets: vec![SecretString::from(webhook_secret)],
        api_base: "http://127.0.0.1:9".parse().unwrap(),
    };
    let transport = Transport::new(Timeouts::default(), RetryPolicy::default()).unwrap();
    Razorpay::new(settings, transport).unwrap()
}

/// Whether the real provider finds the signature wrong; what the body says is another matter.
fn is_forged(provider: &Razorpay, body: &str, signature: &str) -> bool {
    let header = |name: &str| match name {
        "x-razorpay-signature" => Some(signature.to_owned()),
        "x-razorpay-event-id" => Some("evt_sdk".to_owned()),
        _ => None,
    };
    matches!(
        provider.verify_webhook(&header, body.as_bytes(), Utc::now()),
        Err(plangate::providers::WebhookError::BadSignature(_))
    )
}

/// The part of the ids that no other fake has.
fn run_of(fake: &FakeRazorpay) -> String {
    let customers = fake.customers();
    let id = customers[0]["id"].as_str().expect("it has an id");
    let (_, rest) = id.split_once('_').expect("ids have a prefix");
    rest[..rest.len() - 5].to_owned()
}

/// Sends a recorded request as it was, byte by byte, and sums its answer up as the recording does.
async fn send(mut request: reqwest::RequestBuilder, body: Option<String>) -> String {
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body);
    }
    let Ok(response) = request.send().await else {
        return "none".to_owned();
    };
    let status = response.status().as_u16();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let word = |object: &Value, name: &str| match &object[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let words = match answer.get("error") {
        Some(error) => ["code", "field", "description"].map(|name| word(error, name)),
        None => ["entity", "status", "count"].map(|name| word(&answer, name)),
    };
    let words = words.into_iter().flatten();
    std::iter::once(status.to_string())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
