//! Secrets that a development set-up makes for itself and keeps in its data directory.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::StartError;

/// Bytes of randomness.
const ENTROPY: usize = 32;
/// As for configured secrets: shorter ones could be guessed.
const SHORTEST: usize = 32;

/// A kept secret.
pub(super) struct Kept {
    pub(super) secret: SecretString,
    /// Whether this call made it.
    pub(super) is_new: bool,
}

/// Reads the secret in `path`, or makes one that begins with `prefix` and keeps it there for this user alone.
pub(super) fn keep(path: &Path, prefix: &str) -> Result<Kept, StartError> {
    if let Some(secret) = read(path)? {
        return Ok(Kept {
            secret,
            is_new: false,
        });
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
    }
    let mut entropy = [0; ENTROPY];
    getrandom::fill(&mut entropy).map_err(StartError::Entropy)?;
    let secret = SecretString::from(format!(
        "{prefix}{}",
        BASE64_URL_SAFE_NO_PAD.encode(entropy)
    ));
    // Written aside and linked into place: nobody ever reads half of it, and of two starts at the same time one makes it.
    let draft = path.with_extension(Uuid::now_v7().simple().to_string());
    let written = write(&draft, &secret).map_err(failed("write", &draft));
    let linked = written.map(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked? {
        Ok(()) => Ok(Kept {
            secret,
            is_new: true,
        }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let secret = read(path)?.ok_or_else(|| StartError::SecretMalformed {
                path: path.to_path_buf(),
            })?;
            Ok(Kept {
                secret,
                is_new: false,
            })
        }
        Err(error) => Err(failed("write", path)(error)),
    }
}

fn read(path: &Path) -> Result<Option<SecretString>, StartError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let secret = text.trim_end();
    if secret.len() < SHORTEST || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(StartError::SecretMalformed {
            path: path.to_path_buf(),
        });
    }
    let mode = fs::metadata(path)
        .map_err(failed("inspect", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            "{} can be read by other users; chmod 600 it",
            path.display()
        );
    }
    Ok(Some(SecretString::from(secret)))
}

fn write(path: &Path, secret: &SecretString) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", secret.expose_secret())?;
    file.sync_all()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_path_buf();
    move |source| StartError::SecretFile {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data").join("admin.key");
        let made = keep(&path, "pg_admin_").unwrap();
        assert!(made.is_new);
        assert!(made.secret.expose_secret().starts_with("pg_admin_"));
        assert!(made.secret.expose_secret().len() >= SHORTEST);
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let again = keep(&path, "pg_admin_").unwrap();
        assert!(!again.is_new);
        assert_eq!(again.secret.expose_secret(), made.secret.expose_secret());
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_file_without_a_secret_is_refused_and_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.key");
        for text in ["", "short\n", &"spaced out ".repeat(5)] {
            fs::write(&path, text).unwrap();
            let refused = keep(&path, "").err().unwrap();
            assert!(matches!(refused, StartError::SecretMalformed { .. }));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
