//! What a tenant's tables are, out of the catalog.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::ArchiveError;
use super::format::{Column, Migration, Table, table_folder};
use crate::admin::migrations::history::{self, MigratedSchema};
use crate::tenancy::SchemaName;

/// In definitions.sql, what is before the data.
const LAST_STEP_BEFORE_DATA: i32 = 2;

/// The statements that make the tables, and those that make their keys and the like, both without the
/// schema's name. The search path has to name the schema, for PostgreSQL to leave the name out.
pub(super) async fn statements(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<(String, String), ArchiveError> {
    let (mut tables, mut keys) = (String::new(), String::new());
    for row in rows(connection, include_str!("definitions.sql"), tenant).await? {
        let script = match row.try_get(0)? {
            ..=LAST_STEP_BEFORE_DATA => &mut tables,
            _ => &mut keys,
        };
        script.extend([row.try_get(1)?, "\n"]);
    }
    Ok((tables, keys))
}

/// What would keep the tenant from being imported again.
pub(super) async fn obstacles(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<String>, ArchiveError> {
    texts(&rows(connection, include_str!("obstacles.sql"), tenant).await?)
}

/// What does not come along, without being missed by the data.
pub(super) async fn left_out(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<String>, ArchiveError> {
    texts(&rows(connection, include_str!("left_out.sql"), tenant).await?)
}

/// The tenant's tables, by their names.
pub(super) async fn tables(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Vec<Table>, ArchiveError> {
    let statement = "
        SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname";
    let names = texts(&rows(connection, statement, tenant).await?)?;
    let mut tables = Vec::with_capacity(names.len());
    for (name, number) in names.into_iter().zip(1..) {
        tables.push(Table {
            folder: table_folder(number, &name),
            columns: columns(connection, tenant.as_str(), &name).await?,
            name,
        });
    }
    Ok(tables)
}

/// The columns that COPY writes: generated ones are computed again.
pub(super) async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<Vec<Column>, ArchiveError> {
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
        Ok(Column {
            name: row.try_get(0)?,
            data_type: row.try_get(1)?,
        })
    });
    columns.collect()
}

/// The migration history, if there is one.
pub(super) async fn migrations(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<Option<Vec<Migration>>, ArchiveError> {
    let history = history::read(connection, MigratedSchema::Tenant(tenant)).await?;
    Ok(history.map(|history| history.iter().map(Migration::from).collect()))
}

async fn rows(
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
