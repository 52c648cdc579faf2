//! Lists: pages of up to a hundred, newest first, and what they can be narrowed down by.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::params::{Params, Refusal};
use super::state::State;

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: i64 = 100;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paging {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

impl Paging {
    pub(crate) fn read(params: &mut Params) -> Result<Self, Refusal> {
        let limit = match params.integer("limit")? {
            None => DEFAULT_LIMIT,
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => {
                usize::try_from(limit).unwrap_or(DEFAULT_LIMIT)
            }
            Some(limit) => {
                let bound = if limit < 1 {
                    "greater than or equal to 1"
                } else {
                    "less than or equal to 100"
                };
                let message = format!("This value must be {bound} (it currently is '{limit}').");
                return Err(Refusal::invalid(
                    Some("parameter_invalid_integer"),
                    "limit",
                    message,
                ));
            }
        };
        let paging = Self {
            limit,
            after: params.optional("starting_after"),
            before: params.optional("ending_before"),
        };
        if paging.after.is_some() && paging.before.is_some() {
            return Err(Refusal::invalid(
                None,
                "starting_after",
                "You may only specify one of these parameters: starting_after, ending_before.",
            ));
        }
        Ok(paging)
    }

    /// The page of the `newest_first` that are kept. The object that a cursor names need not be among these.
    pub(crate) fn page(
        &self,
        url: &str,
        what: &str,
        newest_first: &[Value],
        keep: impl Fn(&Value) -> bool,
    ) -> Result<Value, Refusal> {
        let position = |param: &str, id: &str| {
            newest_first
                .iter()
                .position(|object| object["id"] == id)
                .ok_or_else(|| Refusal::missing(400, param, what, id))
        };
        let kept = |range: &[Value]| -> Vec<Value> {
            range
                .iter()
                .filter(|object| keep(object))
                .cloned()
                .collect()
        };
        let (data, has_more) = if let Some(before) = &self.before {
            let newer = kept(&newest_first[..position("ending_before", before)?]);
            let left_out = newer.len().saturating_sub(self.limit);
            (newer[left_out..].to_vec(), left_out > 0)
        } else {
            let first = match &self.after {
                Some(after) => position("starting_after", after)? + 1,
                None => 0,
            };
            let mut older = kept(&newest_first[first..]);
            let has_more = older.len() > self.limit;
            older.truncate(self.limit);
            (older, has_more)
        };
        Ok(json!({"object": "list", "data": data, "has_more": has_more, "url": url}))
    }
}

/// The instants that `created` may be narrowed down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Created {
    from: i64,
    to: i64,
}

impl Created {
    pub(crate) fn read(params: &mut Params) -> Result<Self, Refusal> {
        if let Some(at) = params.integer("created")? {
            return Ok(Self { from: at, to: at });
        }
        let mut span = Self {
            from: i64::MIN,
            to: i64::MAX,
        };
        if let Some(at) = params.integer("created[gte]")? {
            span.from = span.from.max(at);
        }
        if let Some(at) = params.integer("created[gt]")? {
            span.from = span.from.max(at + 1);
        }
        if let Some(at) = params.integer("created[lte]")? {
            span.to = span.to.min(at);
        }
        if let Some(at) = params.integer("created[lt]")? {
            span.to = span.to.min(at - 1);
        }
        Ok(span)
    }

    pub(crate) fn holds(&self, object: &Value) -> bool {
        object["created"]
            .as_i64()
            .is_some_and(|at| (self.from..=self.to).contains(&at))
    }
}

pub(crate) fn newest_first(objects: &BTreeMap<String, Value>) -> Vec<Value> {
    objects.values().rev().cloned().collect()
}

/// A parameter that keeps the objects which bear its value at the pointer.
pub(crate) type Filter = (&'static str, &'static str);

impl State {
    /// A list with nothing special about it. A filter that names an object which does not exist is refused.
    pub(crate) fn list(
        &self,
        url: &str,
        what: &str,
        objects: &BTreeMap<String, Value>,
        filters: &[Filter],
        mut params: Params,
    ) -> Result<Value, Refusal> {
        let paging = Paging::read(&mut params)?;
        let created = Created::read(&mut params)?;
        let mut wanted = Vec::new();
        for (param, pointer) in filters {
            let Some(value) = params.optional(param) else {
                continue;
            };
            if self.object(&value).is_none() {
                let named = param.trim_end_matches(']').rsplit('[').next();
                let named = named.unwrap_or(param);
                return Err(Refusal::missing(400, param, named, &value));
            }
            wanted.push((*pointer, value));
        }
        params.finish()?;
        paging.page(url, what, &newest_first(objects), |object| {
            created.holds(object)
                && wanted
                    .iter()
                    .all(|(pointer, value)| object.pointer(pointer) == Some(&json!(value)))
        })
    }

    /// The same with a `status` that is one of a few words.
    pub(crate) fn list_with_status(
        &self,
        url: &str,
        what: &str,
        objects: &BTreeMap<String, Value>,
        filters: &[Filter],
        words: &[&str],
        mut params: Params,
    ) -> Result<Value, Refusal> {
        match params.choice("status", words)? {
            None => self.list(url, what, objects, filters, params),
            Some(status) => {
                let mut objects = objects.clone();
                objects.retain(|_, object| object["status"] == status);
                self.list(url, what, &objects, filters, params)
            }
        }
    }
}
