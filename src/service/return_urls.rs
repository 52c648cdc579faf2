//! Where customers may be sent after a checkout.

use url::{Origin, Url};

/// The origins that callers' URLs must have, and the URLs for callers that give none.
#[derive(Debug, Clone, Default)]
pub struct ReturnUrls {
    /// Exact origins: scheme, host and port.
    pub origins: Vec<Origin>,
    /// After a payment.
    pub success_url: Option<Url>,
    /// After turning back.
    pub cancel_url: Option<Url>,
}

/// Why a return URL cannot be used. The message never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReturnUrlError {
    /// None was given and none is configured.
    #[error("is required: no default is configured")]
    Missing,
    /// It is no absolute URL.
    #[error("must be an absolute URL")]
    Malformed,
    /// It holds a user name or a password.
    #[error("must not hold credentials")]
    Credentials,
    /// Its origin is not configured.
    #[error("must have one of the origins that PLANGATE_RETURN_ORIGINS lists")]
    Origin,
}

impl ReturnUrls {
    /// The URL to use: the caller's, if its parsed origin is allowed, else the configured one.
    pub fn choose(
        &self,
        given: Option<&str>,
        default: Option<&Url>,
    ) -> Result<String, ReturnUrlError> {
        let Some(given) = given else {
            return default
                .map(ToString::to_string)
                .ok_or(ReturnUrlError::Missing);
        };
        let url = Url::parse(given).map_err(|_| ReturnUrlError::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ReturnUrlError::Credentials);
        }
        // An opaque origin (`data:`, `javascript:`) equals no configured one.
        if !self.origins.contains(&url.origin()) {
            return Err(ReturnUrlError::Origin);
        }
        Ok(url.to_string())
    }
}
