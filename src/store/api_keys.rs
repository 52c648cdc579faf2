//! Rows of `api_keys`.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::schema::api_keys;
use crate::domain::api_key::KeyRecord;

/// A key as stored: what may be shown of it, and the hash that proves it.
#[derive(Clone)]
pub struct StoredKey {
    /// Everything that may be shown.
    pub record: KeyRecord,
    /// SHA-256 of the secret part.
    pub secret_sha256: Vec<u8>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: String,
    name: String,
    secret_sha256: Vec<u8>,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<Row> for StoredKey {
    fn from(row: Row) -> Self {
        Self {
            record: KeyRecord {
                id: row.id,
                name: row.name,
                // A scope that this version does not know grants nothing.
                scopes: row
                    .scopes
                    .iter()
                    .filter_map(|name| name.parse().ok())
                    .collect(),
                created_at: row.created_at,
                expires_at: row.expires_at,
                revoked_at: row.revoked_at,
            },
            secret_sha256: row.secret_sha256,
        }
    }
}

/// Stores a new key. Fails with a unique violation if the id is taken.
pub fn insert(
    conn: &mut PgConnection,
    record: &KeyRecord,
    secret_sha256: [u8; 32],
) -> QueryResult<()> {
    let row = Row {
        id: record.id.clone(),
        name: record.name.clone(),
        secret_sha256: secret_sha256.to_vec(),
        scopes: record
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        created_at: record.created_at,
        expires_at: record.expires_at,
        revoked_at: record.revoked_at,
    };
    diesel::insert_into(api_keys::table)
        .values(row)
        .execute(conn)?;
    Ok(())
}

/// The key of this id, revoked and expired ones too: judging that takes the time, which is not known here.
pub fn find(conn: &mut PgConnection, id: &str) -> QueryResult<Option<StoredKey>> {
    let row = api_keys::table
        .find(id)
        .select(Row::as_select())
        .first(conn)
        .optional()?;
    Ok(row.map(StoredKey::from))
}

/// Up to `limit` keys, newest first, beginning behind the one that `after` names by creation time and id.
pub fn list(
    conn: &mut PgConnection,
    after: Option<(DateTime<Utc>, String)>,
    limit: i64,
) -> QueryResult<Vec<KeyRecord>> {
    let mut query = api_keys::table
        .select(Row::as_select())
        .order((api_keys::created_at.desc(), api_keys::id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some((created_at, id)) = after {
        query = query.filter(
            api_keys::created_at
                .lt(created_at)
                .or(api_keys::created_at.eq(created_at).and(api_keys::id.lt(id))),
        );
    }
    let rows: Vec<Row> = query.load(conn)?;
    Ok(rows
        .into_iter()
        .map(|row| StoredKey::from(row).record)
        .collect())
}

/// Revokes a key; the first revocation's time stays. False where there is no such key.
pub fn revoke(conn: &mut PgConnection, id: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    let revoked = diesel::update(
        api_keys::table
            .find(id)
            .filter(api_keys::revoked_at.is_null()),
    )
    .set(api_keys::revoked_at.eq(now))
    .execute(conn)?;
    if revoked > 0 {
        return Ok(true);
    }
    diesel::select(diesel::dsl::exists(api_keys::table.find(id))).get_result(conn)
}
