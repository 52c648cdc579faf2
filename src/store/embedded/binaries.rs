//! Finds the machine's PostgreSQL server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EmbeddedError;

/// The oldest major version that the schema is written for.
const MINIMUM_MAJOR: u32 = 14;

/// One installed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    directory: PathBuf,
    major: u32,
}

impl Installation {
    pub(super) fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    /// Where the programs are, for messages.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The major version, such as 17.
    pub(super) fn major(&self) -> u32 {
        self.major
    }
}

/// Finds a server for a new cluster, or, where `cluster` exists, one of the major version that
/// made it. `usable` says whether the user that will run it can reach a folder.
pub(super) fn find(
    cluster: Option<(&Path, u32)>,
    usable: impl Fn(&Path) -> bool,
) -> Result<Installation, EmbeddedError> {
    let (reachable, closed): (Vec<_>, Vec<_>) = installations()
        .into_iter()
        .partition(|installation| usable(&installation.directory));
    let found = reachable
        .iter()
        .chain(&closed)
        .map(|installation| installation.major.to_string())
        .collect();
    match cluster {
        Some((directory, major)) => reachable
            .into_iter()
            .find(|installation| installation.major == major)
            .ok_or_else(|| EmbeddedError::MajorMissing {
                directory: directory.to_path_buf(),
                major,
                found,
            }),
        None => reachable
            .into_iter()
            .find(|installation| installation.major >= MINIMUM_MAJOR)
            .ok_or(EmbeddedError::BinariesMissing {
                minimum: MINIMUM_MAJOR,
                found,
            }),
    }
}

/// All servers, best first: what the user chose by PATH, what `pg_config` names, and then the
/// packages' usual folders from the newest to the oldest.
fn installations() -> Vec<Installation> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut chosen: Vec<PathBuf> = std::env::split_paths(&path)
        .filter_map(|folder| home_of(&folder.join("postgres")))
        .collect();
    chosen.extend(pg_config_directory());
    let mut found: Vec<Installation> = Vec::new();
    for directory in chosen {
        if let Some(installation) = inspect(&directory) {
            insert(&mut found, installation);
        }
    }
    let mut packaged: Vec<Installation> = usual_directories()
        .iter()
        .filter_map(|directory| inspect(directory))
        .collect();
    packaged.sort_by_key(|installation| std::cmp::Reverse(installation.major));
    for installation in packaged {
        insert(&mut found, installation);
    }
    found
}

fn insert(found: &mut Vec<Installation>, installation: Installation) {
    if !found.contains(&installation) {
        found.push(installation);
    }
}

/// The folder that a program really is in. PATH often has links to some of the programs only, and
/// PostgreSQL's look for each other, and for their data files, beside themselves.
fn home_of(program: &Path) -> Option<PathBuf> {
    let real = program.canonicalize().ok()?;
    real.parent().map(Path::to_path_buf)
}

fn pg_config_directory() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let directory = text.trim();
    (output.status.success() && !directory.is_empty()).then(|| PathBuf::from(directory))
}

/// Where packages put servers: Debian and Ubuntu, PGDG's RPMs, Homebrew on both of its prefixes,
/// Postgres.app and plain builds.
fn usual_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for (parent, prefix, below) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("/usr/local", "pgsql", "bin"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        directories.extend(
            entries
                .filter(|entry| starts_with(&entry.file_name(), prefix))
                .map(|entry| entry.path().join(below)),
        );
    }
    directories.sort();
    directories
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(prefix))
}

/// What is installed in a folder, where both programs that Plangate runs are there together.
fn inspect(directory: &Path) -> Option<Installation> {
    let directory = home_of(&directory.join("postgres"))?;
    if !directory.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(directory.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let major = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Installation { directory, major })
}

/// The major version in `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn parse_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL)")?;
    leading_number(version)
}

/// The major version in a cluster's `PG_VERSION` file.
pub(super) fn leading_number(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_packages_betas_and_plain_builds() {
        let debian = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_version("postgres (PostgreSQL) 17.2"), Some(17));
        assert_eq!(parse_version("postgres: unknown"), None);
        assert_eq!(leading_number("16\n"), Some(16));
        assert_eq!(leading_number(""), None);
    }

    #[test]
    fn a_linked_program_leads_to_its_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap().join("lib");
        let links = root.path().join("bin");
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&links).unwrap();
        std::fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        assert_eq!(home_of(&links.join("postgres")), Some(real));
    }

    #[test]
    fn a_cluster_of_a_version_that_is_not_installed_is_refused_by_name() {
        let error = find(Some((Path::new("/data/postgres"), 7)), |_| true).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("PostgreSQL 7"), "{message}");
        assert!(message.contains("/data/postgres"), "{message}");
    }

    #[test]
    fn without_a_server_the_error_says_what_to_install() {
        let message = find(None, |_| false).unwrap_err().to_string();
        for hint in ["apt-get install postgresql", "dnf", "brew", "DATABASE_URL"] {
            assert!(message.contains(hint), "{message}");
        }
    }
}
