//! Makes a new cluster. It is made beside its final name and renamed when complete, so that
//! whatever interrupts it, there is either no cluster or a whole one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::Output;

use uuid::Uuid;

use super::access::{PASSWORD_FILE, ROLE};
use super::binaries::Installation;
use super::error::EmbeddedError;
use super::place::{Place, sync_directory};
use super::server::command;

const DRAFT_PREFIX: &str = "postgres.new-";

/// Defaults that an operator may change in the cluster's `postgresql.conf`; what must not change
/// is on the server's command line.
const CONFIGURATION: &str = "
# Plangate's defaults: modest memory, enough connections for one service and its operators.
max_connections = 100
shared_buffers = 128MB
work_mem = 4MB
maintenance_work_mem = 64MB
max_wal_size = 512MB
";

/// Makes the cluster of a place, with a password of its own.
pub(super) fn make(
    place: &Place,
    installation: &Installation,
    durable: bool,
) -> Result<(), EmbeddedError> {
    clear_drafts(place.home());
    let cluster = place.cluster();
    match std::fs::remove_dir(&cluster) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(_) => return Err(EmbeddedError::NotACluster { directory: cluster }),
    }
    let draft = place
        .home()
        .join(format!("{DRAFT_PREFIX}{}", Uuid::now_v7().simple()));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&draft)
        .map_err(EmbeddedError::io("create", &draft))?;
    let made = fill(place, installation, durable, &draft);
    if let Err(error) = std::fs::remove_dir_all(&draft) {
        tracing::debug!(draft = %draft.display(), %error, "a draft could not be removed");
    }
    made
}

/// What killed runs left. An initdb that still runs in one fails when it goes, and has a name of
/// its own, so it cannot harm the next.
fn clear_drafts(home: &Path) {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        let is_draft = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(DRAFT_PREFIX));
        if is_draft && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::debug!(draft = %entry.path().display(), %error, "a draft could not be removed");
        }
    }
}

fn fill(
    place: &Place,
    installation: &Installation,
    durable: bool,
    draft: &Path,
) -> Result<(), EmbeddedError> {
    place.own(draft)?;
    let password = draft.join("password");
    write_password(&password)?;
    place.own(&password)?;
    let data = draft.join("data");
    let mut initdb = command(&installation.initdb(), place.account());
    initdb
        .arg("--pgdata")
        .arg(&data)
        .arg("--pwfile")
        .arg(&password)
        .args(["--username", ROLE, "--auth", "scram-sha-256"])
        .args(["--encoding", "UTF8", "--locale", "C"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let output = initdb
        .output()
        .map_err(EmbeddedError::io("run", &installation.initdb()))?;
    if !output.status.success() {
        return Err(EmbeddedError::Initdb {
            directory: draft.to_path_buf(),
            status: output.status.to_string(),
            output: said(&output),
        });
    }
    append(&data.join("postgresql.conf"), CONFIGURATION)?;
    let kept = data.join(PASSWORD_FILE);
    std::fs::rename(&password, &kept).map_err(EmbeddedError::io("create", &kept))?;
    sync_directory(&data)?;
    let cluster = place.cluster();
    std::fs::rename(&data, &cluster).map_err(EmbeddedError::io("create", &cluster))?;
    sync_directory(place.home())
}

fn write_password(path: &Path) -> Result<(), EmbeddedError> {
    let password = random_hex()?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            writeln!(file, "{password}")?;
            file.sync_all()
        });
    written.map_err(EmbeddedError::io("write", path))
}

fn random_hex() -> Result<String, EmbeddedError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        EmbeddedError::io("read randomness from", Path::new("the system"))(std::io::Error::other(
            error.to_string(),
        ))
    })?;
    Ok(Uuid::from_bytes(bytes).simple().to_string())
}

fn append(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    let written = File::options()
        .append(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(EmbeddedError::io("write", path))
}

/// The end of what a program printed: errors first, else its output.
fn said(output: &Output) -> String {
    let stream = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    let text = String::from_utf8_lossy(stream);
    let lines: Vec<&str> = text.trim().lines().collect();
    let from = lines.len().saturating_sub(10);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_of_killed_runs_are_cleared_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let draft = home.path().join("postgres.new-1").join("data");
        std::fs::create_dir_all(&draft).unwrap();
        let kept = home.path().join("postgres");
        std::fs::create_dir(&kept).unwrap();
        clear_drafts(home.path());
        assert!(!draft.exists());
        assert!(kept.exists());
    }

    #[test]
    fn passwords_differ_and_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("1"), directory.path().join("2"));
        write_password(&one).unwrap();
        write_password(&two).unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_ne!(read(&one), read(&two));
        assert!(read(&one).trim().len() >= 32);
        let mode = std::fs::metadata(&one).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
