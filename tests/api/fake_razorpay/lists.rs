//! Collections: newest first, skipped and counted.

use serde_json::{Value, json};

use super::params::{Params, Refusal};

const DEFAULT_COUNT: i64 = 10;
const MAX_COUNT: i64 = 100;

/// Which part of a collection is asked for.
pub(crate) struct Part {
    from: Option<i64>,
    to: Option<i64>,
    count: usize,
    skip: usize,
}

impl Part {
    pub(crate) fn read(params: &mut Params) -> Result<Self, Refusal> {
        let count = params.within("count", 1, MAX_COUNT)?;
        let skip = params.within("skip", 0, i64::MAX)?;
        Ok(Self {
            from: params.within("from", 0, i64::MAX)?,
            to: params.within("to", 0, i64::MAX)?,
            count: usize::try_from(count.unwrap_or(DEFAULT_COUNT)).expect("it is within bounds"),
            skip: usize::try_from(skip.unwrap_or_default()).expect("it is within bounds"),
        })
    }

    /// Of things in the order in which they were made, those that are `wanted`, as a collection.
    pub(crate) fn of<'a>(
        &self,
        things: impl DoubleEndedIterator<Item = &'a Value>,
        wanted: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let made = |thing: &Value| thing["created_at"].as_i64().unwrap_or_default();
        things
            .rev()
            .filter(|thing| self.from.is_none_or(|from| made(thing) >= from))
            .filter(|thing| self.to.is_none_or(|to| made(thing) <= to))
            .filter(|thing| wanted(thing))
            .skip(self.skip)
            .take(self.count)
            .cloned()
            .collect()
    }
}

pub(crate) fn collection(items: Vec<Value>) -> Value {
    json!({"entity": "collection", "count": items.len(), "items": items})
}
