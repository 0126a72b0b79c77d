//! What it takes to remove a schema that may hold more than one transaction has locks for.

#![expect(
    clippy::disallowed_types,
    reason = "what is dropped cannot be bound as a parameter: it is named by the database's own quoting"
)]

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};

/// Tables that go at once. Each takes a lock for itself and for each of its indexes and sequences; the
/// lock table has room for 64 a connection by default (PostgreSQL manual, section 20.12).
const AT_ONCE: i64 = 20;

/// Objects of other schemas that are told, where there are many.
const OUTSIDE_TOLD: i64 = 10;

/// The names of the tables, views and the like in `schema`, quoted where SQL needs that.
pub(crate) async fn tables(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    let names = sqlx::query_scalar(
        "SELECT pg_catalog.quote_ident(c.relname)
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname",
    )
    .bind(schema.as_str())
    .fetch_all(connection)
    .await?;
    Ok(names)
}

/// What is in other schemas and needs something of `schema`, so that it would be dropped too: views,
/// foreign keys, functions, partitions.
pub(crate) async fn outside_dependents(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Vec<String>, DatabaseError> {
    let dependents = sqlx::query_scalar(
        "WITH namespace AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1),
         inside AS (
             SELECT 'pg_catalog.pg_class'::regclass AS catalog, c.oid
             FROM namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
             UNION ALL SELECT 'pg_catalog.pg_type'::regclass, t.oid
             FROM namespace n JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid
             UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, p.oid
             FROM namespace n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid),
         dependent AS (
             SELECT d.classid, d.objid, d.objsubid, COALESCE(
                 (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = CASE d.classid
                      WHEN 'pg_catalog.pg_class'::regclass THEN d.objid
                      WHEN 'pg_catalog.pg_rewrite'::regclass
                      THEN (SELECT ev_class FROM pg_catalog.pg_rewrite WHERE oid = d.objid)
                      WHEN 'pg_catalog.pg_attrdef'::regclass
                      THEN (SELECT adrelid FROM pg_catalog.pg_attrdef WHERE oid = d.objid)
                      WHEN 'pg_catalog.pg_trigger'::regclass
                      THEN (SELECT tgrelid FROM pg_catalog.pg_trigger WHERE oid = d.objid)
                      WHEN 'pg_catalog.pg_policy'::regclass
                      THEN (SELECT polrelid FROM pg_catalog.pg_policy WHERE oid = d.objid) END),
                 CASE d.classid
                     WHEN 'pg_catalog.pg_constraint'::regclass
                     THEN (SELECT connamespace FROM pg_catalog.pg_constraint WHERE oid = d.objid)
                     WHEN 'pg_catalog.pg_type'::regclass
                     THEN (SELECT typnamespace FROM pg_catalog.pg_type WHERE oid = d.objid)
                     WHEN 'pg_catalog.pg_proc'::regclass
                     THEN (SELECT pronamespace FROM pg_catalog.pg_proc WHERE oid = d.objid) END) AS namespace
             FROM inside i JOIN pg_catalog.pg_depend d ON d.refclassid = i.catalog AND d.refobjid = i.oid
             WHERE d.deptype IN ('n', 'a'))
         SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
         FROM dependent d, namespace n WHERE d.namespace <> n.oid ORDER BY 1 LIMIT $2",
    )
    .bind(schema.as_str())
    .bind(OUTSIDE_TOLD)
    .fetch_all(connection)
    .await?;
    Ok(dependents)
}

/// Drops some of the tables, views and sequences of `schema`, views first, but none that is called as
/// one of `keep`; whether there were any. In one transaction; what depends on them goes too.
pub(crate) async fn drop_some(
    connection: &mut PgConnection,
    schema: &SchemaName,
    keep: &[&str],
) -> Result<bool, DatabaseError> {
    let mut transaction = connection.begin().await?;
    let statements = sqlx::query(
        "SELECT pg_catalog.format('DROP %s IF EXISTS %I.%I CASCADE', CASE c.relkind
                    WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
                    WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname)
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname::text <> ALL ($2)
           -- a column's own sequence goes with it
           AND NOT (c.relkind = 'S' AND EXISTS (
               SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                 AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')))
         ORDER BY c.relkind NOT IN ('v', 'm'), c.relkind = 'S', NOT c.relispartition, c.oid DESC LIMIT $3",
    )
    .bind(schema.as_str())
    .bind(keep)
    .bind(AT_ONCE)
    .fetch_all(&mut *transaction)
    .await?;
    for statement in &statements {
        let statement: String = statement.try_get(0)?;
        raw_sql(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(!statements.is_empty())
}

/// Drops `schema` with all that is left in it.
pub(crate) async fn drop_schema(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), DatabaseError> {
    let statement = format!("DROP SCHEMA {} CASCADE", schema.quoted());
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
