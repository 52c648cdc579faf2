//! How fast webhooks are acknowledged and applied: `cargo bench --bench webhooks [-- --per-second 200 --seconds 20 --provider-ms 200]`.
//!
//! The release binary with a durable PostgreSQL of its own, a Stripe on loopback that is asked for each subscription, and deliveries on
//! a schedule that does not wait for answers: a latency counts from the moment at which the delivery was due. Beside it, in the same
//! run and at the same rate, what the machine needs for a request that stores nothing.

// The tests' Stripe fails loudly, as tests may, and they use all of it.
#[path = "../tests/api/fake_stripe/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod fake_stripe;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use fake_stripe::{Delivery, Endpoint, FakePrice, FakeStripe, Fault, SECRET_KEY, WEBHOOK_SECRET};

const ADMIN_KEY: &str = "the-admin-key-of-the-benchmark-0123456789";
const SUBSCRIPTIONS: usize = 200;
/// How long the workers may take after the last delivery.
const DRAIN: Duration = Duration::from_mins(1);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let (per_second, seconds, provider_ms) = arguments()?;
    let scratch = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let stripe = FakeStripe::start();
    stripe.add_price(FakePrice::monthly("price_pro", 4900));
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port();
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plangate"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PLANGATE_BIND", format!("127.0.0.1:{port}"))
            .env("PLANGATE_DATA_DIR", scratch.path())
            .env("PLANGATE_ADMIN_KEY", ADMIN_KEY)
            .env("PLANGATE_SUCCESS_URL", "http://localhost:3000/paid")
            .env("PLANGATE_CANCEL_URL", "http://localhost:3000/plans")
            .env(
                "STRIPE_API_BASE",
                stripe.base().origin().ascii_serialization(),
            )
            .env("STRIPE_SECRET_KEY", SECRET_KEY)
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .env("STRIPE_PRICE_ID_PRO", "price_pro")
            .env("RUST_LOG", "error");
        command
    };
    let service = Service(
        program(&["serve"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let base = format!("http://127.0.0.1:{port}");
    runtime.block_on(ready(&base))?;
    let subscriptions = runtime.block_on(sell(&base, &stripe))?;
    let url = String::from_utf8(program(&["database-url"]).output()?.stdout)?;
    let mut database = PgConnection::establish(url.trim())?;
    wait_until_applied(&mut database)?;
    let stored: Counted =
        diesel::sql_query("SELECT count(*) AS n FROM webhooks").get_result(&mut database)?;

    let total = per_second * seconds;
    let deliveries = deliveries(&stripe, &subscriptions, total)?;
    let slow = Fault::StallAfterEffect(Duration::from_millis(u64::from(provider_ms)));
    stripe.fail(Endpoint::Subscription, slow, usize::try_from(total)?);
    let began = Utc::now();
    let client = reqwest::Client::new();
    let floor = runtime.block_on(schedule(per_second, total, |_| {
        client.get(format!("{base}/livez"))
    }))?;
    let acknowledged = runtime.block_on(schedule(per_second, total, |number| {
        let (signature, body) = deliveries
            .get(number)
            .map_or_else(Default::default, |delivery| {
                (delivery.signature.clone(), delivery.body.clone())
            });
        client
            .post(format!("{base}/webhook/stripe"))
            .header("stripe-signature", signature)
            .body(body)
    }))?;
    wait_until_applied(&mut database)?;
    let after: Counted =
        diesel::sql_query("SELECT count(*) AS n FROM webhooks").get_result(&mut database)?;
    if after.n - stored.n != i64::from(total) {
        return Err(format!(
            "{total} were acknowledged, {} are stored",
            after.n - stored.n
        )
        .into());
    }
    let applied = applied_since(&mut database, began)?;
    drop(service);

    let heading = format!(
        "{total} webhooks about {SUBSCRIPTIONS} subscriptions, {per_second} a second, on a schedule; Stripe answers after {provider_ms} ms; milliseconds"
    );
    writeln!(
        std::io::stdout(),
        "{heading}\n\n| | p50 | p99 | longest |\n|---|---|---|---|\n\
         | acknowledged after it was due | {} |\n\
         | a request that stores nothing, at the same rate | {} |\n\
         | applied after it was stored | {:.1} | {:.1} | {:.1} |",
        shown(&acknowledged),
        shown(&floor),
        applied.p50,
        applied.p99,
        applied.longest
    )?;
    Ok(())
}

/// Something changes of one subscription after another, and each time Stripe tells.
fn deliveries(stripe: &FakeStripe, subscriptions: &[String], total: u32) -> Outcome<Vec<Delivery>> {
    (0..total)
        .map(|number| {
            let turn = usize::try_from(number)? % subscriptions.len();
            let id = subscriptions.get(turn).ok_or("no subscription")?;
            let event = stripe.update_subscription(id, |s| s["description"] = json!(number));
            Ok(stripe.sign(&event, Utc::now()))
        })
        .collect()
}

fn arguments() -> Outcome<(u32, u32, u32)> {
    let (mut per_second, mut seconds, mut provider_ms) = (200, 20, 200);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let slot = match argument.as_str() {
            "--per-second" => &mut per_second,
            "--seconds" => &mut seconds,
            "--provider-ms" => &mut provider_ms,
            // Cargo's own.
            "--bench" => continue,
            other => return Err(format!("unknown argument {other}").into()),
        };
        *slot = given.next().ok_or("a number is missing")?.parse()?;
    }
    Ok((per_second, seconds, provider_ms))
}

/// The service, ended in order when this is dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // Fails where it ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

async fn ready(base: &str) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline {
        if let Ok(answer) = reqwest::get(format!("{base}/readyz")).await
            && answer.status().is_success()
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the service does not get ready".into())
}

/// Sells a subscription to each of the customers. Returns the subscriptions' ids.
async fn sell(base: &str, stripe: &FakeStripe) -> Outcome<Vec<String>> {
    let client = reqwest::Client::new();
    let mut subscriptions = Vec::new();
    for number in 0..SUBSCRIPTIONS {
        let order = json!({"customer_id": format!("customer-{number}"), "plan_tier": "pro"});
        let answer = client
            .post(format!("{base}/billing/create-checkout"))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", "application/json")
            .body(order.to_string())
            .send()
            .await?
            .error_for_status()?;
        let checkout: Value = serde_json::from_str(&answer.text().await?)?;
        let session = checkout
            .get("session_id")
            .and_then(Value::as_str)
            .ok_or("no session")?;
        let events = stripe.complete_checkout(session);
        let url = format!("{base}/webhook/stripe");
        stripe.deliver(&url, &events, Utc::now()).await;
        let id = events
            .first()
            .and_then(|event| event.pointer("/data/object/id"));
        subscriptions.push(
            id.and_then(Value::as_str)
                .ok_or("no subscription")?
                .to_owned(),
        );
    }
    Ok(subscriptions)
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn applied_since(database: &mut PgConnection, began: DateTime<Utc>) -> Outcome<Applied> {
    let applied = diesel::sql_query(
        "SELECT 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - received_at)::float8) AS p50, \
                1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - received_at)::float8) AS p99, \
                1000 * max(extract(epoch FROM processed_at - received_at)::float8) AS longest \
         FROM webhooks WHERE status = 'processed' AND received_at >= $1",
    )
    .bind::<diesel::sql_types::Timestamptz, _>(began)
    .get_result(database)?;
    Ok(applied)
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Double)]
    p50: f64,
    #[diesel(sql_type = Double)]
    p99: f64,
    #[diesel(sql_type = Double)]
    longest: f64,
}

