//! How to connect to a cluster: URLs and the password in them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::error::EmbeddedError;

/// The cluster's one role: its owner, which Plangate connects as.
pub(super) const ROLE: &str = "plangate";
/// Kept in the cluster's own directory, so that password and cluster are made and moved together.
pub(super) const PASSWORD_FILE: &str = "plangate.password";

/// What a client needs to know.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) socket_directory: PathBuf,
    pub(super) port: u16,
    password: SecretString,
}

impl Access {
    pub(super) fn new(
        cluster: &Path,
        socket_directory: PathBuf,
        port: u16,
    ) -> Result<Self, EmbeddedError> {
        Ok(Self {
            socket_directory,
            port,
            password: read_password(cluster)?,
        })
    }

    /// A URL over the unix socket. Its directory stands where a host would: other spellings that
    /// libpq takes have no host, which URL parsers refuse beside a user.
    pub(super) fn socket_url(&self, database: &str) -> SecretString {
        format!(
            "postgresql://{ROLE}:{}@{}:{}/{}",
            self.password.expose_secret(),
            percent_encoded(self.socket_directory.as_os_str().as_bytes()),
            self.port,
            percent_encoded(database.as_bytes()),
        )
        .into()
    }

    /// A URL over the loopback port, which every client understands. TLS is off because the
    /// server has no certificate and nothing leaves the machine.
    pub(super) fn loopback_url(&self, database: &str) -> SecretString {
        format!(
            "postgresql://{ROLE}:{}@127.0.0.1:{}/{}?sslmode=disable",
            self.password.expose_secret(),
            self.port,
            percent_encoded(database.as_bytes()),
        )
        .into()
    }
}

fn read_password(cluster: &Path) -> Result<SecretString, EmbeddedError> {
    let path = cluster.join(PASSWORD_FILE);
    let text = std::fs::read_to_string(&path).map_err(EmbeddedError::io("read", &path))?;
    Ok(text.trim().into())
}

/// libpq decodes percent signs only, so a space must not become a plus sign.
fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            socket_directory: PathBuf::from("/data dir/socket"),
            port: 20123,
            password: "s3cret".into(),
        }
    }

    #[test]
    fn urls_escape_paths_and_names() {
        assert_eq!(
            access().socket_url("a/b").expose_secret(),
            "postgresql://plangate:s3cret@%2Fdata%20dir%2Fsocket:20123/a%2Fb"
        );
        assert_eq!(
            access().loopback_url("plangate").expose_secret(),
            "postgresql://plangate:s3cret@127.0.0.1:20123/plangate?sslmode=disable"
        );
    }

    #[test]
    fn the_password_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", access()).contains("s3cret"));
    }
}
