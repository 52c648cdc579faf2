//! Query strings.

use std::collections::HashSet;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::pointer;
use crate::http::problem::{Problem, ProblemKind};

/// The query parameters. `T` must deny unknown fields; every fault is a 400 that names the parameter.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).map_err(|why| Problem::malformed_parameter(name, why))?;
        decode(value).map_err(|why| Problem::malformed_parameter(&name, why))?;
        if !seen.insert(name.clone()) {
            return Err(Problem::malformed_parameter(&name, "given twice"));
        }
    }
    // Everything that this parser would silently replace has been refused above.
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let message = error.inner().to_string();
        let place = pointer::of_error(error.path(), &message);
        ProblemKind::MalformedRequest
            .with_detail("A query parameter cannot be understood.")
            .with_error(place, message)
    })
}

/// Undoes the percent-encoding, strictly: what cannot be decoded, or cannot be stored, is a fault and not a replacement
/// character.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    bytes
                        .next()
                        .and_then(|digit| char::from(digit).to_digit(16))
                };
                let code = digit().zip(digit()).map(|(high, low)| high * 16 + low);
                code.and_then(|code| u8::try_from(code).ok())
                    .ok_or("`%` must be followed by two hexadecimal digits")?
            }
            plain => plain,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| "not UTF-8")?;
    if decoded.contains('\0') {
        return Err("the character U+0000 is not allowed");
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::ids::CustomerId;
    use crate::http::extract::{Cursor, PageLimit};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        customer_id: CustomerId,
        status: Option<String>,
        #[serde(default)]
        cancel: bool,
        #[serde(default)]
        limit: PageLimit,
        cursor: Option<Cursor>,
    }

    #[test]
    fn parameters_are_decoded() {
        let filter: Filter =
            parse("customer_id=user%40x.org&status=past+du%C3%A9&cancel=true&limit=7&").unwrap();
        assert_eq!(filter.customer_id.as_str(), "user@x.org");
        assert_eq!(filter.status.as_deref(), Some("past dué"));
        assert!(filter.cancel && filter.cursor.is_none());
        assert_eq!(filter.limit.get(), 7);
    }

    #[test]
    fn a_fault_names_its_parameter() {
        for (query, pointer) in [
            ("", "/customer_id"),
            ("customer_id=a%20b", "/customer_id"),
            ("customer_id=a&customer_id=a", "/customer_id"),
            ("customer_id=a&customer%5Fid=a", "/customer_id"),
            ("customer_id=a&limit=0", "/limit"),
            ("customer_id=a&limit=101", "/limit"),
            ("customer_id=a&limit=-1", "/limit"),
            ("customer_id=a&limit=", "/limit"),
            ("customer_id=a&limit=ten", "/limit"),
            ("customer_id=a&limit=99999999999999999999", "/limit"),
            ("customer_id=a&cancel=yes", "/cancel"),
            ("customer_id=a&colour=red", "/colour"),
            ("customer_id=a&status=%ff", "/status"),
            ("customer_id=a&status=%00", "/status"),
            ("customer_id=a&status=%zz", "/status"),
            ("customer_id=a&status=%4", "/status"),
        ] {
            let problem = parse::<Filter>(query).unwrap_err();
            let document = problem.document();
            assert_eq!(document.status, 400, "{query}");
            assert_eq!(
                document.errors[0].pointer, pointer,
                "{query}: {}",
                document.errors[0].detail
            );
        }
    }
}
