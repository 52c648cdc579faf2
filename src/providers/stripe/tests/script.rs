//! A Stripe that answers what it was told to, one answer for each request, and writes down what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::{Url, form_urlencoded};

use super::super::{Stripe, StripeSettings};
use crate::providers::transport::{RetryPolicy, Timeouts, Transport};

/// One answer.
pub(super) enum Answer {
    /// A status and a body.
    Of(u16, Value),
    /// The connection dies after the request was read.
    Lost,
}

/// Answers 200.
pub(super) fn ok(body: Value) -> Answer {
    Answer::Of(200, body)
}

/// Answers as Stripe does when it says no.
pub(super) fn no(status: u16, code: &str, message: &str) -> Answer {
    let error =
        serde_json::json!({"type": "invalid_request_error", "code": code, "message": message});
    Answer::Of(status, serde_json::json!({ "error": error }))
}

/// Method, path and parameters; and the idempotency key.
type Asked = (String, Option<String>);

/// A running script.
pub(super) struct Script {
    base: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    /// Answers one request after the other; more requests than answers get none.
    pub(super) async fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<Answer> = answers.into_iter().collect();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                if let Answer::Of(status, body) = answer {
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                }
            }
        });
        Self { base, asked }
    }

    /// The provider, pointed at it.
    pub(super) fn stripe(&self) -> Stripe {
        let settings = StripeSettings {
            secret_key: SecretString::from("sk_test_script"),
            publishable_key: None,
            webhook_secrets: vec![SecretString::from("whsec_script")],
            api_base: self.base.clone(),
            meter_event_name: Some("runs".to_owned()),
        };
        let retry = RetryPolicy {
            attempts: 3,
            base_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(2),
            budget: Duration::from_secs(15),
        };
        Stripe::new(
            settings,
            Transport::new(Timeouts::default(), retry).unwrap(),
        )
        .unwrap()
    }

    /// Method, path and parameters (sorted, decoded) of each request.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(line, _)| line.clone()).collect()
    }

    /// The idempotency key of each request.
    pub(super) fn keys(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(_, key)| key.clone()).collect()
    }
}

async fn read_request(stream: &mut TcpStream) -> Asked {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    assert_eq!(
        header("authorization").as_deref(),
        Some("Bearer sk_test_script")
    );
    assert_eq!(
        header("stripe-version").as_deref(),
        Some("2026-09-30.endive")
    );
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let mut first = head.lines().next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut said: Vec<String> = [query.as_bytes(), &bytes[head_end + 4..]]
        .into_iter()
        .flat_map(form_urlencoded::parse)
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    said.sort();
    let line = format!("{method} {path}{}", said.concat());
    (line, header("idempotency-key"))
}
