//! A provider that answers what it was told to, one answer for each request, and writes down what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::{Url, form_urlencoded};

use super::transport::{RetryPolicy, Timeouts, Transport};

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

struct Asked {
    /// Method, path and parameters; or the body as it is, where that is JSON.
    line: String,
    /// By their names in lower case.
    headers: HashMap<String, String>,
}

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

    /// Where it listens.
    pub(super) fn base(&self) -> Url {
        self.base.clone()
    }

    /// One that does not wait long before it asks again.
    pub(super) fn transport() -> Transport {
        let retry = RetryPolicy {
            attempts: 3,
            base_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(2),
            budget: Duration::from_secs(15),
        };
        Transport::new(Timeouts::default(), retry).unwrap()
    }

    /// Method, path and parameters (sorted, decoded) of each request.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|request| request.line.clone()).collect()
    }

    /// A header of each request.
    pub(super) fn headers(&self, name: &str) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|request| request.headers.get(name).cloned())
            .collect()
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
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: HashMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + 4 + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = &bytes[head_end + 4..];
    let is_json = headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/json");
    let (form, json) = if is_json {
        (&b""[..], body)
    } else {
        (body, &b""[..])
    };
    let mut said: Vec<String> = [query.as_bytes(), form]
        .into_iter()
        .flat_map(form_urlencoded::parse)
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    said.sort();
    let mut line = format!("{method} {path}{}", said.concat());
    if !json.is_empty() {
        line = format!("{line} {}", std::str::from_utf8(json).unwrap());
    }
    Asked { line, headers }
}
