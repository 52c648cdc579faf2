//! Making, judging and revoking API keys.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::Connection;
use moka::sync::Cache;
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;

use crate::domain::api_key::{ApiKey, KEY_ENTROPY, KeyMode, KeyRecord, Scope};
use crate::store::api_keys::{self as rows, StoredKey};
use crate::store::audit::{self, AuditRow};
use crate::store::pool::{self, Pool, StoreError};

/// How long a key just read is believed. It bounds how long another replica honours a revoked key.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// Bounds the memory that made-up keys can take; more live keys than this only cost look-ups.
const BELIEVED_AT_MOST: u64 = 10_000;

/// The API keys of this installation.
pub struct ApiKeys {
    pool: Pool,
    mode: KeyMode,
    // A cell and not a value: callers that miss at the same time share one look-up.
    recent: Cache<String, Arc<OnceCell<Option<Arc<KeyInUse>>>>>,
}

struct KeyInUse {
    record: Arc<KeyRecord>,
    secret_sha256: Vec<u8>,
}

/// A key just made.
pub struct CreatedKey {
    /// The whole key. It cannot be shown again.
    pub key: SecretString,
    /// What is kept of it.
    pub record: KeyRecord,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// The operating system gave no randomness.
    #[error("no randomness for a new key: {0}")]
    Entropy(getrandom::Error),
    /// The key could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApiKeys {
    /// Keys of `mode`, stored in the database behind `pool`.
    pub fn new(pool: Pool, mode: KeyMode) -> Self {
        Self {
            pool,
            mode,
            recent: Cache::builder()
                .max_capacity(BELIEVED_AT_MOST)
                .time_to_live(BELIEVED_FOR)
                .build(),
        }
    }

    /// Makes and stores a key. `actor` is named in the audit log.
    pub async fn create(
        &self,
        actor: String,
        name: String,
        scopes: Vec<Scope>,
        expires_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<CreatedKey, CreateKeyError> {
        let mut entropy = [0; KEY_ENTROPY];
        getrandom::fill(&mut entropy).map_err(CreateKeyError::Entropy)?;
        let key = ApiKey::from_entropy(self.mode, &entropy);
        let record = KeyRecord {
            id: key.id().to_owned(),
            name,
            scopes,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        let secret_sha256 = hash(key.secret());
        let stored = record.clone();
        pool::run(&self.pool, move |conn| {
            conn.transaction(|conn| {
                rows::insert(conn, &stored, secret_sha256)?;
                let details = json!({"name": stored.name, "scopes": stored.scopes, "expires_at": stored.expires_at});
                audit::append(conn, &AuditRow::new(actor, "api_key.create", None, stored.id, details, now))
            })
            .map_err(StoreError::from)
        })
        .await?;
        Ok(CreatedKey {
            key: SecretString::from(key.reveal()),
            record,
        })
    }

    /// The stored key that `text` proves, if it is good at `now`. None says nothing of the reason, so that a caller
    /// cannot learn which ids exist.
    pub async fn authenticate(
        &self,
        text: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let Some(key) = ApiKey::parse(text).filter(|key| key.mode() == self.mode) else {
            return Ok(None);
        };
        let Some(stored) = self.recent(key.id()).await? else {
            return Ok(None);
        };
        let proven = bool::from(hash(key.secret()).as_slice().ct_eq(&stored.secret_sha256));
        Ok((proven && stored.record.is_live(now)).then(|| Arc::clone(&stored.record)))
    }

    /// Up to `limit` keys, newest first, behind the one that `after` names by creation time and id.
    pub async fn list(
        &self,
        after: Option<(DateTime<Utc>, String)>,
        limit: i64,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        pool::run(&self.pool, move |conn| {
            rows::list(conn, after, limit).map_err(StoreError::from)
        })
        .await
    }

    /// Revokes a key: here at once, on other replicas within a second. False where there is no such key.
    pub async fn revoke(
        &self,
        actor: String,
        id: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let key = id.to_owned();
        let found = pool::run(&self.pool, move |conn| {
            conn.transaction(|conn| {
                let found = rows::revoke(conn, &key, now)?;
                if found {
                    audit::append(
                        conn,
                        &AuditRow::new(actor, "api_key.revoke", None, key, json!({}), now),
                    )?;
                }
                Ok(found)
            })
            .map_err(|error: diesel::result::Error| StoreError::from(error))
        })
        .await?;
        self.recent.invalidate(id);
        Ok(found)
    }

    async fn recent(&self, id: &str) -> Result<Option<Arc<KeyInUse>>, StoreError> {
        // The cell's age is counted from before the look-up, so nothing is ever believed for longer than stated.
        let cell = self
            .recent
            .get_with_by_ref(id, || Arc::new(OnceCell::new()));
        let found = cell
            .get_or_try_init(|| async {
                let id = id.to_owned();
                pool::run(&self.pool, move |conn| {
                    rows::find(conn, &id).map_err(StoreError::from)
                })
                .await
                .map(|stored| stored.map(|stored| Arc::new(KeyInUse::from(stored))))
            })
            .await?
            .clone();
        if found.is_none() {
            // A key may be made a moment after it was asked for.
            self.recent.invalidate(id);
        }
        Ok(found)
    }
}

impl From<StoredKey> for KeyInUse {
    fn from(stored: StoredKey) -> Self {
        Self {
            record: Arc::new(stored.record),
            secret_sha256: stored.secret_sha256,
        }
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
