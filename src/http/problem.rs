//! Errors on the wire: RFC 9457 problems. The only file that knows status codes.
//!
//! A handler returns `Err(Problem)`; [`super::request_id`] adds `instance` and `request_id` and writes the body, and turns
//! whatever error comes from the framework into a problem too.

pub mod docs;
mod mapping;

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::extract::pointer;
use crate::service::authentication::AuthenticationError;
use crate::store::pool::StoreError;

/// Media type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! problem_kinds {
    ($($kind:ident = $status:ident $slug:literal $title:literal $explanation:literal;)+) => {
        /// Everything that can go wrong, as far as a caller can tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $(#[doc = $explanation] $kind,)+
        }

        impl ProblemKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Last part of the problem's `type`. Part of the contract: callers match on it.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)+ }
            }

            /// Short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }

            /// HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            /// What it means and what to do about it.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$kind => $explanation,)+ }
            }
        }
    };
}

problem_kinds! {
    MalformedJson = BAD_REQUEST "malformed-json" "Malformed JSON"
        "The body is empty, not UTF-8 or not JSON. Send one well-formed JSON document.";
    MalformedRequest = BAD_REQUEST "malformed-request" "Malformed request"
        "A header, a query parameter or the path cannot be understood. `errors` names the parameter.";
    BadSignature = BAD_REQUEST "bad-signature" "Bad signature"
        "The signature is missing, does not match the bytes received, or is too old. Nothing was stored.";
    NotAnEvent = BAD_REQUEST "not-an-event" "Not an event"
        "The signature is good, but the body is not an event of this provider.";
    Unauthorized = UNAUTHORIZED "unauthorized" "Unauthorized"
        "The bearer credential is missing, unknown, wrong, expired or revoked. Send `Authorization: Bearer <key>`.";
    LimitExceeded = PAYMENT_REQUIRED "limit-exceeded" "Limit exceeded"
        "The plan's limit does not admit this. `decision` has the numbers and, where one exists, the plan that would.";
    FeatureNotInPlan = PAYMENT_REQUIRED "feature-not-in-plan" "Feature not in plan"
        "The plan does not include the feature. `decision` names, where one exists, the plan that does.";
    Forbidden = FORBIDDEN "forbidden" "Forbidden"
        "The credential is good but does not cover this: its scopes are too small, or it belongs to another customer.";
    NotFound = NOT_FOUND "not-found" "Not found"
        "There is no such route or no such thing.";
    UnknownFeature = NOT_FOUND "unknown-feature" "Unknown feature"
        "The catalogue has no feature of this key.";
    UnknownPlan = NOT_FOUND "unknown-plan" "Unknown plan"
        "The catalogue has no tier of this key.";
    UnknownCustomer = NOT_FOUND "unknown-customer" "Unknown customer"
        "The customer was never seen, and this installation does not create customers on first use.";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "Method not allowed"
        "The route exists, but not for this method. `Allow` lists those it has.";
    Conflict = CONFLICT "conflict" "Conflict"
        "The state of the thing forbids this. `detail` says which state.";
    AlreadySubscribed = CONFLICT "already-subscribed" "Already subscribed"
        "The customer is already on this plan.";
    UseChangePlan = CONFLICT "use-change-plan" "Use change-plan"
        "The customer has a live subscription on another plan: change that one with `POST /billing/change-plan`, no checkout needed.";
    PaymentDue = CONFLICT "payment-due" "Payment due"
        "A subscription exists whose payment is outstanding or paused. It has to be settled at the provider; `portal` is the path that opens the billing portal.";
    CheckoutInProgress = CONFLICT "checkout-in-progress" "Checkout in progress"
        "A checkout for another plan is being opened for this customer at the same time. Finish that one or try again.";
    ProviderNotConfigured = CONFLICT "provider-not-configured" "Provider not configured"
        "This installation has no credentials or no price for the payment provider that the request needs.";
    NoProviderCustomer = CONFLICT "no-provider-customer" "No provider customer"
        "The customer has never paid through a payment provider, which therefore has no pages for them.";
    NoPortal = CONFLICT "no-portal" "No portal"
        "The payment provider that bills the customer has no pages for customers. Change, cancel or resume the plan with the routes under `/billing`; the provider itself writes to the customer where a payment needs them.";
    BelowZero = CONFLICT "below-zero" "Below zero"
        "The counter holds less than what was to be taken away.";
    ReservationExpired = CONFLICT "reservation-expired" "Reservation expired"
        "The reservation's time ran out before the commit, and what it held does not fit any more. Nothing was recorded; the next try is judged anew. `decision`, where there is one, has the numbers.";
    PayloadTooLarge = PAYLOAD_TOO_LARGE "payload-too-large" "Payload too large"
        "The body is larger than the route takes: 256 KiB, or 1 MiB for webhooks.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "Unsupported media type"
        "The body must be declared as `application/json` (in UTF-8, without content coding), or as a type that the route lists.";
    ValidationFailed = UNPROCESSABLE_ENTITY "validation-failed" "Validation failed"
        "The JSON is well-formed but not what the route takes. `errors` points at each fault.";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency-key-reused" "Idempotency key reused"
        "The idempotency key already stands for a call with another payload. Use a new key for a new call.";
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal error"
        "A fault of the service. It has been logged under `request_id`.";
    ProviderFailed = BAD_GATEWAY "provider-failed" "Payment provider failed"
        "The payment provider failed or did not answer in time. Try again.";
    PriceMismatch = BAD_GATEWAY "price-mismatch" "Price mismatch"
        "The provider's price differs from the catalogue's, so nothing was sold. An operator has to correct one of them.";
    DatabaseUnavailable = SERVICE_UNAVAILABLE "database-unavailable" "Database unavailable"
        "The database cannot be reached. Repeat the call with the same idempotency key; without one it is not safe to repeat.";
    Overloaded = SERVICE_UNAVAILABLE "overloaded" "Overloaded"
        "More work is waiting than can be done in time. Repeat the call a little later, with the same idempotency key.";
    NotReady = SERVICE_UNAVAILABLE "not-ready" "Not ready"
        "The service is starting or stopping, or something that it needs is missing; `detail` names it.";
}

