//! What operators do, what is kept of it, and what they configure.

mod backfill;
mod grants;
mod keys;
mod settings;
mod usage;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::client::Answer;

async fn check(app: &TestApp, customer: &str, question: Value) -> Value {
    let mut body = question;
    body["customer_id"] = json!(customer);
    app.post("/entitlements/check").json(body).send().await.ok()
}

async fn try_grant(app: &TestApp, body: Value) -> Answer {
    app.post("/admin/subscriptions").json(body).send().await
}

async fn put_override(app: &TestApp, customer: &str, feature: &str, body: Value) -> Answer {
    let path = format!("/admin/customers/{customer}/overrides/{feature}");
    app.put(&path).json(body).send().await
}
