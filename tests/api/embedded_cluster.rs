//! The embedded PostgreSQL, with real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plangate::store::embedded::{Cluster, DATABASE, EmbeddedError, Options, running_url};
use secrecy::{ExposeSecret, SecretString};

use crate::support::cluster::fresh_database;
use crate::support::scratch::Scratch;

/// Tells [`holds_a_cluster_until_its_input_closes`] where.
const HOLD: &str = "PLANGATE_TEST_HOLD_CLUSTER";

fn options(data_dir: &Path) -> Options {
    Options {
        data_dir: data_dir.to_path_buf(),
        // These tests kill processes, not the machine.
        durable: false,
    }
}

fn start(data_dir: &Path) -> Cluster {
    Cluster::start(&options(data_dir)).unwrap()
}

fn connect(url: &SecretString) -> PgConnection {
    PgConnection::establish(url.expose_secret()).unwrap()
}

fn ask(connection: &mut PgConnection, expression: &str) -> String {
    diesel::select(sql::<Text>(&format!("({expression})::text")))
        .get_result(connection)
        .unwrap()
}

fn execute(connection: &mut PgConnection, statement: &str) {
    diesel::sql_query(statement).execute(connection).unwrap();
}

fn keep_a_row(url: &SecretString) {
    let mut connection = connect(url);
    execute(&mut connection, "CREATE TABLE kept (note text)");
    execute(&mut connection, "INSERT INTO kept VALUES ('committed')");
}

fn kept_row(url: &SecretString) -> String {
    ask(&mut connect(url), "SELECT note FROM kept")
}

