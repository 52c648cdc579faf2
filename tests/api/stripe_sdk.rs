//! The fake Stripe against Stripe's own library, which `tests/sdk` drives, and what was recorded of that.

use chrono::{DateTime, Utc};
use plangate::providers::transport::{RetryPolicy, Timeouts};
use plangate::providers::{Provider, SignatureFault, WebhookError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake_stripe::{
    Endpoint, FakePrice, FakeStripe, Fault, SECRET_KEY, WEBHOOK_SECRET, sign,
};
use crate::support::sdk::{drive, golden};

#[test]
#[ignore = "needs Python with Stripe's SDK: .ci/run prepares it"]
fn stripes_own_library_finds_nothing_wrong_with_the_fake() {
    let fake = shop();
    let base = fake.base().as_str().trim_end_matches('/');
    let arguments = [base, SECRET_KEY, WEBHOOK_SECRET];
    drive("stripe_sdk.py", &arguments, |act| perform(&fake, act));
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
        idempotency_key: Option<String>,
        /// Another secret key than the right one.
        key: Option<String>,
        /// The status and a few words of the body; `none` for a connection that was cut.
        answer: String,
    },
}

#[tokio::test]
async fn what_stripes_own_library_sends_is_still_answered_as_it_was() {
    let fake = shop();
    let recording = golden("requests.json");
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
                idempotency_key,
                key,
                answer,
            } => {
                let key = key.as_deref().unwrap_or(SECRET_KEY);
                let (method, address) = line.split_once(' ').expect("a method and an address");
                let url = fake.base().join(address).unwrap();
                let request = client
                    .request(method.parse().unwrap(), url)
                    .bearer_auth(key);
                let seen = send(request, body, idempotency_key).await;
                assert_eq!(seen, answer, "{text}");
                requests += 1;
            }
        }
    }
    assert!(requests > 100, "only {requests} requests are recorded");
}

#[derive(Deserialize)]
struct Signed {
    secret: String,
    timestamp: i64,
    body: String,
    header: String,
}

#[test]
fn the_fake_signs_as_stripes_own_library_does() {
    let vectors: Vec<Signed> = serde_json::from_str(&golden("signatures.json")).unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let at = DateTime::from_timestamp(vector.timestamp, 0).unwrap();
        let delivery = sign(vector.body, &vector.secret, at);
        assert_eq!(delivery.signature, vector.header, "{}", delivery.body);
    }
}

/// A fake with everything that the script buys.
fn shop() -> FakeStripe {
    let fake = FakeStripe::start();
    fake.add_price(FakePrice::monthly("price_pro", 4900));
    fake.add_price(FakePrice::monthly("price_scale", 19_900));
    fake.add_price(FakePrice::metered("price_overage", 1));
    fake.add_price(FakePrice {
        active: false,
        ..FakePrice::monthly("price_former", 900)
    });
    fake
}

/// What happens without a request: `[name, argument…]`.
fn perform(fake: &FakeStripe, act: &[Value]) -> Value {
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
        "decline_payments" => {
            fake.decline_payments(act[1].as_bool().expect("it is yes or no"));
            Value::Null
        }
        "complete_checkout" => json!(fake.complete_checkout(word(1))),
        "expire_pending_update" => json!(fake.expire_pending_update(word(1))),
        "pause" => json!(fake.update_subscription(word(1), |s| s["status"] = json!("paused"))),
        "fail_renewal" => json!(fake.fail_renewal(word(1))),
        "pay_overdue" => json!(fake.pay_overdue(word(1))),
        "renew" => json!(fake.renew_subscription(word(1))),
        "fail_refund" => json!(fake.fail_refund(word(1))),
        "open_dispute" => json!(fake.open_dispute(word(1)).1),
        "close_dispute" => json!(fake.close_dispute(word(1), word(2))),
        "meter_error" => fake.meter_error(&[word(1)], word(2)),
        "charge_of" => json!(fake.charge_of(word(1))),
        "sign" => {
            let delivery = fake.sign(&act[1], Utc::now());
            json!({"body": delivery.body, "signature": delivery.signature})
        }
        "verify" => json!(verify(fake, word(1), word(2))),
        unknown => panic!("nobody knows how to {unknown}"),
    }
}

fn endpoint(name: &str) -> Endpoint {
    match name {
        "charges" => Endpoint::Charges,
        "create_customer" => Endpoint::CreateCustomer,
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

/// What the real provider makes of a delivery.
fn verify(fake: &FakeStripe, body: &str, signature: &str) -> &'static str {
    let provider = fake.provider(Timeouts::default(), RetryPolicy::default());
    let header = |name: &str| (name == "stripe-signature").then(|| signature.to_owned());
    match provider.verify_webhook(&header, body.as_bytes(), Utc::now()) {
        Ok(_) => "accepted",
        Err(WebhookError::BadSignature(SignatureFault::NoMatch)) => "no match",
        Err(WebhookError::BadSignature(SignatureFault::OutsideTolerance)) => "outside tolerance",
        Err(other) => panic!("{other}"),
    }
}

/// The part of the ids that no other fake has.
fn run_of(fake: &FakeStripe) -> String {
    let customers = fake.customers();
    let id = customers[0]["id"].as_str().expect("it has an id");
    let (_, rest) = id.split_once('_').expect("ids have a prefix");
    rest[..rest.len() - 5].to_owned()
}

/// Sends a recorded request as it was, byte by byte, and sums its answer up as the recording does.
async fn send(
    mut request: reqwest::RequestBuilder,
    body: Option<String>,
    idempotency_key: Option<String>,
) -> String {
    if let Some(body) = body {
        request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
    }
    if let Some(key) = idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let Ok(response) = request.send().await else {
        return "none".to_owned();
    };
    let status = response.status().as_u16();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let word = |object: &Value, name: &str| object[name].as_str().map(str::to_owned);
    let words = match answer.get("error") {
        Some(error) => ["type", "code", "param"].map(|name| word(error, name)),
        None => [
            word(&answer, "object"),
            answer["deleted"].as_bool().map(|_| "deleted".to_owned()),
            word(&answer, "status"),
        ],
    };
    let words = words.into_iter().flatten();
    std::iter::once(status.to_string())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
