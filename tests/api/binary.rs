//! The program itself, as an operator runs it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plangate::domain::api_key::{ApiKey, KeyMode};

use crate::generated::{REGENERATE, committed};
use crate::support::cluster::fresh_database;
use crate::support::scratch::Scratch;

/// What the log says before the address.
const LISTENS: &str = "Plangate listens on ";

const PATIENCE: Duration = Duration::from_mins(1);

/// The program with nothing of the tests' own environment but the search path.
fn plangate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plangate"));
    command
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null());
    command
}

fn on(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = plangate(arguments);
    command
        .env("PLANGATE_DATA_DIR", data_dir)
        .env("PLANGATE_BIND", "127.0.0.1:0");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[track_caller]
fn fail(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

/// A running `plangate serve`; killed when it is dropped.
struct Serving {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let mut serving = Self {
            child,
            stdout,
            stderr,
        };
        serving.wait_for(|serving| text(&serving.stderr).contains(LISTENS));
        serving
    }

    /// The address as the log names it.
    fn base(&self) -> String {
        let log = text(&self.stderr);
        let address = log.split(LISTENS).nth(1).unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_for(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {}",
                text(&self.stderr)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().unwrap()
    }

    fn status(&self, path: &str) -> u16 {
        let url = format!("{}{path}", self.base());
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                reqwest::get(url)
                    .await
                    .map_or(0, |answer| answer.status().as_u16())
            })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let collected = Arc::new(Mutex::new(String::new()));
    let filled = Arc::clone(&collected);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = filled.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&line);
            text.push('\n');
        }
    });
    collected
}

