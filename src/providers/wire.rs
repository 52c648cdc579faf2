//! What goes over any provider's wire: ids that are fit for a path or for our tables, and bodies that say where reading them stopped.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{ProviderError, WebhookError};

/// Ids are a few dozen characters; the inbox stores them under a unique index.
const MAX_ID_CHARS: usize = 255;

/// Ids go into the path as they are, so only what providers' ids are made of may pass.
pub(super) fn path_id(id: &str) -> Result<&str, ProviderError> {
    let sane = !id.is_empty()
        && id.len() <= MAX_ID_CHARS
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if sane {
        Ok(id)
    } else {
        Err(ProviderError::NotFound)
    }
}

/// What can be stored and looked up: ids and types have no control characters, NUL among them, and an end.
pub(super) fn is_storable(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= MAX_ID_CHARS && !id.chars().any(char::is_control)
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProviderError> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(
        |error| ProviderError::Unreadable {
            reason: error.to_string(),
        },
    )
}

/// Reads the body of a webhook, all of it.
pub(super) fn read_event<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, WebhookError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(not_an_event)?;
    json.end().map_err(not_an_event)?;
    Ok(value)
}

/// Says why a body is none of an event.
pub(super) fn not_an_event(reason: impl ToString) -> WebhookError {
    WebhookError::NotAnEvent {
        reason: reason.to_string(),
    }
}

/// Reads each item of a list by itself: one that cannot be read must not hide the others.
pub(super) fn each_readable<T>(
    list: &'static str,
    items: &[Box<RawValue>],
    read_one: impl Fn(&[u8]) -> Result<T, String>,
) -> Vec<T> {
    let mut readable = Vec::with_capacity(items.len());
    for item in items {
        match read_one(item.get().as_bytes()) {
            Ok(item) => readable.push(item),
            Err(reason) => {
                let id = id_of(item).unwrap_or_default();
                tracing::warn!(
                    list,
                    id,
                    reason,
                    "left out of a provider's list: unreadable"
                );
            }
        }
    }
    readable
}

/// The id of an object, whatever else it is.
pub(super) fn id_of(item: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: String,
    }
    let item: Identified = read(item.get().as_bytes()).ok()?;
    Some(item.id)
}
