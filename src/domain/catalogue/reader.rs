//! Taking typed values out of a document while collecting what is wrong instead of stopping at it.

use super::document::Node;
use super::fault::{CatalogueFault, CatalogueFaults};

/// Collects faults.
#[derive(Default)]
pub(super) struct Faults(Vec<CatalogueFault>);

impl Faults {
    pub(super) fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(CatalogueFault {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    /// `value`, if nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, CatalogueFaults> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(CatalogueFaults(self.0)),
        }
    }
}

/// A value, where it stands, and what it belongs to in the words of the file's author.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    pub(super) node: &'a Node,
    pub(super) pointer: String,
    /// Such as "tier `pro`: "; in front of every message. May be empty.
    pub(super) context: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn fault(&self, faults: &mut Faults, detail: impl AsRef<str>) {
        faults.add(
            self.pointer.clone(),
            format!("{}{}", self.context, detail.as_ref()),
        );
    }

    fn expected(&self, faults: &mut Faults, what: &str) {
        let found = self.node.describe();
        self.fault(faults, format!("must be {what}, not {found}"));
    }

    /// The same value, whose messages from here on say what it is by the key that it gives itself in `field`.
    pub(super) fn named(mut self, noun: &str, field: &str) -> Self {
        if let Node::Object(entries) = self.node
            && let Some((_, Node::Text(key))) = entries.iter().find(|(name, _)| name == field)
        {
            self.context = format!("{}{noun} `{}`: ", self.context, shown(key));
        }
        self
    }

    /// The fields of an object that may have these and no others, each once.
    pub(super) fn fields(&self, allowed: &[&str], faults: &mut Faults) -> Option<Fields<'a>> {
        let entries = self.entries(faults)?;
        for (key, value) in &entries {
            if !allowed.contains(&key.as_str()) {
                value.fault(
                    faults,
                    format!(
                        "unknown field `{}`; known are {}",
                        shown(key),
                        allowed.join(", ")
                    ),
                );
            }
        }
        Some(Fields {
            object: self.clone(),
            entries,
        })
    }

    /// The entries of an object whose keys are the author's to choose; of a repeated key, the first.
    pub(super) fn entries(&self, faults: &mut Faults) -> Option<Vec<(&'a String, Cursor<'a>)>> {
        let Node::Object(entries) = self.node else {
            self.expected(faults, "an object");
            return None;
        };
        let mut taken: Vec<(&String, Cursor<'a>)> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let value = Cursor {
                node,
                pointer: format!("{}/{}", self.pointer, escaped(key)),
                context: self.context.clone(),
            };
            if taken.iter().any(|(known, _)| *known == key) {
                value.fault(faults, format!("`{}` is given twice", shown(key)));
            } else {
                taken.push((key, value));
            }
        }
        Some(taken)
    }

    pub(super) fn list(&self, most: usize, faults: &mut Faults) -> Option<Vec<Cursor<'a>>> {
        let Node::List(items) = self.node else {
            self.expected(faults, "a list");
            return None;
        };
        if items.len() > most {
            self.fault(
                faults,
                format!("has {} entries; at most {most} are taken", items.len()),
            );
            return None;
        }
        let item = |(at, node)| Cursor {
            node,
            pointer: format!("{}/{at}", self.pointer),
            context: self.context.clone(),
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A list whose emptiness is a fault, told as `missing`.
    pub(super) fn filled_list(
        &self,
        most: usize,
        missing: &str,
        faults: &mut Faults,
    ) -> Option<Vec<Cursor<'a>>> {
        let items = self.list(most, faults)?;
        if items.is_empty() {
            self.fault(faults, missing);
        }
        Some(items)
    }

    /// An integer in `least..=most`.
    pub(super) fn integer(&self, least: i64, most: i64, faults: &mut Faults) -> Option<i64> {
        let Node::Integer(value) = *self.node else {
            self.expected(faults, "an integer");
            return None;
        };
        if value < least {
            self.fault(faults, format!("{value} is below {least}"));
            return None;
        }
        if value > most {
            self.fault(faults, format!("{value} is above {most}"));
            return None;
        }
        Some(value)
    }

    pub(super) fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        if let Node::Bool(value) = *self.node {
            return Some(value);
        }
        self.expected(faults, "true or false");
        None
    }

    pub(super) fn string(&self, faults: &mut Faults) -> Option<&'a str> {
        if let Node::Text(text) = self.node {
            return Some(text);
        }
        self.expected(faults, "a string");
        None
    }

    /// Text for people: not blank, not over `most` characters, no control characters.
    pub(super) fn prose(&self, most: usize, faults: &mut Faults) -> Option<String> {
        let text = self.string(faults)?;
        if text.trim().is_empty() {
            self.fault(faults, "must not be blank");
        } else if text.chars().count() > most {
            self.fault(faults, format!("is longer than {most} characters"));
        } else if text.chars().any(char::is_control) {
            self.fault(faults, "must not contain control characters");
        } else {
            return Some(text.to_owned());
        }
        None
    }

    /// A tier's or feature's key.
    pub(super) fn key(&self, faults: &mut Faults) -> Option<String> {
        let text = self.string(faults)?;
        if is_key(text) {
            return Some(text.to_owned());
        }
        self.fault(
            faults,
            format!(
                "`{}` is no key: a lower-case letter, then up to 63 of a-z, 0-9, _ and -",
                shown(text)
            ),
        );
        None
    }
}

/// The fields of one object.
pub(super) struct Fields<'a> {
    object: Cursor<'a>,
    entries: Vec<(&'a String, Cursor<'a>)>,
}

impl<'a> Fields<'a> {
    /// The field if it is given, be it null.
    pub(super) fn given(&self, name: &str) -> Option<&Cursor<'a>> {
        self.entries
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The field if it is given and not null.
    pub(super) fn optional(&self, name: &str) -> Option<&Cursor<'a>> {
        self.given(name)
            .filter(|value| !matches!(value.node, Node::Null))
    }

    /// The field, whose absence is a fault.
    pub(super) fn required(&self, name: &str, faults: &mut Faults) -> Option<&Cursor<'a>> {
        let value = self.given(name);
        if value.is_none() {
            self.object
                .fault(faults, format!("the field `{name}` is missing"));
        }
        value
    }
}

fn is_key(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// A key as a JSON pointer's reference token.
fn escaped(key: &str) -> String {
    shown(key).replace('~', "~0").replace('/', "~1")
}

/// What the author wrote, fit for one line of a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}
