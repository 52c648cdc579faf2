//! Request bodies.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::mime::{self, Mime};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::pointer;
use crate::http::problem::{Problem, ProblemKind};

/// Largest body of a JSON route, in bytes.
pub const BODY_LIMIT: usize = 256 * 1024;

/// How long a body may take to arrive: one that trickles in ties up memory.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Longest detail that repeats parts of the body, in characters.
const DETAIL_MAX: usize = 300;

/// A JSON object as body, of media type `application/json`.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { parse(&json_object(&request, payload).await?).map(Self) })
    }
}

/// A JSON object whose items are raw, to be read one by one with [`parse`]: what is wrong with one is its fault alone.
#[derive(Clone, Debug)]
pub struct Envelope<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Envelope<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { parse_envelope(&json_object(&request, payload).await?).map(Self) })
    }
}

/// The bytes of a body that is declared as JSON and is not an array.
async fn json_object(request: &HttpRequest, mut payload: Payload) -> Result<Bytes, Problem> {
    if media_type(request)?.essence_str() != mime::APPLICATION_JSON.essence_str() {
        return Err(unsupported("Only `application/json` is taken here."));
    }
    let body = read_body(request, &mut payload, BODY_LIMIT).await?;
    refuse_array(&body)?;
    Ok(body)
}

/// The declared media type. 415 when there is none, it cannot be read, or its charset is not UTF-8.
pub fn media_type(request: &HttpRequest) -> Result<Mime, Problem> {
    let declared: Mime = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| unsupported("The header `Content-Type` is missing or no media type."))?;
    match declared.get_param(mime::CHARSET) {
        Some(charset) if charset != mime::UTF_8 => Err(unsupported("JSON is always UTF-8.")),
        _ => Ok(declared),
    }
}

/// The raw bytes of the body: 413 beyond `limit` bytes, before any is read where the length is declared; 415 for a
/// content coding, since none is undone here; 400 where it does not arrive in time.
pub async fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> Result<Bytes, Problem> {
    if request
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(unsupported(
            "A content coding is not supported; send the body as it is.",
        ));
    }
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if declared.is_some_and(|length| {
        usize::try_from(length).is_ok_and(|l| l > limit) || length > u64::from(u32::MAX)
    }) {
        return Err(too_large(limit));
    }
    tokio::time::timeout(BODY_PATIENCE, collect(payload, limit))
        .await
        .unwrap_or_else(|_| {
            Err(malformed(format!(
                "The body did not arrive within {} s.",
                BODY_PATIENCE.as_secs()
            )))
        })
}

async fn collect(payload: &mut Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| broken(&error, limit))?;
        if whole.len() + joined.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        // Nearly every body comes in one piece and is then not copied.
        if whole.is_empty() && joined.is_empty() {
            whole = chunk;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&chunk);
        }
    }
    Ok(if joined.is_empty() {
        whole
    } else {
        joined.freeze()
    })
}

/// 422 for a JSON array where an object is taken: serde would also read a struct from an array, by position.
pub fn refuse_array(body: &[u8]) -> Result<(), Problem> {
    if body.trim_ascii_start().starts_with(b"[") {
        parse::<IgnoredAny>(body)?;
        return Err(Problem::validation(
            "",
            "invalid type: sequence, expected an object",
        ));
    }
    Ok(())
}

/// Reads one JSON document. 400 where it is not well-formed, 422 with a pointer where it is not what `T` takes.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = text_of(body)?;
    // The escape is the only way to write U+0000 in JSON, and it is hardly ever there.
    if text.contains("\\u0000")
        && let Ok(value) = serde_json::from_str::<Value>(text)
        && let Some(place) = pointer::to_nul(&value)
    {
        return Err(Problem::validation(
            place,
            "the character U+0000 cannot be stored",
        ));
    }
    read(text)
}

/// The same for a document whose items are raw and are read one by one with [`parse`]: what cannot be stored is the fault
/// of its item alone.
pub fn parse_envelope<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read(text_of(body)?)
}

