//! Plangate is killed at every step of a batch, while callers wait.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plangate::config::Config;
use plangate::meter::{AtStep, Options, Step};
use plangate::server::{Application, ServeOptions};
use plangate::store::clock::SystemClock;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{RUNS, STEPS, assert_derivable, meter, recorded, run_of};
use crate::support::app::ADMIN_KEY;
use crate::support::cluster::fresh_database;

/// Tell [`serves_until_it_kills_itself`] where its data is, at which step it dies, and where to say that it listens.
const DATABASE: &str = "PLANGATE_TEST_KILLED_DATABASE";
const STEP: &str = "PLANGATE_TEST_KILLED_AT";
const ADDRESS: &str = "PLANGATE_TEST_KILLED_ADDRESS";

/// How many batches are spared.
const SPARED: usize = 6;
const CALLERS: usize = 12;

/// Kills this process at the step of the first batch after those that are spared.
fn suicide(at: Step) -> AtStep {
    let passed = AtomicUsize::new(0);
    Arc::new(move |step| {
        if step == at && passed.fetch_add(1, Ordering::SeqCst) >= SPARED {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
    })
}

#[actix_web::test]
#[ignore = "the process that the test below kills; does nothing by itself"]
async fn serves_until_it_kills_itself() {
    let Ok(url) = std::env::var(DATABASE) else {
        return;
    };
    let step = std::env::var(STEP).unwrap();
    let at = STEPS.into_iter().find(|at| format!("{at:?}") == step);
    let options = Options {
        at_step: Some(suicide(at.unwrap())),
        ..Options::default()
    };
    let variables = HashMap::from([
        ("DATABASE_URL", url.as_str()),
        ("PLANGATE_ADMIN_KEY", ADMIN_KEY),
        (
            "PLANGATE_TOKEN_SECRET",
            "the-token-secret-of-the-tests-0123456789",
        ),
    ]);
    let config = Config::load(|name| variables.get(name).map(|&value| value.to_owned())).unwrap();
    let secret = SecretString::from(url.as_str());
    let application = Application::build_with(&config, &secret, Arc::new(SystemClock), options)
        .await
        .unwrap();
    let listening = application
        .listen(ServeOptions {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            workers: 1,
            shutdown_timeout: Duration::from_secs(1),
        })
        .unwrap();
    let address = PathBuf::from(std::env::var_os(ADDRESS).unwrap());
    let whole = address.with_extension("part");
    std::fs::write(&whole, listening.addresses[0].to_string()).unwrap();
    std::fs::rename(&whole, &address).unwrap();
    // Nobody may be left to kill it.
    let _ = actix_web::rt::time::timeout(Duration::from_mins(2), listening.server).await;
}

fn spawn(url: &str, step: Step, address: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("meter::killed::serves_until_it_kills_itself")
        .env(DATABASE, url)
        .env(STEP, format!("{step:?}"))
        .env(ADDRESS, address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the process says where it listens.
async fn address_of(child: &mut Child, file: &Path) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Ok(address) = std::fs::read_to_string(file) {
            return address;
        }
        assert!(child.try_wait().unwrap().is_none(), "it does not start");
        assert!(Instant::now() < deadline, "it does not listen in time");
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A key that was used, and what was answered, if anything was.
type Call = (String, String, Option<Value>);

/// Consumes under one key after another until the service is gone.
async fn call_until_it_dies(client: &reqwest::Client, base: &str, caller: usize) -> Vec<Call> {
    let customer = format!("customer-{}", caller % 3);
    let mut calls = Vec::new();
    for number in 0.. {
        let key = format!("{caller}-{number}");
        let body = json!({"customer_id": customer, "feature": RUNS, "idempotency_key": key});
        let sent = client
            .post(format!("{base}/entitlements/consume"))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await;
        let answer = match sent {
            Ok(response) if response.status() == 200 => {
                let text = response.text().await;
                text.ok().map(|text| serde_json::from_str(&text).unwrap())
            }
            // A customer's limit is reached.
            Ok(response) if response.status() == 402 => return calls,
            Ok(response) => panic!("{response:?}"),
            Err(_) => None,
        };
        let dead = answer.is_none();
        calls.push((customer.clone(), key, answer));
        if dead {
            break;
        }
    }
    calls
}

#[actix_web::test]
async fn a_service_killed_at_any_step_keeps_what_it_acknowledged_and_doubles_nothing() {
    let files = tempfile::tempdir().unwrap();
    for step in STEPS {
        let database = fresh_database();
        let file = files.path().join(format!("{step:?}"));
        let mut child = spawn(&database.url, step, &file);
        let base = format!("http://{}", address_of(&mut child, &file).await);
        let client = reqwest::Client::new();
        let callers = (0..CALLERS).map(|caller| call_until_it_dies(&client, &base, caller));
        let calls: Vec<Call> = join_all(callers).await.into_iter().flatten().collect();
        let status = child.wait().unwrap();
        assert!(!status.success(), "{step:?}: it was not killed");

        let mut conn = database.connect();
        assert_derivable(&mut conn);
        let acknowledged = calls.iter().filter(|(_, _, answer)| answer.is_some());
        assert!(acknowledged.count() > 0, "{step:?}");
        let cut_off = calls.iter().filter(|(_, _, answer)| answer.is_none());
        assert!(cut_off.count() > 0, "{step:?}: nobody waited");
        let meter = meter(&mut conn, &database.url, Options::default());
        for (customer, key, answer) in &calls {
            let before = recorded(&mut conn, customer, Some(key));
            match answer {
                Some(_) => assert_eq!(before, 1, "{step:?}: {key} was acknowledged"),
                None => assert!(before <= 1, "{step:?}: {key} is there {before} times"),
            }
            let again = meter.consume(run_of(customer, Some(key))).await.unwrap();
            assert_eq!(again.replayed, before == 1, "{step:?}: {key}");
            if let Some(first) = answer {
                assert_eq!(serde_json::to_value(&again.decision).unwrap(), *first);
            }
            assert_eq!(recorded(&mut conn, customer, Some(key)), 1);
        }
        assert_derivable(&mut conn);
    }
}
