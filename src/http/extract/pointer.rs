//! JSON Pointers (RFC 6901) to the place of a fault.

use serde_json::Value;
use serde_path_to_error::Segment;

/// The pointer to the member `name` of what `parent` points to.
pub fn member(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Longest pointer that is shown, in characters: names come from the caller, and an answer must not repeat a whole body.
const SHOWN_MAX: usize = 300;

/// The pointer itself, or where it is too long to be shown, the nearest place above it that is not.
pub fn shown(pointer: String) -> String {
    match pointer.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => pointer
            .get(..end)
            .and_then(|start| start.rsplit_once('/'))
            .map_or_else(String::new, |(above, _)| above.to_owned()),
        None => pointer,
    }
}

/// Where serde stopped. Its path ends at the object for a missing or repeated member, which only the message names.
pub(super) fn of_error(path: &serde_path_to_error::Path, message: &str) -> String {
    let place = path
        .iter()
        .fold(String::new(), |parent, segment| match segment {
            Segment::Seq { index } => format!("{parent}/{index}"),
            Segment::Map { key } => member(&parent, key),
            Segment::Enum { variant } => member(&parent, variant),
            Segment::Unknown => parent,
        });
    match member_named_by(message) {
        Some(name) => member(&place, name),
        None => place,
    }
}

fn member_named_by(message: &str) -> Option<&str> {
    let rest = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    rest.split_once('`').map(|(name, _)| name)
}

/// The first string or key that holds U+0000, which PostgreSQL cannot store.
pub(super) fn to_nul(value: &Value) -> Option<String> {
    fn search(value: &Value, place: &str) -> Option<String> {
        match value {
            Value::String(text) => text.contains('\0').then(|| place.to_owned()),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| search(item, &format!("{place}/{index}"))),
            Value::Object(members) => members.iter().find_map(|(name, inner)| {
                let inside = member(place, name);
                if name.contains('\0') {
                    Some(inside)
                } else {
                    search(inner, &inside)
                }
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => None,
        }
    }
    search(value, "")
}
