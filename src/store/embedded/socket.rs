//! Where the server's socket is. Socket paths are short on every system, data directories are not.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::account::Account;
use super::error::EmbeddedError;
use super::place::{NAME_ATTEMPTS, Place, create_directory, numbered, short_hash};

/// The longest socket path that every supported system takes (macOS: 104 bytes with the NUL).
const PATH_LIMIT: usize = 103;
/// The longest name that the server gives a socket in its directory.
const LONGEST_NAME: &str = ".s.PGSQL.65535";

/// A directory for the server's socket that no other user can enter.
#[derive(Debug)]
pub(super) struct SocketDirectory {
    path: PathBuf,
    /// It is outside the home, so it goes away with the server.
    temporary: bool,
}

impl SocketDirectory {
    /// Makes the directory: in the cluster's home, or, where that path is too long for a socket,
    /// under the temporary directory. No server may run on the cluster.
    pub(super) fn make(place: &Place) -> Result<Self, EmbeddedError> {
        let inside = place.home().join("socket");
        if fits(&inside) {
            make_private(place, &inside)?;
            return Ok(Self {
                path: inside,
                temporary: false,
            });
        }
        let stem = format!("plangate-{}", short_hash(place.home()));
        for base in [std::env::temp_dir(), PathBuf::from("/tmp")] {
            let Ok(base) = base.canonicalize() else {
                continue;
            };
            if !fits(&base.join(&stem)) || !place.reaches(&base) {
                continue;
            }
            for attempt in 0..NAME_ATTEMPTS {
                let path = base.join(numbered(&stem, attempt));
                if fits(&path) && make_private(place, &path).is_ok() {
                    return Ok(Self {
                        path,
                        temporary: true,
                    });
                }
            }
        }
        Err(EmbeddedError::NoSocket { directory: inside })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it fit for the next server, also where something cleared it away meanwhile.
    pub(super) fn restore(&self, place: &Place) -> Result<(), EmbeddedError> {
        make_private(place, &self.path)
    }

    /// Removes what would otherwise stay in the temporary directory.
    pub(super) fn clear_away(&self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::debug!(%error, "the socket's directory could not be removed");
        }
    }
}

/// A directory that only the server's user enters. One that is there already is taken only where
/// it is ours: under a shared temporary directory anyone could have put it there.
fn make_private(place: &Place, path: &Path) -> Result<(), EmbeddedError> {
    create_directory(path, 0o700)?;
    let metadata = std::fs::symlink_metadata(path).map_err(EmbeddedError::io("inspect", path))?;
    let ours = Uid::effective().as_raw();
    let server = place.account().map_or(ours, Account::uid);
    let private = metadata.permissions().mode() & 0o777 == 0o700;
    let owned = metadata.uid() == ours || metadata.uid() == server;
    if !metadata.is_dir() || !private || !owned {
        return Err(EmbeddedError::io("use", path)(
            ErrorKind::PermissionDenied.into(),
        ));
    }
    clear(path);
    place.own(path)
}

/// Removes the sockets and their lock files that a killed server left. No server runs when this is
/// called, but PostgreSQL would believe a lock file whose pid another process has now.
fn clear(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".s.PGSQL.")
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(%error, "a stale socket could not be removed");
        }
    }
}

fn fits(directory: &Path) -> bool {
    directory.join(LONGEST_NAME).as_os_str().len() <= PATH_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_its_socket_under_the_temporary_directory() {
        let root = tempfile::tempdir().unwrap();
        let short = SocketDirectory::make(&Place::of_test(root.path())).unwrap();
        assert!(short.path().starts_with(root.path()));
        let home = root.path().join("a".repeat(100));
        std::fs::create_dir(&home).unwrap();
        let long = SocketDirectory::make(&Place::of_test(&home)).unwrap();
        assert!(!long.path().starts_with(root.path()));
        assert!(fits(long.path()));
        short.clear_away();
        long.clear_away();
        assert!(short.path().exists());
        assert!(!long.path().exists());
    }

    #[test]
    fn a_socket_directory_that_others_may_enter_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("socket");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(SocketDirectory::make(&Place::of_test(root.path())).is_err());
    }
}
