//! SQL that finds and drops the objects of a schema, in transactions that fit into the server's lock table.

use sqlx::PgConnection;

use crate::admin::generated_sql::GeneratedSql;
use crate::tenancy::{DatabaseError, SchemaName};

/// Maximum number of tables that one transaction drops. Each takes a lock for itself and for each of its
/// indexes and sequences; the lock table has 64 entries per connection by default (PostgreSQL manual,
/// section 20.12).
const MAX_TABLES_PER_TRANSACTION: i64 = 20;

/// Maximum number of dependents that are listed.
const MAX_DEPENDENTS_LISTED: i64 = 10;

/// Returns the names of the tables, views and foreign tables in `schema`, quoted if SQL requires it.
pub(super) async fn table_names(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    Ok(sqlx::query_scalar(
        "SELECT pg_catalog.quote_ident(c.relname)
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname",
    )
    .bind(schema.as_str())
    .fetch_all(connection)
    .await?)
}

/// Returns the names of the extensions in `schema`, quoted if SQL requires it.
pub(super) async fn extension_names(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    Ok(sqlx::query_scalar(
        "SELECT pg_catalog.quote_ident(e.extname)
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_extension e ON e.extnamespace = n.oid
         WHERE n.nspname = $1 ORDER BY e.extname",
    )
    .bind(schema.as_str())
    .fetch_all(connection)
    .await?)
}

/// Returns the owner of `schema` if the current role lacks the owner's rights.
pub(super) async fn foreign_owner(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Option<String>, DatabaseError> {
    Ok(sqlx::query_scalar(
        "SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(nspowner)) FROM pg_catalog.pg_namespace
         WHERE nspname = $1 AND NOT pg_catalog.pg_has_role(nspowner, 'USAGE')",
    )
    .bind(schema.as_str())
    .fetch_optional(connection)
    .await?)
}

/// Returns descriptions of objects outside `schema` that would be dropped or broken with it.
pub(super) async fn outside_dependents(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    Ok(sqlx::query_scalar(include_str!("dependents.sql"))
        .bind(schema.as_str())
        .bind(MAX_DEPENDENTS_LISTED)
        .fetch_all(connection)
        .await?)
}

/// Drops some tables, views and sequences of `schema`, views first, except those named in `kept` and those
/// of extensions. Returns `false` if none were left.
pub(super) async fn drop_some(
    transaction: &mut PgConnection,
    schema: &SchemaName,
    kept: &[&str],
) -> Result<bool, DatabaseError> {
    let generator = sqlx::query(
        "SELECT pg_catalog.format('DROP %s IF EXISTS %I.%I CASCADE', CASE c.relkind
                    WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
                    WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname)
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname::text <> ALL ($2)
           -- A column's sequence is dropped with the column, a member of an extension only with the extension.
           AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND (
                   d.deptype = 'e'
                   OR c.relkind = 'S' AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')))
         ORDER BY c.relkind NOT IN ('v', 'm'), c.relkind = 'S', NOT c.relispartition, c.oid DESC LIMIT $3",
    )
    .bind(schema.as_str())
    .bind(kept)
    .bind(MAX_TABLES_PER_TRANSACTION);
    let statements = GeneratedSql::fetch(transaction, generator).await?;
    let has_dropped = !statements.is_empty();
    for statement in statements {
        statement.run(transaction).await?;
    }
    Ok(has_dropped)
}

/// Drops `schema` with all objects that are left in it.
pub(super) async fn drop_schema(
    transaction: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), DatabaseError> {
    let generator =
        sqlx::query("SELECT pg_catalog.format('DROP SCHEMA %I CASCADE', $1)").bind(schema.as_str());
    let statement = GeneratedSql::fetch_one(transaction, generator).await?;
    statement.run(transaction).await
}
