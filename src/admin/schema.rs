//! Schemas: existence, creation, and the search path of an administrative session.

#![expect(
    clippy::disallowed_types,
    reason = "a schema cannot be bound as a parameter: it is named by SchemaName::quoted"
)]

use sqlx::{AssertSqlSafe, PgConnection, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};

/// A subquery for the tables of the current database that are locked against reading. The functions that return their
/// sizes would wait for the lock.
macro_rules! locked_tables {
    () => {
        "(SELECT l.relation FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
          WHERE l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL
            AND d.datname = pg_catalog.current_database())"
    };
}

/// The condition that a row `d` of `pg_depend` stands for a relation in the schema `n`. It is the fast way from a schema to
/// its relations: `pg_depend` has an index by schema, `pg_class` has none.
macro_rules! is_relation_of_schema {
    () => {
        "d.classid = 'pg_catalog.pg_class'::regclass
         AND d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = n.oid"
    };
}

pub(in crate::admin) use {is_relation_of_schema, locked_tables};

/// Sets the search path of the session to `schema`.
pub(crate) async fn set_search_path(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), DatabaseError> {
    execute(
        connection,
        format!("SET search_path TO {}, pg_temp", schema.quoted()),
    )
    .await
}

/// Returns whether `schema` exists.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<bool, DatabaseError> {
    let found = sqlx::query("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1")
        .bind(schema.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Returns whether `schema` contains no relation, such as a table, view or sequence.
pub(crate) async fn is_empty(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<bool, DatabaseError> {
    let empty = sqlx::query_scalar(concat!(
        "SELECT NOT EXISTS (
             SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_depend d ON ",
        is_relation_of_schema!(),
        " WHERE n.nspname = $1)"
    ))
    .bind(schema.as_str())
    .fetch_one(connection)
    .await?;
    Ok(empty)
}

/// Creates `schema`, which must not exist.
pub(crate) async fn create(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), DatabaseError> {
    execute(connection, format!("CREATE SCHEMA {}", schema.quoted())).await
}

/// Drops `schema` with everything in it.
pub(crate) async fn drop(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), DatabaseError> {
    execute(connection, format!("DROP SCHEMA {} CASCADE", schema.quoted())).await
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), DatabaseError> {
    raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