impl ProblemKind {
    /// A problem of this kind.
    pub fn with_detail(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(self, detail)
    }

    /// The `type` member, a reference relative to the service's own address.
    pub fn type_reference(self) -> String {
        format!("/problems/{}", self.slug())
    }

    /// The kind that stands for an error of the framework's own. The answer takes the kind's status.
    pub fn for_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::ValidationFailed,
            StatusCode::SERVICE_UNAVAILABLE => Self::Overloaded,
            other if other.is_client_error() => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }

    /// Seconds after which a repetition makes sense: a full queue drains at once, a database restarts in seconds, a
    /// wrong price waits for a person.
    pub(super) const fn retry_after(self) -> Option<u16> {
        match self {
            Self::Overloaded => Some(1),
            Self::DatabaseUnavailable | Self::NotReady => Some(2),
            Self::ProviderFailed => Some(5),
            Self::PriceMismatch => Some(60),
            _ => None,
        }
    }
}

/// One fault of a request, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the body, or `/<name>` of a query parameter.
    #[schema(example = "/quantity")]
    pub pointer: String,
    /// What is wrong there.
    #[schema(example = "invalid type: string \"two\", expected i64")]
    pub detail: String,
}

/// The body of every error answer (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(
    as = Problem,
    example = json!({
        "type": "/problems/validation-failed",
        "title": "Validation failed",
        "status": 422,
        "detail": "The body has a fault at /quantity.",
        "instance": "/entitlements/consume",
        "request_id": "0192f0c1-7d3a-7e15-9f53-3c1d0a2b4c5d",
        "errors": [{"pointer": "/quantity", "detail": "invalid type: string \"two\", expected i64"}]
    })
)]
pub struct ProblemDocument {
    /// Which problem this is: a reference that the service documents.
    #[serde(rename = "type")]
    pub type_reference: String,
    /// The same for every occurrence of the type.
    pub title: &'static str,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What happened this time. For people; programs match on `type`.
    pub detail: Cow<'static, str>,
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
    /// The request's id, as in `X-Request-Id` and in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// The faults of an invalid request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// The whole decision behind a 402, or behind a `reservation-expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub decision: Option<Value>,
    /// Members of single types: `portal` of `payment-due`, for example.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// An error that knows how it looks on the wire.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    // Boxed: every handler's `Result` would be as large otherwise.
    document: Box<ProblemDocument>,
    allow: Option<HeaderValue>,
}

