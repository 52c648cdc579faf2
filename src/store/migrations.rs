//! Schema migrations, embedded in the binary.

use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Any constant that nothing else in the database uses as an advisory lock.
const MIGRATION_LOCK: i64 = 0x706c_616e_6761_7465;

/// A migration that could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("the database schema could not be brought up to date: {0}")]
pub struct MigrationError(String);

/// Applies what is missing, one process at a time. Returns the names of what was applied.
pub fn run(conn: &mut PgConnection) -> Result<Vec<String>, MigrationError> {
    let lock = |conn: &mut PgConnection, statement: &str| {
        diesel::sql_query(statement)
            .bind::<diesel::sql_types::BigInt, _>(MIGRATION_LOCK)
            .execute(conn)
            .map_err(|error| MigrationError(error.to_string()))
    };
    lock(conn, "SELECT pg_advisory_lock($1)")?;
    let applied = conn
        .run_pending_migrations(MIGRATIONS)
        .map(|versions| versions.iter().map(ToString::to_string).collect())
        .map_err(|error| MigrationError(error.to_string()));
    lock(conn, "SELECT pg_advisory_unlock($1)")?;
    applied
}

/// Whether any migration of this binary is missing in the database.
pub fn pending(conn: &mut PgConnection) -> Result<bool, MigrationError> {
    conn.has_pending_migration(MIGRATIONS)
        .map_err(|error| MigrationError(error.to_string()))
}
