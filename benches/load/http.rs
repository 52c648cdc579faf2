//! Just enough of HTTP/1.1 to warm a server up and to load it on a schedule: kept-alive connections, bodies with a length.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 1 << 20;

/// Makes requests, each with the next API key and, where one is due, an idempotency key of its own.
#[derive(Debug)]
pub(crate) struct Caller {
    keys: Vec<String>,
    token: String,
    made: AtomicU64,
}

impl Caller {
    /// `token` makes the idempotency keys this caller's own.
    pub(crate) fn new(keys: &[String], token: &str) -> Outcome<Self> {
        if keys.is_empty() {
            return Err("there are no API keys".into());
        }
        Ok(Self {
            keys: keys.to_vec(),
            token: token.to_owned(),
            made: AtomicU64::new(0),
        })
    }

    /// A check of one customer.
    pub(crate) fn check(&self, customer: u32) -> Vec<u8> {
        self.post(
            self.turn(),
            "/entitlements/check",
            &format!(
                r#"{{"customer_id":"c{customer:07}","feature":"attribution_runs","quantity":1}}"#
            ),
        )
    }

    /// A consume of `quantity`.
    pub(crate) fn consume(&self, customer: u32, quantity: u32) -> Vec<u8> {
        let (token, turn) = (&self.token, self.turn());
        self.post(
            turn,
            "/entitlements/consume",
            &format!(
                r#"{{"customer_id":"c{customer:07}","feature":"attribution_runs","quantity":{quantity},"idempotency_key":"{token}-{turn:013}"}}"#
            ),
        )
    }

    /// A reservation of one unit.
    pub(crate) fn reserve(&self, customer: u32) -> Vec<u8> {
        self.post(
            self.turn(),
            "/reservations",
            &format!(
                r#"{{"customer_id":"c{customer:07}","feature":"attribution_runs","quantity":1}}"#
            ),
        )
    }

    fn turn(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn post(&self, turn: u64, path: &str, body: &str) -> Vec<u8> {
        let count = self.keys.len() as u64;
        let key = usize::try_from(turn % count)
            .ok()
            .and_then(|index| self.keys.get(index))
            .map_or("", String::as_str);
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// One kept-alive connection, one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects over loopback.
    pub(crate) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends a request and takes its answer, for 30 s at most.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        match tokio::time::timeout(ANSWER_PATIENCE, self.converse(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn converse(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = whole_answer(&self.buffer)? {
                return Ok(answer);
            }
            if self.buffer.len() > LARGEST_ANSWER {
                return Err(malformed("an answer without an end"));
            }
        }
    }
}

/// The answer in these bytes; `None` while some of it is missing.
fn whole_answer(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())
        .map_err(|_| malformed("a head that is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| malformed("no status"))?;
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| malformed("no length"))?;
    let body = bytes.get(end + 4..).unwrap_or_default();
    Ok(body.get(..length).map(|body| Answer {
        status,
        body: body.to_vec(),
    }))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One request on a connection of its own.
pub(crate) fn ask_once(port: u16, request: &[u8]) -> Outcome<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async { Connection::open(port).await?.exchange(request).await })?)
}
