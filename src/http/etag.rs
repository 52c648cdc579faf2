//! Answers that a client may keep: an entity tag over the body, and 304 where the client has it already.

use actix_web::http::header::{CACHE_CONTROL, ETAG, EntityTag, Header, IfNoneMatch, VARY};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// How long and for whom an answer may be kept.
#[derive(Debug, Clone, Copy)]
pub enum Keep {
    /// By anybody, for a minute.
    Public,
    /// By this caller, who asks each time whether it changed.
    Private,
}

/// The body as JSON with its entity tag, or 304 without a body.
pub fn tagged(
    request: &HttpRequest,
    body: &impl Serialize,
    keep: Keep,
) -> Result<HttpResponse, Problem> {
    let json = serde_json::to_vec(body).map_err(Problem::internal)?;
    let tag = EntityTag::new_strong(URL_SAFE_NO_PAD.encode(Sha256::digest(&json)));
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key("if-none-match"),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response.insert_header((ETAG, tag.to_string()));
    match keep {
        Keep::Public => response.insert_header((CACHE_CONTROL, "public, max-age=60")),
        Keep::Private => response
            .insert_header((CACHE_CONTROL, "private, no-cache"))
            .append_header((VARY, "Authorization")),
    };
    if known {
        Ok(response.finish())
    } else {
        Ok(response.content_type("application/json").body(json))
    }
}
