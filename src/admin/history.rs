//! Histories: the tables in which sqlx records what was migrated, one in each schema that is.

#![expect(
    clippy::disallowed_types,
    reason = "a history is named by its schema, which cannot be bound as a parameter"
)]

use std::fmt::Write;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};

/// The name that sqlx gives to a history.
pub(crate) const TABLE: &str = "_sqlx_migrations";

/// A schema that migrations are applied to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MigratedSchema<'a> {
    /// `public`, with what all tenants share.
    Shared,
    /// A tenant's.
    Tenant(&'a SchemaName),
}

impl<'a> MigratedSchema<'a> {
    /// Its name, to be bound as a value or shown to a person.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Shared => "public",
            Self::Tenant(schema) => schema.as_str(),
        }
    }

    /// Its history, qualified and quoted: safe inside SQL text. Where the schema does not exist, a
    /// statement that names it fails, while an unqualified one would find a temporary table.
    pub(crate) fn history(self) -> String {
        format!("{}.{TABLE}", self.quoted())
    }

    fn quoted(self) -> String {
        match self {
            Self::Shared => "public".to_owned(),
            Self::Tenant(schema) => schema.quoted(),
        }
    }
}

/// A row of a history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppliedMigration {
    /// The migration's version.
    pub version: i64,
    /// The checksum of its text as it was when it was applied.
    pub checksum: Vec<u8>,
    /// Whether it was applied to its end.
    pub success: bool,
}

/// Whether `schema` exists and has a history.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
) -> Result<bool, DatabaseError> {
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

/// What the histories of `schemas` say, in their order and in the order of the versions. All must exist.
///
/// One statement reads them all, and locks each of them and its index for a moment: at the default
/// settings the lock table holds some thousands (PostgreSQL manual, section 20.12).
pub(crate) async fn read(
    connection: &mut PgConnection,
    schemas: impl IntoIterator<Item = MigratedSchema<'_>>,
) -> Result<Vec<Vec<AppliedMigration>>, DatabaseError> {
    let mut histories = Vec::new();
    let mut statement = String::new();
    for schema in schemas {
        let union = if histories.is_empty() { "" } else { " UNION ALL " };
        // What is written to a String is never refused.
        let _ = write!(
            statement,
            "{union}SELECT {}, version::bigint, checksum::bytea, success::boolean FROM {}",
            histories.len(),
            schema.history()
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

/// For the transaction that is open on `connection`: `schema` is where unqualified names are created and
/// looked up, and no lock is waited for longer than `lock_timeout`, of which whole milliseconds count.
pub(crate) async fn enter_transaction(
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
