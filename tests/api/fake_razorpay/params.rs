//! Razorpay's parameters, JSON bodies and queries, and its strictness about them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const MAX_NOTES: usize = 15;
const MAX_NOTE: usize = 256;

/// A refusal in Razorpay's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self {
            status,
            body: json!({"error": {
                "code": code, "description": description, "source": "NA", "step": "NA", "reason": "NA",
                "metadata": {},
            }}),
        }
    }

    /// What was asked for cannot be done, whatever the parameters.
    pub(crate) fn bad_request(description: impl Into<String>) -> Self {
        let mut refusal = Self::new(400, "BAD_REQUEST_ERROR", description);
        let error = &mut refusal.body["error"];
        error["source"] = json!("business");
        error["step"] = json!("payment_initiation");
        error["reason"] = json!("input_validation_failed");
        refusal
    }

    pub(crate) fn field(field: &str, description: impl Into<String>) -> Self {
        let mut refusal = Self::bad_request(description);
        refusal.body["error"]["field"] = json!(field);
        refusal
    }

    /// Razorpay answers with 400 here, not with 404.
    pub(crate) fn unknown_id() -> Self {
        Self::bad_request("The id provided does not exist")
    }
}

/// The parameters of one request. Every one must be asked for: what is left over at the end is unknown.
#[derive(Debug, Clone)]
pub(crate) struct Params {
    left: Map<String, Value>,
    /// Where these are inside the body, as in `customer.`.
    inside: String,
    /// Whether numbers come as text.
    query: bool,
}

impl Params {
    pub(crate) fn of_body(body: &Value) -> Result<Self, Refusal> {
        let Value::Object(left) = body else {
            return Err(Refusal::bad_request("The request body is no JSON object"));
        };
        Ok(Self {
            left: left.clone(),
            inside: String::new(),
            query: false,
        })
    }

    pub(crate) fn of_query(query: &BTreeMap<String, String>) -> Self {
        Self {
            left: query.iter().map(|(k, v)| (k.clone(), json!(v))).collect(),
            inside: String::new(),
            query: true,
        }
    }

    fn refuse(&self, name: &str, what: &str) -> Refusal {
        let field = format!("{}{name}", self.inside);
        let description = format!("The {} {what}.", field.replace('_', " "));
        Refusal::field(&field, description)
    }

    /// Without null, which is the same as nothing.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(name, "must be a string")),
        }
    }

    /// A text of at most so many characters.
    pub(crate) fn short(&mut self, name: &str, most: usize) -> Result<Option<String>, Refusal> {
        match self.text(name)? {
            Some(text) if text.chars().count() > most => {
                let what = format!("may not be greater than {most} characters");
                Err(self.refuse(name, &what))
            }
            text => Ok(text),
        }
    }

    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.refuse(name, "field is required"))
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) if self.query => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        number
            .map(Some)
            .ok_or_else(|| self.refuse(name, "must be an integer"))
    }

    /// An integer within bounds.
    pub(crate) fn within(
        &mut self,
        name: &str,
        least: i64,
        most: i64,
    ) -> Result<Option<i64>, Refusal> {
        match self.integer(name)? {
            Some(number) if number < least => {
                Err(self.refuse(name, &format!("must be at least {least}")))
            }
            Some(number) if number > most => {
                Err(self.refuse(name, &format!("may not be greater than {most}")))
            }
            number => Ok(number),
        }
    }

    pub(crate) fn required_within(
        &mut self,
        name: &str,
        least: i64,
        most: i64,
    ) -> Result<i64, Refusal> {
        self.within(name, least, most)?
            .ok_or_else(|| self.refuse(name, "field is required"))
    }

    /// True and false, also as 1 and 0.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(value) if value == 0 || value == "0" => Ok(Some(false)),
            Some(value) if value == 1 || value == "1" => Ok(Some(true)),
            Some(_) => Err(self.refuse(name, "field must be true or false")),
        }
    }

    pub(crate) fn address(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.text(name)? {
            Some(text) if url::Url::parse(&text).is_err() => {
                Err(self.refuse(name, "format is invalid"))
            }
            text => Ok(text),
        }
    }

    pub(crate) fn email(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.short(name, 64)? {
            Some(text) if !is_email(&text) => {
                Err(self.refuse(name, "must be a valid email address"))
            }
            text => Ok(text),
        }
    }

    /// The one word that may be said.
    pub(crate) fn word(&mut self, name: &str, word: &str) -> Result<bool, Refusal> {
        match self.text(name)? {
            None => Ok(false),
            Some(text) if text == word => Ok(true),
            Some(_) => Err(self.refuse(name, &format!("must be {word}"))),
        }
    }

    /// Notes within Razorpay's limits; none are an empty list, as Razorpay has it.
    pub(crate) fn notes(&mut self) -> Result<Value, Refusal> {
        let notes = match self.take("notes") {
            None => Map::new(),
            Some(Value::Array(list)) if list.is_empty() => Map::new(),
            Some(Value::Object(notes)) => notes,
            Some(_) => return Err(self.refuse("notes", "must be an object")),
        };
        if notes.len() > MAX_NOTES {
            return Err(self.refuse("notes", "may have at most 15 keys"));
        }
        let good = |value: &Value| match value {
            Value::String(text) => text.chars().count() <= MAX_NOTE,
            Value::Number(_) => true,
            _ => false,
        };
        if !notes.values().all(good) {
            return Err(self.refuse("notes", "values must be strings of at most 256 characters"));
        }
        Ok(if notes.is_empty() {
            json!([])
        } else {
            Value::Object(notes)
        })
    }

    /// The parameters of an object inside this one; none are given where it is missing.
    pub(crate) fn object(&mut self, name: &str) -> Result<Self, Refusal> {
        let left = match self.take(name) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(self.refuse(name, "must be an object")),
        };
        Ok(Self {
            left,
            inside: format!("{}{name}.", self.inside),
            query: false,
        })
    }

    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name = format!("{}{name}", self.inside);
                let description = format!("{name} is/are not required and should not be sent");
                Err(Refusal::bad_request(description))
            }
        }
    }
}

fn is_email(text: &str) -> bool {
    let domain = text.split_once('@').map(|(name, domain)| {
        let named = !name.is_empty() && !domain.contains('@');
        named && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
    });
    domain == Some(true) && !text.contains(char::is_whitespace)
}
