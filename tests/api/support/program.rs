//! The program, run as an operator runs it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the log says before the address.
const LISTENS: &str = "Plangate listens on ";

const PATIENCE: Duration = Duration::from_mins(1);

/// The program with nothing of the tests' own environment but the search path.
pub(crate) fn plangate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plangate"));
    command
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null());
    command
}

/// The same with a data directory, on a port of its own choosing.
pub(crate) fn on(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = plangate(arguments);
    command
        .env("PLANGATE_DATA_DIR", data_dir)
        .env("PLANGATE_BIND", "127.0.0.1:0");
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs the command, which must succeed. Returns what it printed.
#[track_caller]
pub(crate) fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Runs the command, which must end with this code. Returns its complaint.
#[track_caller]
pub(crate) fn fail(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

/// A running `plangate serve`; killed when it is dropped.
pub(crate) struct Serving {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Serving {
    /// Starts the command and waits until it listens.
    pub(crate) fn start(mut command: Command) -> Self {
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
        serving.wait_for(|serving| serving.log().contains(LISTENS));
        serving
    }

    /// The address as the log names it.
    pub(crate) fn base(&self) -> String {
        let log = self.log();
        let address = log.split(LISTENS).nth(1).unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    /// Everything on standard error so far.
    pub(crate) fn log(&self) -> String {
        text(&self.stderr)
    }

    /// Everything on standard output so far.
    pub(crate) fn printed(&self) -> String {
        text(&self.stdout)
    }

    /// Waits for something that the program does, which must not end meanwhile.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Signals the program and waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the program's end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status of a GET without a credential; 0 where nobody answers.
    pub(crate) fn status(&self, path: &str) -> u16 {
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

/// Process id of the embedded server, which its data directory names.
pub(crate) fn postmaster(data_dir: &Path) -> i32 {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

/// Whether there is such a process.
pub(crate) fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}
