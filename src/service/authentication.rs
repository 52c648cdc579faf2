//! From a bearer credential to an [`Actor`].

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::api_keys::ApiKeys;
use super::customer_tokens::CustomerTokens;
use crate::domain::actor::Actor;
use crate::store::pool::StoreError;

/// Where the current time comes from; a test hands in its own.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Judges bearer credentials of all three kinds: the admin key, API keys, customer tokens.
pub struct Authenticator {
    keys: Arc<ApiKeys>,
    tokens: Arc<CustomerTokens>,
    admin_key_sha256: Option<[u8; 32]>,
    now: Now,
}

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown, wrong, expired or revoked. Which of them is not said on purpose.
    #[error("the credential is not valid")]
    Unauthorized,
    /// It could not be judged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Authenticator {
    /// `admin_key` is the configured operator's key; without one only stored keys administer.
    pub fn new(
        keys: Arc<ApiKeys>,
        tokens: Arc<CustomerTokens>,
        admin_key: Option<&SecretString>,
        now: Now,
    ) -> Self {
        Self {
            keys,
            tokens,
            admin_key_sha256: admin_key.map(|key| digest(key.expose_secret())),
            now,
        }
    }

    /// Who presents this credential now.
    pub async fn authenticate(&self, bearer: &str) -> Result<Actor, AuthenticationError> {
        let now = (self.now)();
        // First, because an operator may choose a key that looks like one of the other kinds. Digests are compared so
        // that not even the length shows in the time taken.
        if self.is_admin_key(bearer) {
            return Ok(Actor::Operator);
        }
        if bearer.bytes().filter(|byte| *byte == b'.').count() == 2 {
            let grant = self
                .tokens
                .verify(bearer, now)
                .map_err(|_| AuthenticationError::Unauthorized)?;
            return Ok(Actor::Customer {
                id: grant.customer_id,
                permissions: grant.permissions,
            });
        }
        self.keys
            .authenticate(bearer, now)
            .await?
            .map(Actor::Key)
            .ok_or(AuthenticationError::Unauthorized)
    }

    fn is_admin_key(&self, bearer: &str) -> bool {
        self.admin_key_sha256
            .is_some_and(|expected| bool::from(expected.ct_eq(&digest(bearer))))
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
