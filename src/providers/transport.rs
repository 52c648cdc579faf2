//! The one HTTP client for all providers: pooled connections, strict time-outs, and the retry loop.

use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, redirect};
use url::Url;

use super::ProviderError;

/// Answers are small; more than this is not from a payment API.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// How long one attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the TCP and TLS handshakes.
    pub connect: Duration,
    /// For the whole attempt, the body included.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(10),
        }
    }
}

/// When and how often a request is repeated.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The pause after the first failure; it doubles after each further one.
    pub base_delay: Duration,
    /// The longest pause that back-off alone makes.
    pub max_delay: Duration,
    /// The time after which no attempt is begun and none goes on. A caller waits behind this: too long piles requests
    /// up, too short turns every hiccup of the provider into a failed checkout.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(2),
            budget: Duration::from_secs(20),
        }
    }
}

impl RetryPolicy {
    /// The pause after the `failures`-th failure (from 1). Half of it is chance, so that callers who failed together do
    /// not come back together; the provider's own wish is never undercut.
    fn pause(&self, failures: u32, retry_after: Option<Duration>, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let full = self
            .base_delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay);
        let half = full / 2;
        let chance = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(u64::from(random) % chance.saturating_add(1));
        (half + jitter).max(retry_after.unwrap_or_default())
    }
}

/// The client could not be built; the machine has no usable TLS set-up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for payment providers cannot be built: {0}")]
pub struct TransportSetupError(reqwest::Error);

/// The shared client. Cloning it shares the connection pool.
#[derive(Debug, Clone)]
pub struct Transport {
    client: reqwest::Client,
    timeouts: Timeouts,
    retry: RetryPolicy,
}

/// One request to a provider.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
    repeatable: bool,
}

impl Call {
    /// A read. It can be repeated freely.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            repeatable: true,
        }
    }

    /// A write with a form-encoded body. It is sent once only, unless [`Call::idempotent`] makes it safe to repeat.
    pub fn post_form(url: Url, body: String) -> Self {
        Self::post(url, body, "application/x-www-form-urlencoded")
    }

    /// The same with a JSON body.
    pub fn post_json(url: Url, body: String) -> Self {
        Self::post(url, body, "application/json")
    }

    fn post(url: Url, body: String, content_type: &'static str) -> Self {
        let mut call = Self {
            method: Method::POST,
            url,
            headers: HeaderMap::new(),
            body: Some(body),
            repeatable: false,
        };
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        call
    }

    /// A deletion. Whatever is gone stays gone, so it can be repeated.
    pub fn delete(url: Url) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(url)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends `key` in the provider's idempotency header with every attempt, which allows repeating a write.
    #[must_use]
    pub fn idempotent(mut self, name: HeaderName, key: HeaderValue) -> Self {
        self.headers.insert(name, key);
        self.repeatable = true;
        self
    }
}

/// The provider's last answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The whole body.
    pub body: Vec<u8>,
    should_retry: Option<bool>,
}

impl Reply {
    /// Whether the provider says that the same request can succeed later: its own word, or by the status.
    pub fn is_transient(&self) -> bool {
        self.status >= 400
            && self
                .should_retry
                .unwrap_or(matches!(self.status, 409 | 429 | 500..=599))
    }
}

impl Transport {
    /// Builds the client. Do this once and share it.
    pub fn new(timeouts: Timeouts, retry: RetryPolicy) -> Result<Self, TransportSetupError> {
        let client = reqwest::Client::builder()
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.total)
            // Providers do not redirect. Following one could carry a credential to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("plangate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(TransportSetupError)?;
        Ok(Self {
            client,
            timeouts,
            retry,
        })
    }

    /// Sends the call, repeating it as the policy allows. The answer is returned whatever its status: a transient one
    /// means that repeating did not help. No answer at all is [`ProviderError::Unavailable`].
    pub async fn send(&self, call: &Call) -> Result<Reply, ProviderError> {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let left = self.retry.budget.saturating_sub(began.elapsed());
            let outcome = self.attempt(call, self.timeouts.total.min(left)).await;
            if matches!(&outcome, Ok(reply) if !reply.is_transient()) {
                return outcome;
            }
            failures += 1;
            if !call.repeatable || failures >= self.retry.attempts {
                return outcome;
            }
            let retry_after = outcome.as_ref().ok().and_then(|reply| reply.retry_after);
            let pause = self.retry.pause(failures, retry_after, random());
            if began.elapsed() + pause >= self.retry.budget {
                return outcome;
            }
            tracing::debug!(
                path = call.url.path(),
                status = outcome.as_ref().ok().map(|reply| reply.status),
                failures,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "payment provider did not take the request; repeating it"
            );
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call, limit: Duration) -> Result<Reply, ProviderError> {
        let mut request = self
            .client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone())
            .timeout(limit);
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(unavailable)?;
        let mut reply = Reply {
            status: response.status().as_u16(),
            retry_after: header(&response, RETRY_AFTER.as_str())
                .and_then(|s| s.parse().ok())
                .map(Duration::from_secs),
            should_retry: header(&response, "stripe-should-retry")
                .and_then(|word| word.parse().ok()),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if reply.body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ProviderError::Unreadable {
                    reason: format!("longer than {MAX_BODY_BYTES} bytes"),
                });
            }
            reply.body.extend_from_slice(&chunk);
        }
        Ok(reply)
    }
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok().map(str::trim)
}

/// Says what kind of failure it was; the client's own words could carry the address with its query.
fn unavailable(error: reqwest::Error) -> ProviderError {
    let reason = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    tracing::debug!(error = ?error.without_url(), "request to payment provider failed");
    ProviderError::Unavailable {
        reason: reason.to_owned(),
        retry_after: None,
    }
}

/// Chance for the jitter. Without a working generator all pauses are merely equal.
fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts: 5,
        base_delay: Duration::from_millis(100),
        max_delay: Duration::from_millis(400),
        budget: Duration::from_secs(1),
    };

    #[test]
    fn pauses_double_up_to_the_longest_and_half_is_chance() {
        let shortest = |failures| POLICY.pause(failures, None, 0).as_millis();
        assert_eq!([1, 2, 3, 4, 40].map(shortest), [50, 100, 200, 200, 200]);
        for random in [1, 77, u32::MAX] {
            let pause = POLICY.pause(2, None, random);
            assert!((100..=200).contains(&pause.as_millis()), "{pause:?}");
        }
    }

    #[test]
    fn the_providers_wish_is_never_undercut() {
        let wish = Duration::from_secs(7);
        assert_eq!(POLICY.pause(1, Some(wish), u32::MAX), wish);
        assert!(POLICY.pause(1, Some(Duration::ZERO), 0) >= Duration::from_millis(50));
    }

    #[test]
    fn the_providers_word_goes_before_the_status() {
        let reply = |status, should_retry| Reply {
            status,
            retry_after: None,
            body: Vec::new(),
            should_retry,
        };
        for status in [409, 429, 500, 503] {
            assert!(reply(status, None).is_transient(), "{status}");
            assert!(!reply(status, Some(false)).is_transient(), "{status}");
        }
        for status in [400, 401, 402, 404] {
            assert!(!reply(status, None).is_transient(), "{status}");
            assert!(reply(status, Some(true)).is_transient(), "{status}");
        }
        assert!(!reply(200, Some(true)).is_transient());
    }
}