fn text(collected: &Mutex<String>) -> String {
    collected
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

fn postmaster(data_dir: &Path) -> i32 {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn it_serves_without_any_configuration_and_cleans_up_behind_itself() {
    let scratch = Scratch::new();
    let data_dir = scratch.path();
    let mut serving = Serving::start(on(data_dir, &[]));
    assert_eq!(serving.status("/readyz"), 200);

    let key_file = data_dir.join("admin.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    let key = key.trim();
    for secret in ["admin.key", "token.secret"] {
        let metadata = std::fs::metadata(data_dir.join(secret)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{secret}");
    }
    serving.wait_for(|serving| text(&serving.stdout).contains("shown this once"));
    assert_eq!(text(&serving.stdout).matches(key).count(), 1);
    assert!(!text(&serving.stderr).contains(key), "the log has the key");

    let url = succeed(on(data_dir, &["database-url"]));
    PgConnection::establish(url.trim()).unwrap();
    let made = succeed(on(
        data_dir,
        &[
            "keys",
            "create",
            "--name",
            "backend",
            "--scopes",
            "entitlements,read",
        ],
    ));
    assert_eq!(ApiKey::parse(made.trim()).unwrap().mode(), KeyMode::Test);
    assert_eq!(
        succeed(on(data_dir, &["verify"])),
        "0 counters equal their ledger\n"
    );
    assert_eq!(
        succeed(on(data_dir, &["migrate"])),
        "the schema is up to date\n"
    );

    let second = fail(on(data_dir, &["serve"]), 1);
    assert!(second.contains("another Plangate (pid "), "{second}");

    let server = postmaster(data_dir);
    let log = Arc::clone(&serving.stderr);
    assert_eq!(
        serving.end(Signal::SIGTERM).code(),
        Some(0),
        "{}",
        text(&log)
    );
    assert!(!lives(server));
    let gone = fail(on(data_dir, &["database-url"]), 1);
    assert!(gone.contains("no embedded PostgreSQL runs"), "{gone}");

    // A command without a running service starts the cluster for itself.
    assert_eq!(
        succeed(on(data_dir, &["verify"])),
        "0 counters equal their ledger\n"
    );

    let again = Serving::start(on(data_dir, &["serve"]));
    assert_eq!(text(&again.stdout), "");
    assert!(
        text(&again.stderr).contains("the admin key is in"),
        "{}",
        text(&again.stderr)
    );
    assert!(!text(&again.stderr).contains(key));
    assert_eq!(again.end(Signal::SIGINT).code(), Some(0));
}

#[test]
fn it_outlives_the_death_of_its_database_and_its_own() {
    let scratch = Scratch::new();
    let data_dir = scratch.path();
    let mut serving = Serving::start(on(data_dir, &[]));
    let first = postmaster(data_dir);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    serving.wait_for(|serving| text(&serving.stderr).contains("the embedded PostgreSQL is back"));
    serving.wait_for(|serving| serving.status("/readyz") == 200);
    let second = postmaster(data_dir);
    assert_ne!(first, second);

    serving.end(Signal::SIGKILL);
    assert!(
        lives(second),
        "an orphan is what the next start must cope with"
    );
    let serving = Serving::start(on(data_dir, &[]));
    assert_eq!(serving.status("/readyz"), 200);
    assert_eq!(serving.end(Signal::SIGTERM).code(), Some(0));
}

#[test]
fn a_bad_configuration_is_refused_with_all_of_its_faults_and_no_secret() {
    let mut command = plangate(&["serve"]);
    command
        .env("PLANGATE_ENV", "production")
        .env("PLANGATE_BIND", "nowhere")
        .env("DATABASE_URL", "mysql://user:hunter2@db/x")
        .env("PLANGATE_ADMIN_KEY", "too-short-hunter3")
        .env("STRIPE_SECRET_KEY", "pk_live_hunter4");
    let message = fail(command, 2);
    for name in [
        "PLANGATE_BIND",
        "DATABASE_URL",
        "PLANGATE_ADMIN_KEY",
        "PLANGATE_TOKEN_SECRET",
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
    ] {
        assert!(
            message.contains(&format!("\n  {name}: ")),
            "{name}\n{message}"
        );
    }
    assert!(!message.contains("hunter"), "{message}");
    fail(plangate(&["no-such-command"]), 2);
}

#[test]
fn a_taken_address_and_a_refusing_database_are_named() {
    let database = fresh_database();
    let scratch = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = on(scratch.path(), &[]);
    command
        .env("DATABASE_URL", &database.url)
        .env("PLANGATE_BIND", &address);
    let message = fail(command, 1);
    assert!(
        message.contains(&format!("cannot listen on {address}")),
        "{message}"
    );
    assert!(
        message.contains("another program listens there"),
        "{message}"
    );

    let mut command = on(scratch.path(), &[]);
    command.env("DATABASE_URL", format!("{}_missing", database.url));
    let message = fail(command, 1);
    assert!(message.contains("does not exist"), "{message}");
}

#[test]
fn production_refuses_a_database_that_forgets() {
    // The tests' cluster runs with fsync=off.
    let database = fresh_database();
    let mut command = plangate(&[]);
    command
        .env("PLANGATE_ENV", "production")
        .env("PLANGATE_BIND", "127.0.0.1:0")
        .env("DATABASE_URL", &database.url)
        .env("PLANGATE_TOKEN_SECRET", "0123456789".repeat(4));
    let message = fail(command, 1);
    assert!(message.contains("fsync=off"), "{message}");
}

#[test]
fn verify_fails_where_a_counter_is_not_its_ledger() {
    let database = fresh_database();
    let mut conn = database.connect();
    for statement in [
        "INSERT INTO customers (customer_id, created_at, updated_at) VALUES ('acme', now(), now())",
        "INSERT INTO usage_metrics (customer_id, metric_name, period_start, period_end, value, warning_level, updated_at) \
         VALUES ('acme', 'attribution_runs', '2026-01-01Z', '2026-02-01Z', 7, 0, now())",
    ] {
        diesel::sql_query(statement).execute(&mut conn).unwrap();
    }
    let mut command = plangate(&["verify"]);
    let output = command.env("DATABASE_URL", &database.url).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let drift: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(drift["customer_id"], "acme");
    assert_eq!(
        (&drift["ledger"], &drift["counter"]),
        (&0.into(), &7.into())
    );
}

#[test]
fn a_catalogue_is_checked_before_it_is_put_in_force() {
    let scratch = tempfile::tempdir().unwrap();
    let default = include_str!("../../catalogue/default.json");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let check = |file: &str| on(scratch.path(), &["catalogue", "check", file]);
    let same = succeed(check(&file("same.json", default)));
    assert!(same.contains("\nfree: unchanged, version 1\n"), "{same}");
    let dearer = succeed(check(&file(
        "dearer.json",
        &default.replace("4900", "5900"),
    )));
    assert!(dearer.contains("\npro: new version 2\n"), "{dearer}");
    assert!(dearer.contains("unit_amount: 4900 -> 5900\n"), "{dearer}");
    let output = check(&file("bad.json", r#"{"tiers": 3}"#))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("/tiers"), "{}", stdout(&output));
    fail(check("no-such-file.json"), 1);
}

#[test]
fn openapi_prints_the_committed_document() {
    // Not `assert_eq`, which would print both.
    assert!(
        succeed(plangate(&["openapi"])) == committed(),
        "{REGENERATE}"
    );
}