impl Problem {
    /// A problem of `kind`; `detail` is shown to the caller as it is.
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            document: Box::new(ProblemDocument {
                type_reference: kind.type_reference(),
                title: kind.title(),
                status: kind.status().as_u16(),
                detail: detail.into(),
                instance: None,
                request_id: None,
                errors: Vec::new(),
                decision: None,
                members: Map::new(),
            }),
            allow: None,
        }
    }

    /// 422: the body is well-formed, but what `pointer` names is not acceptable.
    pub fn validation(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let pointer = pointer::shown(pointer.into());
        let place = if pointer.is_empty() {
            "its root"
        } else {
            &pointer
        };
        Self::new(
            ProblemKind::ValidationFailed,
            format!("The body has a fault at {place}."),
        )
        .with_error(pointer, detail)
    }

    /// 400: the query parameter or header `name` cannot be understood.
    pub fn malformed_parameter(name: &str, detail: impl Into<String>) -> Self {
        let pointer = pointer::shown(pointer::member("", name));
        let what = match pointer.strip_prefix('/') {
            Some(_) => format!("The parameter `{name}` cannot be understood."),
            None => "A parameter cannot be understood.".to_owned(),
        };
        Self::new(ProblemKind::MalformedRequest, what).with_error(pointer, detail)
    }

    /// 500. The cause is logged here, once, and never shown.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(ProblemKind::Internal, ProblemKind::Internal.explanation())
    }

    /// 405 with the methods that the route does have.
    pub fn method_not_allowed(allowed: &str) -> Self {
        let mut problem = Self::new(
            ProblemKind::MethodNotAllowed,
            format!("This route takes {allowed}."),
        );
        problem.allow = HeaderValue::from_str(allowed).ok();
        problem
    }

    /// Adds a fault.
    #[must_use]
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.document.errors.push(FieldError {
            pointer: pointer::shown(pointer.into()),
            detail: detail.into(),
        });
        self
    }

    /// Adds the decision behind a denial.
    #[must_use]
    pub fn with_decision(mut self, decision: Value) -> Self {
        self.document.decision = Some(decision);
        self
    }

    /// Adds a member that only this type of problem has.
    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.document.members.insert(name.into(), value.into());
        self
    }

    /// Which problem this is.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The body, without what only the request knows.
    pub fn document(&self) -> &ProblemDocument {
        &self.document
    }

    /// The body, for a place inside a larger answer (one item of a batch).
    pub fn into_document(self) -> ProblemDocument {
        *self.document
    }

    /// The bytes to send for a request.
    pub(super) fn body(&self, instance: &str, request_id: &str) -> String {
        let document = ProblemDocument {
            instance: Some(instance.to_owned()),
            request_id: Some(request_id.to_owned()),
            ..(*self.document).clone()
        };
        // Serialising fails only for maps whose keys are no strings; there is none in it.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Sets what every problem says in its headers.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // Without it a cache may keep a 404 for a while.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == ProblemKind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.kind.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = &self.allow {
            headers.insert(ALLOW, allow.clone());
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind.slug(), self.document.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        // The body is written by the middleware, which knows the request.
        let mut response = HttpResponse::new(self.kind.status());
        self.write_headers(response.headers_mut());
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Unavailable(_) => ProblemKind::DatabaseUnavailable,
            StoreError::Busy(_) => ProblemKind::Overloaded,
            StoreError::Query(_) => return Self::internal(error),
        };
        tracing::warn!(%error, "answered without the database");
        Self::new(kind, kind.explanation())
    }
}

impl From<AuthenticationError> for Problem {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Unauthorized => Self::new(
                ProblemKind::Unauthorized,
                "The bearer credential is not valid.",
            ),
            AuthenticationError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_fit_for_a_path() {
        let slugs: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for slug in slugs {
            assert!(
                slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{slug}"
            );
        }
    }

    #[test]
    fn a_framework_status_keeps_its_class() {
        for code in 400..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let kind = ProblemKind::for_status(status);
            assert_eq!(
                kind.status().is_client_error(),
                status.is_client_error(),
                "{code}"
            );
        }
    }

    #[test]
    fn statuses_that_ask_for_a_repetition_say_when() {
        for kind in ProblemKind::ALL {
            let asks = matches!(kind.status().as_u16(), 502 | 503);
            let mut headers = HeaderMap::new();
            kind.with_detail("").write_headers(&mut headers);
            assert_eq!(headers.contains_key(RETRY_AFTER), asks, "{kind:?}");
        }
    }

    #[test]
    fn a_document_leaves_out_what_it_has_not() {
        let document = ProblemKind::PaymentDue
            .with_detail("The last invoice is open.")
            .with_member("portal", "/billing/portal")
            .into_document();
        assert_eq!(
            serde_json::to_value(document).unwrap(),
            serde_json::json!({"type": "/problems/payment-due", "title": "Payment due", "status": 409,
                "detail": "The last invoice is open.", "portal": "/billing/portal"})
        );
    }

    #[test]
    fn the_cause_of_an_internal_error_is_not_shown() {
        let problem = Problem::from(StoreError::from(diesel::result::Error::RollbackTransaction));
        assert_eq!(problem.kind(), ProblemKind::Internal);
        assert!(!problem.body("/x", "1").contains("ollback"));
        let away = Problem::from(StoreError::Unavailable("host db.internal".to_owned()));
        assert_eq!(away.kind(), ProblemKind::DatabaseUnavailable);
        assert!(!away.body("/x", "1").contains("db.internal"));
    }
}
