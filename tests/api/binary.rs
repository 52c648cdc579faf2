//! The program itself, as an operator runs it.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plangate::domain::api_key::{ApiKey, KeyMode};

use crate::generated::{REGENERATE, committed};
use crate::support::cluster::fresh_database;
use crate::support::program::{
    Serving, fail, lives, on, plangate, postmaster, stderr, stdout, succeed,
};
use crate::support::scratch::Scratch;

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
    serving.wait_for(|serving| serving.printed().contains("shown this once"));
    assert_eq!(serving.printed().matches(key).count(), 1);
    assert!(!serving.log().contains(key), "the log has the key");

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
    let status = serving.end(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0), "{}", serving.log());
    assert!(!lives(server));
    let gone = fail(on(data_dir, &["database-url"]), 1);
    assert!(gone.contains("no embedded PostgreSQL runs"), "{gone}");

    // A command without a running service starts the cluster for itself.
    assert_eq!(
        succeed(on(data_dir, &["verify"])),
        "0 counters equal their ledger\n"
    );

    let mut again = Serving::start(on(data_dir, &["serve"]));
    assert_eq!(again.printed(), "");
    assert!(
        again.log().contains("the admin key is in"),
        "{}",
        again.log()
    );
    assert!(!again.log().contains(key));
    assert_eq!(again.end(Signal::SIGINT).code(), Some(0));
}

#[test]
fn it_outlives_the_death_of_its_database_and_its_own() {
    let scratch = Scratch::new();
    let data_dir = scratch.path();
    let mut serving = Serving::start(on(data_dir, &[]));
    let first = postmaster(data_dir);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    serving.wait_for(|serving| serving.log().contains("the embedded PostgreSQL is back"));
    serving.wait_for(|serving| serving.status("/readyz") == 200);
    let second = postmaster(data_dir);
    assert_ne!(first, second);

    serving.end(Signal::SIGKILL);
    assert!(
        lives(second),
        "an orphan is what the next start must cope with"
    );
    let mut serving = Serving::start(on(data_dir, &[]));
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
