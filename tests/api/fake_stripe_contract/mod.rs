//! The fake against what is documented of Stripe: it must refuse what Stripe refuses, or tests that pass here prove
//! nothing about the real one.

mod checkout;
mod delivery;
mod endings;
mod history;
mod meters;
mod money;
mod periods;
mod plan_changes;
mod schedules;

use serde_json::Value;

use crate::fake_stripe::{FakePrice, FakeStripe, SECRET_KEY};

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    fn error(&self) -> (u16, &str, &str) {
        let word = |name: &str| self.body["error"][name].as_str().unwrap_or_default();
        (self.status, word("code"), word("param"))
    }

    fn id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["id"].as_str().unwrap().to_owned()
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

async fn post(
    stripe: &FakeStripe,
    path: &str,
    params: &[(&str, &str)],
    key: Option<&str>,
) -> Answer {
    let body = serde_urlencoded::to_string(params).unwrap();
    let mut request = reqwest::Client::new()
        .post(stripe.base().join(path).unwrap())
        .bearer_auth(SECRET_KEY)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    send(request).await
}

async fn get(stripe: &FakeStripe, path: &str) -> Answer {
    send(
        reqwest::Client::new()
            .get(stripe.base().join(path).unwrap())
            .bearer_auth(SECRET_KEY),
    )
    .await
}

/// A fake with two prices and a customer.
async fn ready() -> (FakeStripe, String) {
    let stripe = FakeStripe::start();
    stripe.add_price(FakePrice::monthly("price_flat", 4900));
    stripe.add_price(FakePrice::metered("price_over", 1));
    let customer = post(&stripe, "/v1/customers", &[("email", "a@b.example")], None)
        .await
        .id();
    (stripe, customer)
}

fn session_params(customer: &str) -> Vec<(&str, &str)> {
    vec![
        ("mode", "subscription"),
        ("customer", customer),
        ("success_url", "https://app.example/ok"),
        ("cancel_url", "https://app.example/no"),
        ("client_reference_id", "acme"),
        ("metadata[customer_id]", "acme"),
        ("subscription_data[metadata][customer_id]", "acme"),
        ("line_items[0][price]", "price_flat"),
        ("line_items[0][quantity]", "1"),
        ("line_items[1][price]", "price_over"),
    ]
}

async fn delete(stripe: &FakeStripe, path: &str) -> Answer {
    let url = stripe.base().join(path).unwrap();
    send(reqwest::Client::new().delete(url).bearer_auth(SECRET_KEY)).await
}

/// A fake whose customer has bought the flat price. Returns the customer and the subscription.
async fn sold() -> (FakeStripe, String, String) {
    let (stripe, customer) = ready().await;
    stripe.add_price(FakePrice::monthly("price_more", 9900));
    let params = &session_params(&customer)[..9];
    let session = post(&stripe, "/v1/checkout/sessions", params, None).await;
    let events = stripe.complete_checkout(&session.id());
    let id = events[0]["data"]["object"]["id"].as_str().unwrap();
    (stripe, customer, id.to_owned())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

/// The first item of the subscription.
fn item(stripe: &FakeStripe, subscription: &str) -> String {
    let item = &stripe.subscription(subscription)["items"]["data"][0];
    item["id"].as_str().unwrap().to_owned()
}
