//! One Plangate per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::EmbeddedError;

/// The file that is locked, in the data directory.
const LOCK_FILE: &str = "lock";

/// An advisory lock on a directory. The kernel lets go of it however the process ends, so that a
/// kill -9 leaves nothing to clear away; the pid inside is for people only.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, EmbeddedError> {
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(EmbeddedError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(EmbeddedError::InUse {
                    directory: directory.to_path_buf(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(EmbeddedError::io("lock", &path)(error));
            }
        }
        write_pid(&mut file).map_err(EmbeddedError::io("write", &path))?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that is being spawned this moment has a copy of
        // the descriptor until it execs, and would hold the lock that long.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the data directory's lock could not be let go of");
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_the_holder_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let held = DirectoryLock::acquire(directory.path()).unwrap();
        let refused = DirectoryLock::acquire(directory.path()).unwrap_err();
        assert!(
            matches!(refused, EmbeddedError::InUse { pid: Some(pid), .. } if pid == std::process::id())
        );
        drop(held);
        DirectoryLock::acquire(directory.path()).unwrap();
    }
}
