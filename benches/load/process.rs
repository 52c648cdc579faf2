//! Child processes: bounded in time, and ended with whoever started them.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;

const POLL: Duration = Duration::from_millis(20);
const START_PATIENCE: Duration = Duration::from_mins(1);
/// A service drains for up to 30 s.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM make every wait here fail, so that what was started is ended on the way out.
pub(crate) fn watch_for_interrupts() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::SeqCst);
    });
    Ok(())
}

/// Fails once the benchmark was told to stop.
pub(crate) fn go_on() -> Outcome<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err("interrupted".into());
    }
    Ok(())
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens, on loopback.
    pub(crate) port: u16,
}

impl Server {
    /// Starts it and waits until its port accepts connections. What it says goes to `log`.
    pub(crate) fn start(command: &mut Command, port: u16, log: &Path) -> Outcome<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for the benchmark, which ends its children in order.
            .process_group(0)
            .spawn()
            .map_err(|error| named(command, &error))?;
        let mut server = Self { child, port };
        let deadline = Instant::now() + START_PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            go_on()?;
            if let Some(status) = server.child.try_wait()? {
                return Err(format!(
                    "{} ended at its start ({status}):\n{}",
                    program(command),
                    tail(log)
                )
                .into());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{} does not listen on port {port}:\n{}",
                    program(command),
                    tail(log)
                )
                .into());
            }
            std::thread::sleep(POLL);
        }
        Ok(server)
    }

    /// The kernel's number for it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails where it has ended by itself.
    pub(crate) fn still_runs(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the server ended by itself: {status}").into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for ask in [Signal::SIGTERM, Signal::SIGKILL] {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            if let Ok(pid) = i32::try_from(self.child.id()) {
                // Fails where it ended just now.
                let _ = kill(Pid::from_raw(pid), ask);
            }
            let deadline = Instant::now() + STOP_PATIENCE;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// What a command that ran to its end left.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// Standard output, or an error that holds everything that was said.
    pub(crate) fn success(self, what: &str) -> Outcome<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(format!(
            "{what} failed ({}):\n{}{}",
            self.status, self.stdout, self.stderr
        )
        .into())
    }
}

/// Runs a command to its end, for `patience` at most.
pub(crate) fn finish(command: &mut Command, patience: Duration) -> Outcome<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| named(command, &error))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let deadline = Instant::now() + patience;
    let waited = loop {
        if let Some(status) = child.try_wait()? {
            break Ok(status);
        }
        if let Err(interrupted) = go_on() {
            break Err(interrupted);
        }
        if Instant::now() > deadline {
            let seconds = patience.as_secs();
            break Err(format!("{} took longer than {seconds} s", program(command)).into());
        }
        std::thread::sleep(POLL);
    };
    if waited.is_err() {
        // It may have ended in the meantime, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (joined(stdout), joined(stderr));
    Ok(Finished {
        status: waited?,
        stdout,
        stderr,
    })
}

fn collect<R: Read + Send + 'static>(stream: Option<R>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read until an error is all there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn joined(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Whether a program is on the search path.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn named(command: &Command, error: &io::Error) -> String {
    format!("cannot run {}: {error}", program(command))
}

fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
