//! The service as its callers see it: an address that moves, and answers that may not come.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::app::ADMIN_KEY;

/// Longer than the service may think about anything: statements are given up long before.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Where the callers find the service; after a new start at another address.
pub(super) struct Service {
    base: Mutex<String>,
    client: Client,
}

/// What became of one request.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer came.
    Answered {
        status: u16,
        body: Value,
        /// It carries `Idempotency-Replayed: true`.
        replayed: bool,
        /// It carries `Retry-After`.
        asks_to_retry: bool,
    },
    /// The connection broke first.
    Lost,
    /// Nobody listens: the request was never sent.
    NotReached,
    /// Nothing came in a time in which an answer must come.
    Hung,
}

impl Service {
    pub(super) fn at(base: &str) -> Self {
        let client = Client::builder().timeout(ANSWER_PATIENCE).build();
        Self {
            base: Mutex::new(base.to_owned()),
            client: client.unwrap(),
        }
    }

    pub(super) fn move_to(&self, base: &str) {
        base.clone_into(&mut self.base.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn base(&self) -> String {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        base.clone()
    }

    /// Sends one request with a body; never twice.
    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Reply {
        let url = format!("{}{path}", self.base());
        let mut request = self.client.request(method, url).bearer_auth(ADMIN_KEY);
        if !body.is_null() {
            let content = request.header(CONTENT_TYPE, "application/json");
            request = content.body(body.to_string());
        }
        match request.send().await {
            Ok(response) => {
                let headers = response.headers();
                let replayed = headers.contains_key("idempotency-replayed");
                let asks_to_retry = headers.contains_key("retry-after");
                let status = response.status().as_u16();
                match response.text().await {
                    Ok(text) => Reply::Answered {
                        status,
                        body: serde_json::from_str(&text).unwrap_or_default(),
                        replayed,
                        asks_to_retry,
                    },
                    Err(_) => Reply::Lost,
                }
            }
            Err(error) if error.is_timeout() => Reply::Hung,
            Err(error) if error.is_connect() => Reply::NotReached,
            Err(_) => Reply::Lost,
        }
    }

    /// An answer that must be of this status.
    pub(super) async fn expect(
        &self,
        status: u16,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Value {
        match self.send(method, path, body).await {
            Reply::Answered {
                status: given,
                body,
                ..
            } if given == status => body,
            other => panic!("{path} was to be answered {status}: {other:?}"),
        }
    }

    /// An operator grants the plan.
    pub(super) async fn grant(&self, customer: &str, tier: &str) {
        let body = json!({"customer_id": customer, "plan_tier": tier, "reason": "a load"});
        self.expect(201, Method::POST, "/admin/subscriptions", &body)
            .await;
    }
}
