//! The user that PostgreSQL runs as. PostgreSQL refuses to run as root, so a Plangate that was
//! started as root gives the server to another user.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use super::error::EmbeddedError;

/// Tried in this order: the packages' own user first, then the one that every machine has.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// A user to run the server as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    uid: u32,
    gid: u32,
}

/// Whether this process is root, and so has to hand the server over.
pub(super) fn is_root() -> bool {
    Uid::effective().is_root()
}

impl Account {
    /// Who runs a new cluster when Plangate is root.
    pub(super) fn for_new_cluster() -> Result<Self, EmbeddedError> {
        CANDIDATES
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
            .ok_or(EmbeddedError::NoAccount)
    }

    /// Who runs an existing cluster: its owner, since PostgreSQL insists on that. `None` stands
    /// for this process's own user.
    pub(super) fn for_existing_cluster(directory: &Path) -> Result<Option<Self>, EmbeddedError> {
        let metadata =
            std::fs::metadata(directory).map_err(EmbeddedError::io("inspect", directory))?;
        let owner = Self {
            name: name_of(metadata.uid()),
            uid: metadata.uid(),
            gid: metadata.gid(),
        };
        if !is_root() {
            return if metadata.uid() == Uid::effective().as_raw() {
                Ok(None)
            } else {
                Err(EmbeddedError::ForeignOwner {
                    directory: directory.to_path_buf(),
                    owner: owner.name,
                })
            };
        }
        if owner.uid == 0 {
            return Err(EmbeddedError::OwnedByRoot {
                directory: directory.to_path_buf(),
                account: Self::for_new_cluster()?.name,
            });
        }
        Ok(Some(owner))
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Makes a command run as this user. The standard library drops root's supplementary groups
    /// along with its uid.
    pub(super) fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or directory to this user.
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(EmbeddedError::io("chown", path))
    }

    /// Whether this user may pass through every folder from the root down to `directory`, which
    /// must be canonical.
    pub(super) fn reaches(&self, directory: &Path) -> bool {
        directory.ancestors().all(|folder| {
            std::fs::metadata(folder).is_ok_and(|metadata| {
                self.may_pass(
                    metadata.uid(),
                    metadata.gid(),
                    metadata.permissions().mode(),
                )
            })
        })
    }

    /// The kernel's rule: the first class that fits decides, even where a later one is wider.
    fn may_pass(&self, owner: u32, group: u32, mode: u32) -> bool {
        let bit = if owner == self.uid {
            0o100
        } else if group == self.gid {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {uid}"), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            name: "server".to_owned(),
            uid: 101,
            gid: 104,
        }
    }

    #[test]
    fn the_class_that_fits_first_decides() {
        assert!(account().may_pass(101, 0, 0o700));
        assert!(!account().may_pass(101, 104, 0o077));
        assert!(account().may_pass(0, 104, 0o710));
        assert!(!account().may_pass(0, 104, 0o701));
        assert!(account().may_pass(0, 0, 0o711));
        assert!(!account().may_pass(0, 0, 0o770));
    }

    #[test]
    fn one_private_folder_above_hides_all_below() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let inner = root.join("private").join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&root, 0o711);
        set(&inner, 0o755);
        set(&root.join("private"), 0o700);
        let stranger = Account {
            name: "stranger".to_owned(),
            uid: 3_999_999_999,
            gid: 3_999_999_999,
        };
        assert!(!stranger.reaches(&inner));
        set(&root.join("private"), 0o711);
        assert_eq!(stranger.reaches(&inner), stranger.reaches(&root));
    }
}
