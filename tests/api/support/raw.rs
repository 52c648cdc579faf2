//! Requests that no client library would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::app::TestApp;

/// What came back over the bare connection.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Sends these bytes as they are and reads until the service closes the connection.
pub(crate) fn send(app: &TestApp, request: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).unwrap();
    // Ends a test that would hang; no answer takes this long.
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // The service may have answered and closed before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    RawAnswer {
        status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// A request without a body, with this target and these further header lines.
pub(crate) fn get(app: &TestApp, target: &str, headers: &str) -> RawAnswer {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    send(app, request.as_bytes())
}
