//! The fake against what is documented of Razorpay: it must refuse what Razorpay refuses, or tests that pass here prove
//! nothing about the real one.

mod delivery;
mod lifecycle;
mod money;
mod selling;

use serde_json::{Value, json};

use crate::fake_razorpay::{FakeEvent, FakePlan, FakeRazorpay, KEY_ID, KEY_SECRET};

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    /// The description of a refusal, which must be one.
    fn refusal(&self) -> &str {
        let error = &self.body["error"];
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(error["code"], "BAD_REQUEST_ERROR");
        for name in ["source", "step", "reason"] {
            assert!(error[name].is_string(), "{error}");
        }
        assert!(error["metadata"].is_object(), "{error}");
        error["description"].as_str().unwrap()
    }

    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    fn id(self) -> String {
        self.ok()["id"].as_str().unwrap().to_owned()
    }
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer {
        status,
        headers,
        body: serde_json::from_str(&response.text().await.unwrap()).unwrap(),
    }
}

fn post_request(razorpay: &FakeRazorpay, path: &str, body: &Value) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(razorpay.base().join(path).unwrap())
        .basic_auth(KEY_ID, Some(KEY_SECRET))
        .header("content-type", "application/json")
        .body(body.to_string())
}

async fn post(razorpay: &FakeRazorpay, path: &str, body: Value) -> Answer {
    send(post_request(razorpay, path, &body)).await
}

async fn get(razorpay: &FakeRazorpay, path: &str) -> Answer {
    let url = razorpay.base().join(path).unwrap();
    let request = reqwest::Client::new().get(url);
    send(request.basic_auth(KEY_ID, Some(KEY_SECRET))).await
}

/// A fake with a plan, in the middle of January.
fn ready() -> FakeRazorpay {
    let razorpay = FakeRazorpay::start();
    razorpay.set_now("2026-01-31T10:00:00Z".parse().unwrap());
    razorpay.add_plan(FakePlan::monthly("plan_pro", 399_900));
    razorpay
}

async fn subscribe(razorpay: &FakeRazorpay, more: Value) -> String {
    let mut body = json!({"plan_id": "plan_pro", "total_count": 120});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    post(razorpay, "/v1/subscriptions", body).await.id()
}

fn kinds(events: &[FakeEvent]) -> Vec<&str> {
    events.iter().map(FakeEvent::kind).collect()
}
