//! Who did what: one row for each operator's write, in the transaction of that write.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::schema::audit_log;

/// One row.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_log, check_for_backend(diesel::pg::Pg))]
pub struct AuditRow {
    /// UUID version 7: ordered by time.
    pub id: Uuid,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Who: a key's id, never its secret.
    pub actor: String,
    /// What, as `noun.verb`.
    pub action: String,
    /// To whom.
    pub customer_id: Option<String>,
    /// On what.
    pub target: String,
    /// With which parameters.
    pub details: Value,
}

impl AuditRow {
    /// What `actor` did at `now`.
    pub fn new(
        actor: String,
        action: &str,
        customer_id: Option<&str>,
        target: String,
        details: Value,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            occurred_at: now,
            actor,
            action: action.to_owned(),
            customer_id: customer_id.map(str::to_owned),
            target,
            details,
        }
    }
}

/// Adds a row.
pub fn append(conn: &mut PgConnection, row: &AuditRow) -> QueryResult<()> {
    diesel::insert_into(audit_log::table)
        .values(row)
        .execute(conn)?;
    Ok(())
}

/// Rows, newest first, those before `before` (an id of an earlier page) only.
pub fn page(
    conn: &mut PgConnection,
    before: Option<Uuid>,
    limit: i64,
) -> QueryResult<Vec<AuditRow>> {
    let mut query = audit_log::table
        .order(audit_log::id.desc())
        .limit(limit)
        .select(AuditRow::as_select())
        .into_boxed();
    if let Some(before) = before {
        query = query.filter(audit_log::id.lt(before));
    }
    query.load(conn)
}
