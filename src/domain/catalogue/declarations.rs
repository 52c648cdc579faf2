//! The part of the file that says which features there are.

use super::file::LONGEST_NAME;
use super::reader::{Cursor, Faults, shown};
use super::{FeatureDeclaration, FeatureKind};

const MOST_FEATURES: usize = 200;

/// A declaration that may be faulty: its key is still known, so that the tiers are not blamed for using it.
pub(super) struct Declared {
    pub(super) key: String,
    pub(super) name: Option<String>,
    pub(super) kind: Option<FeatureKind>,
}

impl Declared {
    pub(super) fn sound(self) -> Option<FeatureDeclaration> {
        Some(FeatureDeclaration {
            key: self.key,
            name: self.name?,
            kind: self.kind?,
        })
    }
}

pub(super) fn read_declarations(list: &Cursor<'_>, faults: &mut Faults) -> Option<Vec<Declared>> {
    let mut declared: Vec<Declared> = Vec::new();
    for item in list.list(MOST_FEATURES, faults)? {
        let item = item.named("feature", "key");
        let Some(fields) = item.fields(&["key", "name", "kind"], faults) else {
            continue;
        };
        let key = fields
            .required("key", faults)
            .and_then(|value| value.key(faults));
        let name = fields
            .required("name", faults)
            .and_then(|value| value.prose(LONGEST_NAME, faults));
        let kind = fields
            .required("kind", faults)
            .and_then(|value| read_kind(value, faults));
        let Some(key) = key else { continue };
        if declared.iter().any(|earlier| earlier.key == key) {
            faults.add(
                format!("{}/key", item.pointer),
                format!("the feature `{key}` is declared twice"),
            );
        } else {
            declared.push(Declared { key, name, kind });
        }
    }
    Some(declared)
}

fn read_kind(value: &Cursor<'_>, faults: &mut Faults) -> Option<FeatureKind> {
    const KINDS: [FeatureKind; 4] = [
        FeatureKind::Metered,
        FeatureKind::Allocated,
        FeatureKind::Static,
        FeatureKind::Boolean,
    ];
    let word = value.string(faults)?;
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == word);
    if kind.is_none() {
        let kinds = KINDS.map(FeatureKind::as_str).join(", ");
        value.fault(
            faults,
            format!("there is no kind `{}`; the kinds are {kinds}", shown(word)),
        );
    }
    kind
}
