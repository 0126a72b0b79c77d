//! Migration histories: a table of applied migrations in each migrated schema. A dump of the schema contains
//! it. Its columns are those of sqlx's table.
//!
//! Early versions of this program used sqlx's own table name. Such a history is read where it is, and renamed
//! by `migrate`. A table of that name with none of our migrations belongs to another program and is ignored.

#![expect(
    clippy::disallowed_types,
    reason = "the table is named by its schema, which cannot be bound as a parameter"
)]

use std::fmt::Write;
use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use super::legacy;
use super::source::AppliedMigration;
use crate::tenancy::{DatabaseError, SchemaName};

/// Name of the table.
pub(in crate::admin) const TABLE: &str = "_tenant_orders_migrations";

/// Name of the table in early versions, and of other programs' tables that use sqlx.
pub(in crate::admin) const LEGACY_TABLE: &str = "_sqlx_migrations";

/// Both names, for catalog queries.
pub(in crate::admin) const TABLES: [&str; 2] = [TABLE, LEGACY_TABLE];

/// Columns of a history that are read.
const COLUMNS: [&str; 3] = ["version", "checksum", "success"];

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
        self.table(TABLE)
    }

    fn table(self, name: &str) -> String {
        format!("{}.{name}", self.quoted())
    }

    fn quoted(self) -> String {
        match self {
            Self::Shared => "public".to_owned(),
            Self::Tenant(schema) => schema.quoted(),
        }
    }
}

/// A history to read.
pub(in crate::admin) struct HistoryTable<'a> {
    pub(in crate::admin) schema: MigratedSchema<'a>,
    /// `true` if the table has the name of early versions.
    pub(in crate::admin) is_legacy: bool,
}

/// The migration history of a schema.
#[derive(Debug, Default)]
pub(in crate::admin) struct History {
    pub(in crate::admin) applied: Vec<AppliedMigration>,
    /// `true` if the table has the name of early versions.
    pub(in crate::admin) is_legacy: bool,
}

/// Reads the migration history of `schema`. Returns `None` if there is none. A legacy table is read only if it has the
/// expected columns and can be read: otherwise it is another program's.
pub(in crate::admin) async fn read(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
) -> Result<Option<History>, DatabaseError> {
    let is_legacy = sqlx::query_scalar(
        "SELECT c.relname = $2 FROM pg_catalog.pg_class c
         WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $3)
           AND (c.relname = $1
                OR c.relname = $2 AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                   AND (SELECT count(*) = 3 FROM pg_catalog.pg_attribute a
                        WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attname = ANY ($4)))
         ORDER BY c.relname = $2 LIMIT 1",
    )
    .bind(TABLE)
    .bind(LEGACY_TABLE)
    .bind(schema.name())
    .bind(COLUMNS)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(is_legacy) = is_legacy else {
        return Ok(None);
    };
    let histories = read_all(connection, [HistoryTable { schema, is_legacy }]).await?;
    let applied = histories.into_iter().flatten().next();
    Ok(applied.map(|applied| History { applied, is_legacy }))
}

/// Reads migration histories, which must exist. They are returned in the order of `tables`, each in the order
/// of the versions; `None` for another program's table.
///
/// One statement reads them all, and briefly locks each table and its index: with default settings the lock
/// table has room for some thousands (PostgreSQL manual, section 20.12).
pub(in crate::admin) async fn read_all(
    connection: &mut PgConnection,
    tables: impl IntoIterator<Item = HistoryTable<'_>>,
) -> Result<Vec<Option<Vec<AppliedMigration>>>, DatabaseError> {
    let mut histories = Vec::new();
    let mut statement = String::new();
    for HistoryTable { schema, is_legacy } in tables {
        let union = if histories.is_empty() { "" } else { " UNION ALL " };
        let table = schema.table(if is_legacy { LEGACY_TABLE } else { TABLE });
        // Writing to a String never fails.
        let _ = write!(
            statement,
            "{union}SELECT {}, version::bigint, checksum::bytea, success::boolean FROM {table}",
            histories.len(),
        );
        histories.push((is_legacy, Vec::new()));
    }
    if histories.is_empty() {
        return Ok(Vec::new());
    }
    statement.push_str(" ORDER BY 1, 2");
    for row in raw_sql(AssertSqlSafe(statement)).fetch_all(connection).await? {
        let number: i32 = row.try_get(0)?;
        let applied = AppliedMigration {
            version: row.try_get(1)?,
            checksum: row.try_get(2)?,
            success: row.try_get(3)?,
        };
        if let Some((_, history)) = usize::try_from(number)
            .ok()
            .and_then(|number| histories.get_mut(number))
        {
            history.push(applied);
        }
    }
    let histories = histories.into_iter().map(|(is_legacy, history)| {
        let is_ours = !is_legacy || history.iter().any(AppliedMigration::is_compiled_in);
        is_ours.then(|| legacy::modernize(history))
    });
    Ok(histories.collect())
}

/// Renames the history of an early version in one transaction. Returns whether there was one.
pub(super) async fn move_legacy(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    lock_timeout: Duration,
) -> Result<bool, DatabaseError> {
    let found = read(connection, schema).await?;
    let Some(history) = found.filter(|history| history.is_legacy) else {
        return Ok(false);
    };
    let mut transaction = connection.begin().await?;
    enter_schema(&mut transaction, schema, lock_timeout).await?;
    let rename = format!("ALTER TABLE {} RENAME TO {TABLE}", schema.table(LEGACY_TABLE));
    raw_sql(AssertSqlSafe(rename)).execute(&mut *transaction).await?;
    for applied in &history.applied {
        let Some(migration) = legacy::replacement(applied) else {
            continue;
        };
        let table = schema.history_table();
        let delete = format!("DELETE FROM {table} WHERE version = $1");
        sqlx::query(AssertSqlSafe(delete))
            .bind(migration.version)
            .execute(&mut *transaction)
            .await?;
        transaction
            .skip(&table, migration)
            .await
            .map_err(sqlx::Error::from)?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Sets the search path and the lock timeout, in whole milliseconds, of the open transaction. A migration may have set
/// a statement timeout, which ends here.
pub(in crate::admin) async fn enter_schema(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    lock_timeout: Duration,
) -> Result<(), DatabaseError> {
    let (path, lock_timeout) = (schema.quoted(), lock_timeout.as_millis());
    let statement = format!(
        "SET LOCAL search_path TO {path}, pg_temp; SET LOCAL lock_timeout TO {lock_timeout};
         SET LOCAL statement_timeout TO 0"
    );
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Sets the search path and the lock timeout of the session.
pub(super) async fn enter_schema_for_session(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    lock_timeout: Duration,
) -> Result<(), DatabaseError> {
    let (path, lock_timeout) = (schema.quoted(), lock_timeout.as_millis());
    let statement = format!("SET search_path TO {path}, pg_temp; SET lock_timeout TO {lock_timeout}");
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Resets what [`enter_schema_for_session`] sets.
pub(super) async fn leave_schema(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    raw_sql("SET search_path TO pg_catalog, pg_temp; SET lock_timeout TO 0")
        .execute(connection)
        .await?;
    Ok(())
}