fn text_of(body: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        malformed(format!(
            "The body is not UTF-8 from byte {} on.",
            error.valid_up_to()
        ))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(malformed("The body is empty."));
    }
    Ok(text)
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Serde stops at the first fault and calls some faults of the data syntax (a number where an enum should be,
        // 1e999), so what is JSON is asked of the whole document.
        if let Err(syntax) = serde_json::from_str::<IgnoredAny>(text) {
            return not_json(&syntax);
        }
        let message = without_position(error.inner());
        Problem::validation(pointer::of_error(error.path(), &message), message)
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(message, _)| message);
    match message.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    malformed(format!("The body is not JSON: {error}."))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    ProblemKind::MalformedJson.with_detail(detail)
}

fn unsupported(detail: &'static str) -> Problem {
    ProblemKind::UnsupportedMediaType.with_detail(detail)
}

fn too_large(limit: usize) -> Problem {
    ProblemKind::PayloadTooLarge.with_detail(format!("The body is larger than {limit} bytes."))
}

fn broken(error: &PayloadError, limit: usize) -> Problem {
    match error {
        PayloadError::Overflow => too_large(limit),
        _ => ProblemKind::MalformedRequest
            .with_detail("The body ended early or its framing is broken."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::test::TestRequest;
    use serde::Deserialize;

    use super::*;
    use crate::domain::ids::CustomerId;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum When {
        Now,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Check {
        #[allow(dead_code)]
        feature: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Consume {
        customer_id: CustomerId,
        quantity: Option<i64>,
        when: Option<When>,
        #[serde(default)]
        checks: Vec<Check>,
        #[serde(default)]
        properties: BTreeMap<String, Value>,
    }

    fn fault(body: &str) -> (u16, String) {
        fault_of(body.as_bytes())
    }

    fn fault_of(body: &[u8]) -> (u16, String) {
        let problem = parse::<Consume>(body).unwrap_err();
        let document = problem.document();
        let pointer = document.errors.first().map(|fault| fault.pointer.clone());
        (document.status, pointer.unwrap_or_default())
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "  ",
            "{",
            "nonsense",
            r#"{"customer_id":"a"} x"#,
            r#"{"customer_id":"a",}"#,
            r#"{"customer_id":"a b""#,
            r#"{"quantity":"x", ?}"#,
            "{\"customer_id\":\"a\0\"}",
        ] {
            let (status, pointer) = fault(body);
            assert_eq!((status, pointer.as_str()), (400, ""), "{body}");
        }
        assert_eq!(fault_of(b"{\"customer_id\":\"\xff\"}").0, 400);
        assert_eq!(fault_of(b"\xef\xbb\xbf{}").0, 400);
    }

    #[test]
    fn a_fault_in_the_data_is_pointed_at() {
        for (body, pointer) in [
            (r#"{"quantity":1}"#, "/customer_id"),
            (r#"{"customer_id":"a","quantity":"x"}"#, "/quantity"),
            (r#"{"customer_id":"a","quantity":1.5}"#, "/quantity"),
            (
                r#"{"customer_id":"a","quantity":9223372036854775808}"#,
                "/quantity",
            ),
            (
                r#"{"customer_id":"a","quantity":99999999999999999999}"#,
                "/quantity",
            ),
            (r#"{"customer_id":"a","quantity":1e999}"#, "/quantity"),
            (r#"{"customer_id":"a b"}"#, "/customer_id"),
            (r#"{"customer_id":null}"#, "/customer_id"),
            (r#"{"customer_id":"\ud800"}"#, "/customer_id"),
            (r#"{"customer_id":"a","customer_id":"a"}"#, "/customer_id"),
            (r#"{"customer_id":"a","a/b~c":1}"#, "/a~1b~0c"),
            (r#"{"customer_id":"a","when":"later"}"#, "/when"),
            (r#"{"customer_id":"a","when":3}"#, "/when"),
            (
                r#"{"customer_id":"a","checks":[{"feature":"f"},{}]}"#,
                "/checks/1/feature",
            ),
            (
                r#"{"customer_id":"a","checks":[{"feature":"f","x":1}]}"#,
                "/checks/0/x",
            ),
            (
                r#"{"customer_id":"a","checks":[{"feature":1}]}"#,
                "/checks/0/feature",
            ),
            (
                r#"{"customer_id":"a","checks":[{"feature":"f","feature":"f"}]}"#,
                "/checks/0/feature",
            ),
            (r#"{"customer_id":"a","checks":{}}"#, "/checks"),
            (r#""text""#, ""),
            ("null", ""),
        ] {
            assert_eq!(fault(body), (422, pointer.to_owned()), "{body}");
        }
    }

    #[test]
    fn the_null_character_is_found_wherever_it_hides() {
        for (body, pointer) in [
            (r#"{"customer_id":"a\u0000"}"#, "/customer_id"),
            (
                r#"{"customer_id":"a","properties":{"k":["",{"x/y":"\u0000"}]}}"#,
                "/properties/k/1/x~1y",
            ),
            (
                r#"{"customer_id":"a","properties":{"\u0000":1}}"#,
                "/properties/\0",
            ),
        ] {
            assert_eq!(fault(body), (422, pointer.to_owned()), "{body}");
        }
        // An escaped backslash before the digits is no escape of U+0000.
        let good: Consume = parse(br#"{"customer_id":"a","properties":{"k":"\\u0000"}}"#).unwrap();
        assert_eq!(good.properties["k"], "\\u0000");
    }

    #[test]
    fn a_long_input_is_not_repeated_whole() {
        let body = format!(
            r#"{{"customer_id":"a","quantity":"{}"}}"#,
            "é".repeat(10_000)
        );
        let problem = parse::<Consume>(body.as_bytes()).unwrap_err();
        assert!(problem.document().errors[0].detail.chars().count() <= DETAIL_MAX + 1);
    }

    async fn extract(request: TestRequest) -> Result<Json<Consume>, u16> {
        let (request, mut payload) = request.to_http_parts();
        Json::<Consume>::from_request(&request, &mut payload)
            .await
            .map_err(|problem| problem.document().status)
    }

    fn post(media_type: &str) -> TestRequest {
        TestRequest::post()
            .insert_header(("content-type", media_type))
            .set_payload(r#"{"customer_id":"acme"}"#)
    }

    #[actix_web::test]
    async fn only_json_in_utf_8_is_taken() {
        for good in ["application/json", "application/JSON; charset=UTF-8"] {
            assert_eq!(
                extract(post(good)).await.unwrap().0.customer_id.as_str(),
                "acme"
            );
        }
        for bad in [
            "text/plain",
            "application/vnd.x+json",
            "application/json; charset=latin1",
            "json",
            "",
        ] {
            assert_eq!(extract(post(bad)).await.unwrap_err(), 415, "{bad}");
        }
        let untyped = TestRequest::post().set_payload("{}");
        assert_eq!(extract(untyped).await.unwrap_err(), 415);
        let coded = post("application/json").insert_header(("content-encoding", "gzip"));
        assert_eq!(extract(coded).await.unwrap_err(), 415);
    }

    #[actix_web::test]
    async fn a_body_beyond_the_limit_is_refused_declared_or_not() {
        let padded = |length: usize| {
            let body = r#"{"customer_id":"acme"}"#;
            format!("{body}{}", " ".repeat(length - body.len()))
        };
        let fits = post("application/json").set_payload(padded(BODY_LIMIT));
        assert!(extract(fits).await.is_ok());
        let larger = post("application/json").set_payload(padded(BODY_LIMIT + 1));
        assert_eq!(extract(larger).await.unwrap_err(), 413);
        for declared in ["262145", "18446744073709551615"] {
            let request = post("application/json").insert_header(("content-length", declared));
            assert_eq!(extract(request).await.unwrap_err(), 413, "{declared}");
        }
    }

    #[actix_web::test]
    async fn a_struct_is_not_read_from_an_array() {
        let array = post("application/json").set_payload(r#"["acme",1]"#);
        assert_eq!(extract(array).await.unwrap_err(), 422);
        let broken = post("application/json").set_payload(r#"["acme",1"#);
        assert_eq!(extract(broken).await.unwrap_err(), 400);
    }
}
