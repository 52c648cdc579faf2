//! How typed requests become calls, and answers become objects or errors.

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest, VERSION};
use url::form_urlencoded;

use super::Stripe;
use super::objects::{ErrorBody, HasId, List};
use crate::providers::ProviderError;
use crate::providers::signing::digest;
use crate::providers::transport::{Call, Reply};
pub(super) use crate::providers::wire::{path_id, read};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// Stripe's limit for an idempotency key.
const IDEMPOTENCY_KEY_MAX_CHARS: usize = 255;

/// What one page of a list holds at most.
pub(super) const PAGE: i64 = 100;

/// No list that is read whole is longer; one that seems to be does not end.
const MAX_PAGES: usize = 100;

impl Stripe {
    /// Reads, deletes, or creates under a key that the caller has kept.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        request: &(impl StripeRequest + Sync),
        idempotency_key: Option<&str>,
    ) -> Result<T, ProviderError> {
        let call = self.call(request, idempotency_key);
        self.answer(&call, idempotency_key.is_some()).await
    }

    /// A change that does no harm when it is done again. A key of its own for each call allows repeating after a lost
    /// answer without ever getting yesterday's answer back.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        request: &(impl StripeRequest + Sync),
    ) -> Result<T, ProviderError> {
        let key = uuid::Uuid::now_v7().to_string();
        self.send(request, Some(&key)).await
    }

    /// Reads what has no typed request; `path` begins with the API's generation, such as `/v2`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        let mut url = self.settings.api_base.clone();
        url.set_path(path);
        self.answer(&self.authorized(Call::get(url)), false).await
    }

    /// Every item of a list. `page` asks for the items after one of that id.
    pub(super) async fn list<T, R>(
        &self,
        page: impl Fn(Option<String>) -> R + Send,
    ) -> Result<Vec<T>, ProviderError>
    where
        T: DeserializeOwned + HasId + Send,
        R: StripeRequest + Send + Sync,
    {
        let mut all = Vec::new();
        let mut after = None;
        for _ in 0..MAX_PAGES {
            let request = page(after);
            let List { data, has_more } = self.send::<List<T>>(&request, None).await?;
            after = data.last().filter(|_| has_more).map(|l| l.id().to_owned());
            all.extend(data);
            if after.is_none() {
                return Ok(all);
            }
        }
        Err(ProviderError::Unreadable {
            reason: format!("a list of more than {MAX_PAGES} pages"),
        })
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        call: &Call,
        keyed: bool,
    ) -> Result<T, ProviderError> {
        let reply = self.transport.send(call).await?;
        if (200..300).contains(&reply.status) {
            return read(&reply.body);
        }
        Err(self.refusal(&reply, keyed))
    }

    pub(super) fn call(&self, request: &impl StripeRequest, idempotency_key: Option<&str>) -> Call {
        let request = request.build();
        let mut url = self.settings.api_base.clone();
        url.set_path(&format!("/v1{}", request.path));
        url.set_query(request.query.as_deref().filter(|query| !query.is_empty()));
        let call = match request.method {
            StripeMethod::Get => Call::get(url),
            StripeMethod::Post => Call::post_form(url, request.body.unwrap_or_default()),
            StripeMethod::Delete => {
                // Boxes in between may drop the body of a DELETE; Stripe reads its parameters from the query as well.
                url.set_query(request.body.as_deref().filter(|body| !body.is_empty()));
                Call::delete(url)
            }
        };
        let call = self.authorized(call);
        match idempotency_key {
            Some(key) => call.idempotent(IDEMPOTENCY_KEY, idempotency_header(key)),
            None => call,
        }
    }

    /// The types that make requests and the shapes that answers may have belong to one API version.
    fn authorized(&self, call: Call) -> Call {
        call.header(AUTHORIZATION, self.authorization.clone())
            .header(
                STRIPE_VERSION,
                HeaderValue::from_str(VERSION.as_str()).unwrap_or(HeaderValue::from_static("")),
            )
    }

    fn refusal(&self, reply: &Reply, keyed: bool) -> ProviderError {
        let detail = serde_json::from_slice::<ErrorBody>(&reply.body)
            .unwrap_or_default()
            .error;
        if reply.is_transient() || (reply.status >= 500 && !keyed) {
            let reason = match detail.code {
                Some(code) => format!("answered {} ({code})", reply.status),
                None => format!("answered {}", reply.status),
            };
            return ProviderError::Unavailable {
                reason,
                retry_after: reply.retry_after,
            };
        }
        if reply.status >= 500 {
            // Stripe keeps this failure under the idempotency key and says that repeating is no use: only a new attempt
            // with a new key can succeed.
            let message = "the attempt failed at Stripe for good".to_owned();
            return ProviderError::Rejected {
                status: reply.status,
                code: detail.code.or(detail.kind),
                message,
            };
        }
        if reply.status == 404 {
            return ProviderError::NotFound;
        }
        // Stripe's words about a bad key quote a part of it.
        let message = match (reply.status, detail.message) {
            (401, _) => "the API key is not valid".to_owned(),
            (403, _) => "the API key lacks a permission".to_owned(),
            (_, Some(message)) => {
                let message =
                    message.replace(self.settings.secret_key.expose_secret(), "[redacted]");
                let message: String = message.chars().take(500).collect();
                detail
                    .param
                    .map_or(message.clone(), |param| format!("{message} [{param}]"))
            }
            (_, None) => "no reason given".to_owned(),
        };
        ProviderError::Rejected {
            status: reply.status,
            code: detail.code.or(detail.kind),
            message,
        }
    }
}

/// A typed request, and parameters that the generated types have no words for.
pub(super) struct Extended<R> {
    /// What they have words for.
    pub(super) request: R,
    /// Names and values.
    pub(super) more: Vec<(String, String)>,
}

impl<R: StripeRequest> StripeRequest for Extended<R> {
    type Output = R::Output;

    fn build(&self) -> RequestBuilder {
        let mut request = self.request.build();
        let mut body = request.body.take().unwrap_or_default();
        if !body.is_empty() && !self.more.is_empty() {
            body.push('&');
        }
        let end = body.len();
        let pairs = form_urlencoded::Serializer::for_suffix(body, end)
            .extend_pairs(&self.more)
            .finish();
        request.body = Some(pairs);
        request
    }
}

/// The key itself where it fits, else its digest, which is as unique.
pub(super) fn idempotency_header(key: &str) -> HeaderValue {
    let fits = !key.is_empty()
        && key.len() <= IDEMPOTENCY_KEY_MAX_CHARS
        && key.bytes().all(|b| b.is_ascii_graphic());
    let direct = fits.then(|| HeaderValue::from_str(key).ok()).flatten();
    direct.unwrap_or_else(|| {
        let digest = format!("sha256-{}", digest(key.as_bytes()));
        HeaderValue::from_str(&digest).unwrap_or(HeaderValue::from_static("sha256-"))
    })
}
