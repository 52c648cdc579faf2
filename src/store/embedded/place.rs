//! Where a cluster is kept: under the data directory, or, where the server's user cannot reach
//! that, in a place that both can reach and that the data directory remembers.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::account::{self, Account};
use super::binaries;
use super::error::EmbeddedError;

/// The cluster's name within its home.
const CLUSTER: &str = "postgres";
/// The file in the data directory that names a home elsewhere.
const NOTE: &str = "postgres.location";
/// How many names are tried for a directory before giving up.
pub(super) const NAME_ATTEMPTS: u32 = 100;

/// A cluster's home and who runs it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    data_dir: PathBuf,
    home: PathBuf,
    account: Option<Account>,
}

/// Makes the data directory where it is missing and resolves its path. Root's is open to pass
/// through, not to list, since the server runs as someone else.
pub(super) fn prepare_data_dir(path: &Path) -> Result<PathBuf, EmbeddedError> {
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) {
        std::fs::create_dir_all(parent).map_err(EmbeddedError::io("create", parent))?;
    }
    let mode = if account::is_root() { 0o711 } else { 0o700 };
    create_directory(path, mode)?;
    path.canonicalize()
        .map_err(EmbeddedError::io("resolve", path))
}

/// Where the cluster of a data directory is, without making anything.
pub(super) fn home_of(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    Ok(remembered(data_dir)?.unwrap_or_else(|| data_dir.to_path_buf()))
}

/// The cluster's directory within its home.
pub(super) fn cluster_in(home: &Path) -> PathBuf {
    home.join(CLUSTER)
}

impl Place {
    /// Decides where the cluster of a data directory is or will be. The path must be canonical and
    /// locked.
    pub(super) fn settle(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let at = |home: PathBuf, account| Self {
            data_dir: data_dir.to_path_buf(),
            home,
            account,
        };
        let home = home_of(data_dir)?;
        let cluster = cluster_in(&home);
        if cluster.join("PG_VERSION").exists() {
            let account = Account::for_existing_cluster(&cluster)?;
            if let Some(account) = account.as_ref().filter(|account| !account.reaches(&home)) {
                return Err(EmbeddedError::Unreachable {
                    directory: cluster,
                    account: account.name.clone(),
                });
            }
            return Ok(at(home, account));
        }
        if !account::is_root() {
            return Ok(at(home, None));
        }
        let account = Account::for_new_cluster()?;
        if home != data_dir || accepts(&home, &account) {
            return Ok(at(home, Some(account)));
        }
        let home = elsewhere(data_dir, &account)?;
        remember(data_dir, &home)?;
        tracing::warn!(
            data_dir = %data_dir.display(),
            place = %home.display(),
            "the user {} runs PostgreSQL and cannot reach the data directory, so the database is \
             kept in {}",
            account.name,
            home.display(),
        );
        Ok(at(home, Some(account)))
    }

    /// The folder that the cluster and its socket are in.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Whether the cluster is outside the data directory.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.home != self.data_dir
    }

    /// The cluster itself, PostgreSQL's data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        cluster_in(&self.home)
    }

    /// The server's log. Always in the data directory: the server inherits it open.
    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    /// Who runs the server; `None` is this process's own user.
    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The major version that made the cluster, where there is a cluster.
    pub(super) fn major(&self) -> Result<Option<u32>, EmbeddedError> {
        let path = self.cluster().join("PG_VERSION");
        match std::fs::read_to_string(&path) {
            Ok(text) => binaries::leading_number(&text).map(Some).ok_or_else(|| {
                EmbeddedError::NotACluster {
                    directory: self.cluster(),
                }
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io("read", &path)(error)),
        }
    }

    /// Gives a file or directory to whoever runs the server.
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        self.account
            .as_ref()
            .map_or(Ok(()), |account| account.own(path))
    }

    /// Whether whoever runs the server can reach a folder, given by its canonical path.
    pub(super) fn reaches(&self, directory: &Path) -> bool {
        self.account
            .as_ref()
            .is_none_or(|account| account.reaches(directory))
    }
}

