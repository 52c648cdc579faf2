//! Usage over HTTP.

mod archive;
mod periods;
mod reading;
mod recording;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::steps::usage_of;

fn event(id: &str, quantity: impl Into<Value>) -> Value {
    json!({"id": id, "customer_id": "acme", "feature": "attribution_runs", "quantity": quantity.into()})
}

/// The same event with some members set; null takes a member away.
fn changed(event: &Value, changes: Value) -> Value {
    let mut event = event.clone();
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    for (name, value) in changes {
        let members = event.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    event
}

async fn post(app: &TestApp, body: Value) -> Answer {
    app.post("/usage").json(body).send().await
}

async fn record(app: &TestApp, events: &[Value]) -> Vec<Value> {
    let answer = post(app, json!({"events": events})).await;
    answer.ok()["results"].as_array().unwrap().clone()
}

/// The words of the results, in order.
fn statuses(results: &[Value]) -> Vec<&str> {
    results
        .iter()
        .map(|result| result["status"].as_str().unwrap())
        .collect()
}

async fn runs_used(app: &TestApp, customer: &str) -> Value {
    usage_of(app, customer, "attribution_runs").await["used"].clone()
}
