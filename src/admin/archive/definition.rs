//! Definitions of a tenant's tables, read from the catalog.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::ArchiveError;
use super::format::{ArchivedColumn, ArchivedMigration, ArchivedTable, table_folder};
use crate::admin::migrations::history::{self, MigratedSchema};
use crate::tenancy::SchemaName;

/// Last step of definitions.sql that runs before the rows are loaded.
const LAST_STEP_BEFORE_DATA: i32 = 3;

/// Returns the statements that create the tables, and those that create keys, indexes and the like. Names are
/// unqualified, which requires the schema in the search path.
pub(super) async fn read_statements(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<(String, String), ArchiveError> {
    let (mut tables, mut keys) = (String::new(), String::new());
    for row in fetch_rows(connection, include_str!("definitions.sql"), tenant).await? {
        let script = match row.try_get(0)? {
            ..=LAST_STEP_BEFORE_DATA => &mut tables,
            _ => &mut keys,
        };
        script.extend([row.try_get(1)?, "\n"]);
    }
    Ok((tables, keys))
}

/// Returns descriptions of objects that an import could not restore although the data depends on them.
pub(super) async fn unsupported_objects(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<String>, ArchiveError> {
    texts(&fetch_rows(connection, include_str!("unsupported.sql"), tenant).await?)
}

/// Returns descriptions of objects that an archive does not hold, and that the data does not need.
pub(super) async fn left_out_objects(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<String>, ArchiveError> {
    texts(&fetch_rows(connection, include_str!("left_out.sql"), tenant).await?)
}

/// Returns the tenant's tables that contain rows, ordered by name. Partitions stand for their partitioned table.
pub(super) async fn read_tables(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<ArchivedTable>, ArchiveError> {
    let statement = "
        SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname";
    let names = texts(&fetch_rows(connection, statement, tenant).await?)?;
    let mut tables = Vec::with_capacity(names.len());
    for (name, number) in names.into_iter().zip(1..) {
        tables.push(ArchivedTable {
            folder: table_folder(number, &name),
            columns: read_columns(connection, tenant.as_str(), &name).await?,
            name,
        });
    }
    Ok(tables)
}

/// Returns the columns that COPY writes. Generated columns are excluded: PostgreSQL recomputes them.
pub(super) async fn read_columns(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<Vec<ArchivedColumn>, ArchiveError> {
    let rows = sqlx::query(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         ORDER BY a.attnum",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(connection)
    .await?;
    let columns = rows.iter().map(|row| {
        Ok(ArchivedColumn {
            name: row.try_get(0)?,
            data_type: row.try_get(1)?,
        })
    });
    columns.collect()
}

/// Returns the migration history, or `None` if the tenant has none.
pub(super) async fn read_migrations(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Option<Vec<ArchivedMigration>>, ArchiveError> {
    let history = history::read(connection, MigratedSchema::Tenant(tenant)).await?;
    Ok(history.map(|history| history.iter().map(ArchivedMigration::from).collect()))
}

async fn fetch_rows(
    connection: &mut PgConnection,
    statement: &'static str,
    tenant: &SchemaName,
) -> Result<Vec<PgRow>, ArchiveError> {
    Ok(sqlx::query(statement)
        .bind(tenant.as_str())
        .fetch_all(connection)
        .await?)
}

fn texts(rows: &[PgRow]) -> Result<Vec<String>, ArchiveError> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
