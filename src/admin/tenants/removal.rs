//! SQL that finds and drops the objects of a schema, in transactions that fit into the server's lock table.

use sqlx::PgConnection;

use crate::admin::generated_sql::GeneratedSql;
use crate::tenancy::{DatabaseError, SchemaName};

/// Maximum number of tables that one transaction drops. Each takes a lock for itself and for each of its
/// indexes and sequences; the lock table has 64 entries per connection by default (PostgreSQL manual,
/// section 20.12).
const MAX_TABLES_PER_TRANSACTION: i64 = 20;

/// The tables, views and foreign tables of the schema `$1`.
pub(super) const TABLES: &str = "
    SELECT pg_catalog.quote_ident(c.relname)
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname";

/// The extensions in the schema `$1`.
pub(super) const EXTENSIONS: &str = "
    SELECT pg_catalog.quote_ident(e.extname)
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_extension e ON e.extnamespace = n.oid
    WHERE n.nspname = $1 ORDER BY e.extname";

/// The owner of the schema `$1`, if the current role lacks the owner's rights.
pub(super) const FOREIGN_OWNER: &str = "
    SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(nspowner)) FROM pg_catalog.pg_namespace
    WHERE nspname = $1 AND NOT pg_catalog.pg_has_role(nspowner, 'USAGE')";

/// Descriptions of the first objects outside the schema `$1` that would be dropped or broken with it.
pub(super) const OUTSIDE_DEPENDENTS: &str = include_str!("dependents.sql");

/// Returns the names that `query`, one of the constants of this module, finds for `schema`. They are quoted if SQL
/// requires it.
pub(super) async fn read_names(
    connection: &mut PgConnection,
    query: &'static str,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    let query = sqlx::query_scalar(query).bind(schema.as_str());
    Ok(query.fetch_all(connection).await?)
}

/// Drops some tables, views and sequences of `schema`, views first, except those named in `kept` and those
/// of extensions. Returns `false` if none were left.
pub(super) async fn drop_some(
    transaction: &mut PgConnection,
    schema: &SchemaName,
    kept: &[&str],
) -> Result<bool, DatabaseError> {
    let statements: Vec<GeneratedSql> = sqlx::query_scalar(
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
    .bind(MAX_TABLES_PER_TRANSACTION)
    .fetch_all(&mut *transaction)
    .await?;
    let has_dropped = !statements.is_empty();
    for statement in statements {
        statement.run(transaction).await?;
    }
    Ok(has_dropped)
}
