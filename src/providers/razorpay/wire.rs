//! How calls are made, and answers become objects or errors.

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Razorpay;
use super::lenient::text;
use crate::providers::ProviderError;
use crate::providers::signing::digest;
use crate::providers::transport::{Call, Reply};
use crate::providers::wire::read;

const REFUND_IDEMPOTENCY: HeaderName = HeaderName::from_static("x-refund-idempotency");

/// What one page of a list holds at most.
pub(super) const PAGE: usize = 100;

/// No list that is read whole is longer; one that seems to be does not end.
const MAX_PAGES: usize = 100;

/// One page of any list.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    /// The items; payment links have a name of their own.
    #[serde(alias = "payment_links")]
    pub(super) items: Vec<T>,
}

/// Parameters of a query.
pub(super) type Query<'a> = [(&'a str, &'a str)];

impl Razorpay {
    /// Reads an object or a list.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
    ) -> Result<T, ProviderError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(Call::get(url)).await
    }

    /// Makes or changes something, once: where the answer is lost, nobody knows whether it was done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, ProviderError> {
        self.answer(Call::post_json(self.url(path), body.to_string()))
            .await
    }

    /// Gives money back, once for each mark.
    pub(super) async fn post_refund<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        mark: &str,
    ) -> Result<T, ProviderError> {
        let mark = HeaderValue::from_str(mark).map_err(|_| ProviderError::NotFound)?;
        let call = Call::post_json(self.url(path), body.to_string());
        self.answer(call.idempotent(REFUND_IDEMPOTENCY, mark)).await
    }

    /// One page of a list, from the item of that number on.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        skip: usize,
    ) -> Result<Vec<T>, ProviderError> {
        let (count, skip) = (PAGE.to_string(), skip.to_string());
        let query = [query, &[("count", &count), ("skip", &skip)]].concat();
        let list: List<T> = self.get(path, &query).await?;
        Ok(list.items)
    }

    /// Every item of a list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
    ) -> Result<Vec<T>, ProviderError> {
        let mut all = Vec::new();
        for nth in 0..MAX_PAGES {
            let page = self.page(path, query, nth * PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
        Err(ProviderError::Unreadable {
            reason: format!("a list of more than {MAX_PAGES} pages"),
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.settings.api_base.clone();
        url.set_path(&format!("/v1{path}"));
        url
    }

    async fn answer<T: DeserializeOwned>(&self, call: Call) -> Result<T, ProviderError> {
        let call = call.header(AUTHORIZATION, self.authorization.clone());
        let reply = self.transport.send(&call).await?;
        if (200..300).contains(&reply.status) {
            return read(&reply.body);
        }
        Err(self.refusal(&reply))
    }

    fn refusal(&self, reply: &Reply) -> ProviderError {
        let detail = read::<ErrorBody>(&reply.body).unwrap_or_default().error;
        if reply.is_transient() {
            let reason = match detail.code {
                Some(code) => format!("answered {} ({code})", reply.status),
                None => format!("answered {}", reply.status),
            };
            return ProviderError::Unavailable {
                reason,
                retry_after: reply.retry_after,
            };
        }
        if reply.status == 404 || (reply.status == 400 && detail.names_nothing()) {
            return ProviderError::NotFound;
        }
        let message = match (reply.status, detail.description) {
            (401, _) => "the API key is not valid".to_owned(),
            (_, Some(message)) => {
                let secret = self.settings.key_secret.expose_secret();
                let message: String = message
                    .replace(secret, "[redacted]")
                    .chars()
                    .take(500)
                    .collect();
                match detail.field {
                    Some(field) => format!("{message} [{field}]"),
                    None => message,
                }
            }
            (_, None) => "no reason given".to_owned(),
        };
        ProviderError::Rejected {
            status: reply.status,
            code: detail.code,
            message,
        }
    }
}

/// Whether a request was refused because of that field.
pub(super) fn is_refused_for(error: &ProviderError, field: &str) -> bool {
    matches!(error, ProviderError::Rejected { status: 400, message, .. } if message.ends_with(&format!(" [{field}]")))
}

/// Whether Razorpay understood and said no, as it does to what no longer applies.
pub(super) const fn is_no(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Rejected { status: 400, .. })
}

/// A word that stands for a caller's key wherever Razorpay takes one: its keys have at least ten characters, all of them letters,
/// digits, `-` or `_`.
pub(super) fn mark(key: &str) -> String {
    digest(key.as_bytes()).chars().take(32).collect()
}

/// The body of every refusal.
#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: ErrorDetail,
}

/// Razorpay's account of what was wrong.
#[derive(Debug, Default, Deserialize)]
struct ErrorDetail {
    #[serde(default, deserialize_with = "text")]
    code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    field: Option<String>,
}

impl ErrorDetail {
    /// Razorpay says of an id that it does not have, with the status of a bad request, that it does not exist.
    fn names_nothing(&self) -> bool {
        self.description.as_deref().is_some_and(|description| {
            let said = description.to_ascii_lowercase();
            said.contains("does not exist") || said.contains("is not a valid id")
        })
    }
}