fn server_pid(cluster: &Path) -> i32 {
    let file = std::fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Another process that holds a cluster, to be killed.
fn spawn_holder(data_dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored"])
        .arg("embedded_cluster::holds_a_cluster_until_its_input_closes")
        .env(HOLD, data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the other process of the tests below; does nothing by itself"]
fn holds_a_cluster_until_its_input_closes() {
    let Some(data_dir) = std::env::var_os(HOLD) else {
        return;
    };
    let data_dir = PathBuf::from(data_dir);
    let _cluster = start(&data_dir);
    std::fs::write(data_dir.join("held"), "").unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
fn a_fresh_cluster_is_durable_private_and_gone_after_stop() {
    let scratch = Scratch::new();
    let durable = Options {
        durable: true,
        ..options(scratch.path())
    };
    let cluster = Cluster::start(&durable).unwrap();
    assert!(cluster.is_alive());

    let mut connection = connect(&cluster.url(DATABASE));
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", "127.0.0.1"),
        ("password_encryption", "scram-sha-256"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ] {
        let shown = ask(&mut connection, &format!("current_setting('{setting}')"));
        assert_eq!(shown, value, "{setting}");
    }
    assert_eq!(ask(&mut connection, "current_database()"), DATABASE);
    let collation = "SELECT datcollate FROM pg_database WHERE datname = 'plangate'";
    assert_eq!(ask(&mut connection, collation), "C");
    let mode = |name: &str| {
        let path = cluster.directory().join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("plangate.password"), 0o600);

    let running = running_url(scratch.path(), DATABASE).unwrap();
    assert_eq!(
        running.expose_secret(),
        cluster.loopback_url(DATABASE).expose_secret()
    );
    assert_eq!(
        ask(&mut connect(&running), "host(inet_server_addr())"),
        "127.0.0.1"
    );

    let pid = server_pid(&cluster.directory());
    cluster.stop().unwrap();
    cluster.stop().unwrap();
    assert!(!cluster.is_alive());
    assert!(!lives(pid));
    assert!(matches!(cluster.restart(), Err(EmbeddedError::Stopped)));
    assert!(matches!(
        running_url(scratch.path(), DATABASE),
        Err(EmbeddedError::NotRunning { .. })
    ));
    let log = std::fs::read_to_string(scratch.path().join("postgres.log")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
}

#[test]
fn no_connection_is_trusted_without_the_password() {
    let scratch = Scratch::new();
    let cluster = start(scratch.path());
    for url in [cluster.url(DATABASE), cluster.loopback_url(DATABASE)] {
        let url = url::Url::parse(url.expose_secret()).unwrap();
        let password = url.password().unwrap().to_owned();
        assert!(password.len() >= 32);
        let guess = url.as_str().replace(&password, "guess");
        assert!(PgConnection::establish(&guess).is_err());
        assert!(!format!("{cluster:?}").contains(&password));
    }
}

#[test]
fn data_is_kept_from_run_to_run() {
    let scratch = Scratch::new();
    let first = start(scratch.path());
    keep_a_row(&first.url(DATABASE));
    drop(first);
    let second = start(scratch.path());
    assert_eq!(kept_row(&second.url(DATABASE)), "committed");
}

#[test]
fn a_second_plangate_on_the_data_directory_is_refused_by_pid() {
    let scratch = Scratch::new();
    let first = start(scratch.path());
    let error = Cluster::start(&options(scratch.path())).unwrap_err();
    let expected = format!("another Plangate (pid {})", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(first.is_alive());
    connect(&first.url(DATABASE));
}

#[test]
fn the_server_of_a_killed_plangate_is_stopped_and_started_anew() {
    let scratch = Scratch::new();
    let mut holder = spawn_holder(scratch.path());
    wait_until("the other process holds the cluster", || {
        scratch.path().join("held").exists()
    });
    keep_a_row(&running_url(scratch.path(), DATABASE).unwrap());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let orphan = server_pid(&scratch.path().join("postgres"));
    assert!(lives(orphan));

    let cluster = start(scratch.path());
    assert_ne!(server_pid(&cluster.directory()), orphan);
    assert!(cluster.is_alive());
    assert_eq!(kept_row(&cluster.url(DATABASE)), "committed");
}

#[test]
fn a_plangate_killed_while_it_makes_the_cluster_leaves_no_half_of_one() {
    let scratch = Scratch::new();
    let mut holder = spawn_holder(scratch.path());
    wait_until("initdb has begun", || {
        std::fs::read_dir(scratch.path())
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().join("data/base").exists())
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(!scratch.path().join("postgres").exists());

    let cluster = start(scratch.path());
    connect(&cluster.url(DATABASE));
}

#[test]
fn a_killed_server_is_started_again_where_clients_know_it() {
    let scratch = Scratch::new();
    let cluster = start(scratch.path());
    let url = cluster.url(DATABASE);
    keep_a_row(&url);
    // A backend that is busy does not notice that its server has gone, and is in the way.
    let mut busy = connect(&url);
    let sleeper = std::thread::spawn(move || {
        let _ = diesel::sql_query("SELECT pg_sleep(600)").execute(&mut busy);
    });
    let busy_backends = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
                         AND pid <> pg_backend_pid()";
    wait_until("a backend is busy", || {
        ask(&mut connect(&url), busy_backends) == "1"
    });
    kill_9(server_pid(&cluster.directory()));
    wait_until("the death is seen", || !cluster.is_alive());

    cluster.restart().unwrap();
    assert!(cluster.is_alive());
    assert_eq!(cluster.url(DATABASE).expose_secret(), url.expose_secret());
    assert_eq!(kept_row(&url), "committed");
    sleeper.join().unwrap();
}

#[test]
fn stale_pid_files_with_a_pid_in_use_do_not_prevent_the_start() {
    let scratch = Scratch::new();
    let first = start(scratch.path());
    keep_a_row(&first.url(DATABASE));
    let pid_file = first.directory().join("postmaster.pid");
    let socket_lock = std::fs::read_dir(scratch.path().join("socket"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "lock")
        })
        .unwrap();
    let stale = [pid_file, socket_lock].map(|path| {
        let content = std::fs::read_to_string(&path).unwrap();
        let (_, rest) = content.split_once('\n').unwrap();
        (path, rest.to_owned())
    });
    drop(first);
    // A process of the server's user, since PostgreSQL takes another user's for a stranger.
    let bystander = Bystander::spawn(scratch.path());
    for (path, rest) in stale {
        std::fs::write(path, format!("{}\n{rest}", bystander.0.id())).unwrap();
    }

    let second = start(scratch.path());
    assert_eq!(kept_row(&second.url(DATABASE)), "committed");
    assert!(lives(i32::try_from(bystander.0.id()).unwrap()));
}

/// A process that is no PostgreSQL, of the user that runs the cluster, in the cluster's directory.
struct Bystander(Child);

impl Bystander {
    fn spawn(data_dir: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        use std::os::unix::process::CommandExt;
        let cluster = data_dir.join("postgres");
        let owner = std::fs::metadata(&cluster).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("600").current_dir(&cluster);
        if nix::unistd::geteuid().is_root() {
            sleep.uid(owner.uid()).gid(owner.gid());
        }
        Self(sleep.spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn roots_private_folder_keeps_its_cluster_where_the_server_can_reach_it() {
    if !nix::unistd::geteuid().is_root() {
        // Another user runs the server itself and reaches its own folders.
        return;
    }
    let scratch = Scratch::private();
    let first = start(scratch.path());
    let place = first.directory();
    assert!(!place.starts_with(scratch.path()));
    keep_a_row(&running_url(scratch.path(), DATABASE).unwrap());
    drop(first);

    let second = start(scratch.path());
    assert_eq!(second.directory(), place);
    assert_eq!(kept_row(&second.url(DATABASE)), "committed");
}

#[test]
fn a_data_directory_with_a_long_path_has_its_socket_elsewhere() {
    let scratch = Scratch::deep();
    let cluster = start(scratch.path());
    let mut connection = connect(&cluster.url(DATABASE));
    let setting = "current_setting('unix_socket_directories')";
    let directory = ask(&mut connection, setting);
    assert!(!directory.contains("deep"), "{directory}");
    let directory = PathBuf::from(directory.trim_matches('"'));
    assert!(directory.exists());
    cluster.stop().unwrap();
    assert!(!directory.exists());
}

#[test]
fn every_test_has_a_database_of_its_own_with_the_templates_tables() {
    let (one, two) = (fresh_database(), fresh_database());
    let insert =
        "INSERT INTO customers (customer_id, created_at, updated_at) VALUES ('acme', now(), now())";
    execute(&mut one.connect(), insert);
    let count = "SELECT count(*) FROM customers";
    assert_eq!(ask(&mut one.connect(), count), "1");
    assert_eq!(ask(&mut two.connect(), count), "0");
    let url = one.url.clone();
    drop(one);
    assert!(PgConnection::establish(&url).is_err());
}