/// A name for the cluster's processes and ports that follows from its path.
pub(super) fn short_hash(path: &Path) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a file so that it is on disk whole or not at all.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), EmbeddedError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let draft = PathBuf::from(name);
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(EmbeddedError::io("write", &draft))?;
    std::fs::rename(&draft, path).map_err(EmbeddedError::io("write", path))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes a rename within a directory last through a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<(), EmbeddedError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(EmbeddedError::io("sync", directory))
}

/// Makes a directory with exactly these permissions, whatever the umask; leaves one that is there
/// as it is.
pub(super) fn create_directory(path: &Path, mode: u32) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(EmbeddedError::io("set the permissions of", path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(EmbeddedError::io("create", path)(error)),
    }
}

/// Whether the server's user can keep a cluster here. Some file systems (network mounts, shared
/// folders of a virtual machine) let nobody give files away, so this is tried.
fn accepts(home: &Path, account: &Account) -> bool {
    if !account.reaches(home) {
        return false;
    }
    let probe = home.join(format!(".probe-{}", std::process::id()));
    let made = create_directory(&probe, 0o700).and_then(|()| account.own(&probe));
    let _ = std::fs::remove_dir(&probe);
    made.is_ok()
}

/// Makes a home outside the data directory. Always a new one: what an earlier data directory of
/// the same path left there is not this one's, and is not touched.
fn elsewhere(data_dir: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let hash = short_hash(data_dir);
    let system = Path::new("/var/lib/plangate");
    if create_directory(system, 0o755).is_err() {
        tracing::debug!("there is no /var/lib/plangate and it cannot be made");
    }
    let shared = format!("plangate-{hash}");
    for (base, stem) in [
        (system.to_path_buf(), &hash),
        (PathBuf::from("/var/tmp"), &shared),
        (std::env::temp_dir(), &shared),
        (PathBuf::from("/tmp"), &shared),
    ] {
        let Ok(base) = base.canonicalize() else {
            continue;
        };
        for attempt in 0..NAME_ATTEMPTS {
            let home = base.join(numbered(stem, attempt));
            match std::fs::create_dir(&home) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    tracing::info!(
                        place = %home.display(),
                        "an earlier data directory of this path left a database there"
                    );
                    continue;
                }
                Err(_) => break,
            }
            let open = std::fs::set_permissions(&home, Permissions::from_mode(0o711));
            if open.is_ok() && accepts(&home, account) {
                return Ok(home);
            }
            let _ = std::fs::remove_dir(&home);
            break;
        }
    }
    Err(EmbeddedError::NoPlace {
        directory: data_dir.to_path_buf(),
        account: account.name.clone(),
    })
}

fn remember(data_dir: &Path, home: &Path) -> Result<(), EmbeddedError> {
    let mut line = home.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    write_whole(&data_dir.join(NOTE), &line)
}

/// The home elsewhere that the data directory remembers. A place that has gone is an error and
/// not a reason to start empty: whoever bills by this database has to know.
fn remembered(data_dir: &Path) -> Result<Option<PathBuf>, EmbeddedError> {
    let note = data_dir.join(NOTE);
    let bytes = match std::fs::read(&note) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EmbeddedError::io("read", &note)(error)),
    };
    let place = PathBuf::from(OsStr::from_bytes(bytes.trim_ascii()));
    let ours = std::fs::symlink_metadata(&place)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == Uid::effective().as_raw());
    if ours {
        Ok(Some(place))
    } else {
        Err(EmbeddedError::PlaceGone { place, note })
    }
}

/// The names to try one after the other for a directory.
pub(super) fn numbered(stem: &str, attempt: u32) -> String {
    if attempt == 0 {
        stem.to_owned()
    } else {
        format!("{stem}-{attempt}")
    }
}

#[cfg(test)]
impl Place {
    /// A place of this process's own user.
    pub(super) fn of_test(home: &Path) -> Self {
        Self {
            data_dir: home.to_path_buf(),
            home: home.to_path_buf(),
            account: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_has_gone_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        remember(root.path(), &gone).unwrap();
        let error = home_of(root.path()).unwrap_err();
        assert!(matches!(error, EmbeddedError::PlaceGone { place, .. } if place == gone));
        std::fs::create_dir(&gone).unwrap();
        assert_eq!(home_of(root.path()).unwrap(), gone);
    }
}