fn wait_until_applied(database: &mut PgConnection) -> Outcome<()> {
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline {
        let left: Counted = diesel::sql_query(
            "SELECT count(*) AS n FROM webhooks WHERE status NOT IN ('processed', 'ignored')",
        )
        .get_result(database)?;
        if left.n == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("not every webhook was applied".into())
}

/// Sends each request when it is due. Returns the latencies in microseconds, sorted; anything but a success is an error.
async fn schedule(
    per_second: u32,
    total: u32,
    request: impl Fn(usize) -> reqwest::RequestBuilder,
) -> Outcome<Vec<u128>> {
    let start = tokio::time::Instant::now() + Duration::from_millis(200);
    let interval = Duration::from_secs(1) / per_second;
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..total {
        let due = start + interval * number;
        let request = request(usize::try_from(number)?);
        under_way.spawn(async move {
            tokio::time::sleep_until(due).await;
            let answer = request.send().await?.error_for_status()?;
            answer.bytes().await?;
            Ok::<_, reqwest::Error>(due.elapsed().as_micros())
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = under_way.join_next().await {
        latencies.push(ended??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn shown(sorted: &[u128]) -> String {
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    };
    let ms = |micros: u128| format!("{}.{}", micros / 1000, micros % 1000 / 100);
    format!("{} | {} | {}", ms(at(50)), ms(at(99)), ms(at(100)))
}
