//! Data directories that go away with the test process, whatever ends it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

/// Waits until its input closes, which the kernel does for a process that was killed too. Then
/// ends the server on the data directory, if one is left, and removes everything.
const WATCHDOG: &str = r#"
read -r _
home=$2
if [ -f "$2/postgres.location" ]; then home=$(cat "$2/postgres.location"); fi
if [ -f "$home/postgres/postmaster.pid" ]; then
    pid=$(sed -n 1p "$home/postgres/postmaster.pid")
    socket=$(sed -n 5p "$home/postgres/postmaster.pid")
    kill -QUIT "$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$pid" || break
        sleep 0.1
    done
    case $socket in */plangate-*) rm -rf "$socket" ;; esac
fi
for _ in 1 2 3; do
    rm -rf "$1" "$home" && break
    sleep 1
done
"#;

/// A data directory of one test.
pub(crate) struct Scratch {
    data_dir: PathBuf,
    watchdog: Child,
}

impl Scratch {
    /// A data directory that everyone may pass through to, not made yet.
    pub(crate) fn new() -> Self {
        let root = new_root();
        Self::watched(&root, root.clone())
    }

    /// A data directory, not made yet, under a folder that only this user may enter.
    pub(crate) fn private() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let root = new_root();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&root)
            .unwrap();
        Self::watched(&root, root.join("data"))
    }

    /// A data directory, not made yet, whose path is too long for a socket.
    pub(crate) fn deep() -> Self {
        let root = new_root();
        Self::watched(&root, root.join("deep".repeat(30)).join("data"))
    }

    fn watched(root: &Path, data_dir: PathBuf) -> Self {
        use std::os::unix::process::CommandExt;
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args([root, &data_dir])
            .stdin(Stdio::piped())
            // Not the runner's: it would wait for the watchdog to close them.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { data_dir, watchdog }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.data_dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // `wait` closes the watchdog's input first.
        let _ = self.watchdog.wait();
    }
}

fn new_root() -> PathBuf {
    std::env::temp_dir().join(format!("plangate-test-{}", Uuid::now_v7().simple()))
}
