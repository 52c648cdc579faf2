//! Taking settings out of the environment while collecting what is wrong with them.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;

use secrecy::SecretString;

/// One thing that is wrong. It never has a secret's value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// The variable.
    pub name: String,
    /// What is wrong with it, and how to mend it.
    pub problem: String,
}

/// Everything that is wrong with the configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a fault:")?,
            count => write!(f, "the configuration has {count} faults:")?,
        }
        for fault in &self.0 {
            write!(f, "\n  {}: {}", fault.name, fault.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Larger than any secret, smaller than what a mistaken path may point at.
const LONGEST_SECRET_FILE: u64 = 64 << 10;

/// The environment, and what was found wrong and odd in it so far.
pub(super) struct Source<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    pub(super) faults: Vec<ConfigFault>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            lookup,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn fault(&mut self, name: &str, problem: impl Into<String>) {
        self.faults.push(ConfigFault {
            name: name.to_owned(),
            problem: problem.into(),
        });
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// A setting that is no secret; the empty string is how a compose file writes an unset one.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let trimmed = value.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    /// Whether the variable is there with something in it.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Whether the secret was meant to be given, be what was given faulty: then it is not missing too.
    pub(super) fn is_set_as_secret(&self, name: &str) -> bool {
        (self.lookup)(name).is_some() || self.is_set(&format!("{name}_FILE"))
    }

    /// A setting that is one of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.fault(name, format!("set it to {}", words.join(" or ")));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A setting that is a whole number.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.fault(
                name,
                format!("must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    /// The entries of a comma-separated list that is no secret; blank ones are refused.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let entries: Vec<String> = text
            .split(',')
            .map(|entry| entry.trim().to_owned())
            .collect();
        if entries.iter().any(String::is_empty) {
            self.fault(name, "has a blank entry between its commas; remove it");
        }
        entries
    }

    /// As [`Self::secret`], with at least `least` visible ASCII characters.
    pub(super) fn long_secret(&mut self, name: &str, least: usize) -> Option<SecretString> {
        let secret = self.secret(name)?;
        if secret.len() < least {
            self.fault(
                name,
                format!("is shorter than {least} characters; make one with `openssl rand -hex 32`"),
            );
            return None;
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.fault(
                name,
                "has characters other than visible ASCII, which a header cannot carry; make one with `openssl rand -hex 32`",
            );
            return None;
        }
        Some(secret.into())
    }

    /// A secret, from the variable or from the file that `<name>_FILE` names; still to be wrapped, as its form is
    /// looked at first.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let (value, origin) = match ((self.lookup)(name), self.text(&file_name)) {
            (Some(_), Some(_)) => {
                self.fault(
                    name,
                    format!("is set, and so is {file_name}; remove one of them"),
                );
                return None;
            }
            (Some(value), None) => (value, name),
            (None, Some(path)) => match read_secret(&path) {
                Ok(value) => (value, file_name.as_str()),
                Err(problem) => {
                    self.fault(&file_name, problem);
                    return None;
                }
            },
            (None, None) => return None,
        };
        if value.trim().is_empty() {
            self.fault(
                origin,
                "is blank, which no secret is; set it or remove the variable",
            );
            return None;
        }
        if value.trim() != value {
            self.fault(origin, "has white space around the secret; remove it");
            return None;
        }
        Some(value)
    }
}

fn read_secret(path: &str) -> Result<String, String> {
    let unreadable = |reason: String| {
        format!("cannot read the file `{path}`: {reason}; name a file that this user may read")
    };
    let about = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() && about.is_dir() {
        return Err(unreadable("it is a directory".to_owned()));
    }
    if about.len() > LONGEST_SECRET_FILE {
        return Err(unreadable(format!(
            "it is larger than {LONGEST_SECRET_FILE} bytes"
        )));
    }
    let mut secret = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    secret.truncate(secret.trim_end_matches(['\n', '\r']).len());
    Ok(secret)
}
