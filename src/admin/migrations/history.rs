//! Migration histories: sqlx's table of applied migrations, one in each migrated schema. A dump of the
//! schema contains it.

#![expect(
    clippy::disallowed_types,
    reason = "the table is named by its schema, which cannot be bound as a parameter"
)]

use std::fmt::Write;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};

/// Name of the table, as sqlx sets it.
pub(in crate::admin) const TABLE: &str = "_sqlx_migrations";

/// A schema to which migrations are applied.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) enum MigratedSchema<'a> {
    /// `public`, which all tenants share.
    Shared,
    /// A tenant's schema.
    Tenant(&'a SchemaName),
}

impl<'a> MigratedSchema<'a> {
    /// Returns the name, as a value and not as SQL.
    pub(in crate::admin) fn name(self) -> &'a str {
        match self {
            Self::Shared => "public",
            Self::Tenant(schema) => schema.as_str(),
        }
    }

    /// Returns the qualified and quoted name of the history, for SQL text. An unqualified name would find a
    /// temporary table if the schema does not exist.
    pub(in crate::admin) fn history_table(self) -> String {
        format!("{}.{TABLE}", self.quoted())
    }

    fn quoted(self) -> String {
        match self {
            Self::Shared => "public".to_owned(),
            Self::Tenant(schema) => schema.quoted(),
        }
    }
}

/// A row of a migration history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppliedMigration {
    /// Version of the migration.
    pub version: i64,
    /// Checksum of the migration's text when it was applied.
    pub checksum: Vec<u8>,
    /// `false` if the migration was begun and not finished.
    pub success: bool,
}

/// Returns whether `schema` exists and has a migration history.
async fn exists(connection: &mut PgConnection, schema: MigratedSchema<'_>) -> Result<bool, DatabaseError> {
    let found = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = $1 AND relnamespace =
                        (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $2))",
    )
    .bind(TABLE)
    .bind(schema.name())
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// Reads the migration history of `schema`. Returns `None` if there is none.
pub(in crate::admin) async fn read(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
) -> Result<Option<Vec<AppliedMigration>>, DatabaseError> {
    if !exists(connection, schema).await? {
        return Ok(None);
    }
    Ok(read_all(connection, [schema]).await?.pop())
}

/// Reads the migration histories of `schemas`, which must exist. They are returned in the order of
/// `schemas`, each in the order of the versions.
///
/// One statement reads them all, and briefly locks each table and its index: with default settings the lock
/// table has room for some thousands (PostgreSQL manual, section 20.12).
pub(in crate::admin) async fn read_all(
    connection: &mut PgConnection,
    schemas: impl IntoIterator<Item = MigratedSchema<'_>>,
) -> Result<Vec<Vec<AppliedMigration>>, DatabaseError> {
    let mut histories = Vec::new();
    let mut statement = String::new();
    for schema in schemas {
        let union = if histories.is_empty() { "" } else { " UNION ALL " };
        // Writing to a String never fails.
        let _ = write!(
            statement,
            "{union}SELECT {}, version::bigint, checksum::bytea, success::boolean FROM {}",
            histories.len(),
            schema.history_table()
        );
        histories.push(Vec::new());
    }
    if histories.is_empty() {
        return Ok(histories);
    }
    statement.push_str(" ORDER BY 1, 2");
    for row in raw_sql(AssertSqlSafe(statement)).fetch_all(connection).await? {
        let number: i32 = row.try_get(0)?;
        let applied = AppliedMigration {
            version: row.try_get(1)?,
            checksum: row.try_get(2)?,
            success: row.try_get(3)?,
        };
        if let Some(history) = usize::try_from(number)
            .ok()
            .and_then(|number| histories.get_mut(number))
        {
            history.push(applied);
        }
    }
    Ok(histories)
}

/// Sets the search path and the lock timeout, in whole milliseconds, of the open transaction.
pub(in crate::admin) async fn enter_schema(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    lock_timeout: Duration,
) -> Result<(), DatabaseError> {
    let statement = format!(
        "SET LOCAL search_path TO {}, pg_temp; SET LOCAL lock_timeout TO {}",
        schema.quoted(),
        lock_timeout.as_millis()
    );
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
