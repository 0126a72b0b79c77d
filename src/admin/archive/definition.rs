//! Definitions of a tenant's tables, read from the catalog.

use sqlx::PgConnection;

use super::ArchiveError;
use super::format::{ArchivedColumn, ArchivedTable, table_folder};
use crate::tenancy::SchemaName;

/// Last step of definitions.sql that runs before the rows are loaded.
const LAST_STEP_BEFORE_DATA: i32 = 3;

/// Objects that an import could not restore although the data depends on them.
pub(super) const UNSUPPORTED: &str = include_str!("unsupported.sql");

/// Objects that an archive does not hold, and that the data does not need.
pub(super) const LEFT_OUT: &str = include_str!("left_out.sql");

const TABLES: &str = "
    SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname";

/// Returns the statements that create the tables, and those that create keys, indexes and the like. Names are
/// unqualified, which requires the schema in the search path.
pub(super) async fn read_statements(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<(String, String), ArchiveError> {
    let statements: Vec<(i32, String)> = sqlx::query_as(include_str!("definitions.sql"))
        .bind(tenant.as_str())
        .fetch_all(connection)
        .await?;
    let (mut tables, mut keys) = (String::new(), String::new());
    for (step, statement) in statements {
        let script = if step <= LAST_STEP_BEFORE_DATA {
            &mut tables
        } else {
            &mut keys
        };
        script.extend([&statement, "\n"]);
    }
    Ok((tables, keys))
}

/// Returns the texts that `query` finds for the tenant.
pub(super) async fn read_texts(
    connection: &mut PgConnection,
    query: &'static str,
    tenant: &SchemaName,
) -> Result<Vec<String>, ArchiveError> {
    let query = sqlx::query_scalar(query).bind(tenant.as_str());
    Ok(query.fetch_all(connection).await?)
}

/// Returns the tenant's tables that contain rows, ordered by name. Partitions stand for their partitioned table.
pub(super) async fn read_tables(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<ArchivedTable>, ArchiveError> {
    let names = read_texts(connection, TABLES, tenant).await?;
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
    let columns = sqlx::query_as(
        "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS data_type
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         ORDER BY a.attnum",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(connection)
    .await?;
    Ok(columns)
}
