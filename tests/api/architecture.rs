//! The rules of the house, proven on its source and its schema.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::support::cluster::fresh_database;

/// Which modules of the crate a module may use; the table of ARCHITECTURE.md. What is not listed may use everything.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("telemetry", &[]),
    ("config", &["domain", "providers"]),
    ("store", &["domain"]),
    ("providers", &["domain"]),
    ("meter", &["domain", "store"]),
    ("service", &["domain", "store", "meter", "providers"]),
    (
        "http",
        &["domain", "store", "meter", "service", "telemetry"],
    ),
    ("jobs", &["domain", "store", "service"]),
];

/// The crates that the domain may use: values and their forms, nothing that does anything.
const PURE_CRATES: [&str; 8] = [
    "serde",
    "serde_json",
    "chrono",
    "uuid",
    "thiserror",
    "rust_decimal",
    "utoipa",
    "crc32fast",
];

/// Crates that only some modules may use.
const CRATES_OF: [(&str, &[&str]); 4] = [
    ("actix_web", &["http", "server"]),
    (
        "diesel",
        &["store", "meter", "service", "server", "commands"],
    ),
    ("reqwest", &["providers"]),
    ("clap", &["arguments", "main"]),
];

/// One source file without its tests and comments.
pub(crate) struct Source {
    /// Relative to `src`.
    pub(crate) path: PathBuf,
    pub(crate) code: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        let first = PathBuf::from(first.as_os_str());
        first.file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// How many modules deep the file's own module is.
    fn depth(&self) -> usize {
        let components = self.path.components().count();
        if self.path.ends_with("mod.rs") {
            components - 1
        } else {
            components
        }
    }

    /// The top-level modules that the code names, from the crate's root or by climbing up to it.
    fn uses(&self) -> BTreeSet<String> {
        let climb = "super::".repeat(self.depth());
        ["crate::", climb.as_str()]
            .into_iter()
            .flat_map(|root| self.code.match_indices(root))
            .filter(|(at, _)| !self.code[..*at].ends_with(is_word))
            .map(|(at, root)| {
                let rest = &self.code[at + root.len()..];
                assert!(
                    !rest.starts_with('{'),
                    "{}: name one module in each use of the crate's root",
                    self.path.display()
                );
                rest.split(|c| !is_word(c)).next().unwrap().to_owned()
            })
            .collect()
    }

    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        self.code
            .match_indices(&path)
            .any(|(at, _)| !self.code[..at].ends_with(|c| is_word(c) || c == ':'))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every source file of the crate.
pub(crate) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push(Source {
                    path: path.strip_prefix(&root).unwrap().to_path_buf(),
                    code: production_code(&text),
                });
            }
        }
    }
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

/// What comes before the tests at a file's end, without comments.
fn production_code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut breaches = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            continue;
        };
        for used in source.uses() {
            if used != module && !allowed.contains(&used.as_str()) {
                breaches.push(format!("{}: uses {used}", source.path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_module_has_its_place_in_the_table() {
    let above: BTreeSet<String> = ["lib", "main", "arguments", "commands", "server"]
        .map(str::to_owned)
        .into();
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let found: BTreeSet<String> = sources().iter().map(Source::module).collect();
    assert_eq!(found, &above | &listed);
}

#[test]
fn the_domain_is_pure() {
    let manifest = include_str!("../../Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let crates: Vec<String> = dependencies
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")))
        .collect();
    assert!(crates.contains(&"diesel".to_owned()), "{crates:?}");
    let mut breaches = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.module() == "domain")
    {
        for name in &crates {
            if !PURE_CRATES.contains(&name.as_str()) && source.names_crate(name) {
                breaches.push(format!("{}: uses {name}", source.path.display()));
            }
        }
        for clock in [
            "Utc::now",
            "SystemTime",
            "Instant::now",
            "std::fs",
            "std::net",
            "std::env",
        ] {
            if source.code.contains(clock) {
                breaches.push(format!("{}: uses {clock}", source.path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn crates_stay_in_their_modules() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (name, modules) in CRATES_OF {
            if source.names_crate(name) && !modules.contains(&source.module().as_str()) {
                breaches.push(format!("{}: uses {name}", source.path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn only_the_problems_know_error_statuses() {
    let mut breaches = Vec::new();
    for source in sources() {
        if source.path == Path::new("http/problem.rs") {
            continue;
        }
        for (at, prefix) in ["StatusCode::", "HttpResponse::"]
            .into_iter()
            .flat_map(|prefix| source.code.match_indices(prefix))
        {
            let name: String = source.code[at + prefix.len()..]
                .chars()
                .take_while(|c| is_word(*c))
                .collect();
            if is_error(&name) {
                breaches.push(format!("{}: {prefix}{name}", source.path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// Whether a name, as a status (`NOT_FOUND`) or an answer (`NotFound`) has it, stands for 4xx or 5xx.
fn is_error(name: &str) -> bool {
    let plain = |text: &str| text.replace([' ', '_', '-', '\''], "").to_lowercase();
    (400..600)
        .filter_map(|code| {
            actix_web::http::StatusCode::from_u16(code)
                .ok()?
                .canonical_reason()
        })
        .any(|reason| plain(reason) == plain(name))
}

#[test]
fn error_statuses_are_told_from_others() {
    for name in ["NOT_FOUND", "NotFound", "BadRequest", "SERVICE_UNAVAILABLE"] {
        assert!(is_error(name), "{name}");
    }
    for name in ["OK", "Ok", "Created", "NotModified", "from_error", "build"] {
        assert!(!is_error(name), "{name}");
    }
}

#[test]
fn every_foreign_key_has_an_index() {
    #[derive(QueryableByName)]
    struct Missing {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let database = fresh_database();
    let mut conn = database.connect();
    let missing: Vec<Missing> = diesel::sql_query(
        "SELECT conrelid::regclass || ': ' || conname AS name FROM pg_constraint c \
         WHERE contype = 'f' AND NOT EXISTS ( \
             SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL \
             AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)",
    )
    .load(&mut conn)
    .unwrap();
    let names: Vec<String> = missing.into_iter().map(|row| row.name).collect();
    assert!(names.is_empty(), "foreign keys without an index: {names:?}");
}
