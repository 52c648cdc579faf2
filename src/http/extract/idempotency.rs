//! The idempotency key, which may come in the header, in the body, or in both.

use actix_web::HttpRequest;

use crate::domain::ids::IdempotencyKey;
use crate::http::problem::{Problem, ProblemKind};

const HEADER: &str = "Idempotency-Key";

/// The key of this call. 400 for a header that is no key or comes twice, 422 where header and body differ.
pub fn idempotency_key(
    request: &HttpRequest,
    in_body: Option<IdempotencyKey>,
) -> Result<Option<IdempotencyKey>, Problem> {
    let malformed = |why: &str| {
        ProblemKind::MalformedRequest.with_detail(format!("The header `{HEADER}`: {why}."))
    };
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else {
        return Ok(in_body);
    };
    if values.next().is_some() {
        return Err(malformed("given twice"));
    }
    let in_header = std::str::from_utf8(value.as_bytes())
        .map_err(|_| malformed("not UTF-8"))
        .and_then(|text| {
            IdempotencyKey::from_header(text).map_err(|why| malformed(&why.to_string()))
        })?;
    match in_body {
        Some(in_body) if in_body != in_header => Err(Problem::validation(
            "/idempotency_key",
            format!("differs from the header `{HEADER}`"),
        )),
        _ => Ok(Some(in_header)),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text).unwrap()
    }

    fn resolve(headers: &[&str], in_body: Option<&str>) -> Result<Option<IdempotencyKey>, u16> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, value| {
                request.append_header((HEADER, *value))
            })
            .to_http_request();
        idempotency_key(&request, in_body.map(key)).map_err(|problem| problem.document().status)
    }

    #[test]
    fn header_and_body_may_agree_but_not_differ() {
        assert_eq!(resolve(&[], None), Ok(None));
        assert_eq!(resolve(&[], Some("a")), Ok(Some(key("a"))));
        assert_eq!(resolve(&["a"], None), Ok(Some(key("a"))));
        assert_eq!(resolve(&["\"a\""], Some("a")), Ok(Some(key("a"))));
        assert_eq!(resolve(&["a"], Some("b")), Err(422));
        assert_eq!(resolve(&["a", "a"], None), Err(400));
        assert_eq!(resolve(&[""], None), Err(400));
        assert_eq!(resolve(&[&"x".repeat(256)], None), Err(400));
    }
}
