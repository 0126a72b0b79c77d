//! Administration of a Citus cluster.
//!
//! Each tenant's schema is on one node, and `public.users` is a reference table on all nodes, so that a query
//! over a tenant runs on its node alone (Citus manual, "Schema-based sharding"). On plain PostgreSQL the only cost
//! is a query for the extension.

pub(crate) mod distribution;
pub(super) mod error;
pub(crate) mod relocation;

use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection, FromRow, PgConnection, raw_sql};

use super::AdminError;
use crate::admin::schema;
use crate::tenancy::SchemaName;
pub(crate) use error::CitusError;

/// First major version that distributes schemas.
const MIN_MAJOR_VERSION: u32 = 12;

/// Converts the error of a Citus function. Citus reports most rejections under general SQLSTATEs.
fn rejection(error: sqlx::Error) -> AdminError {
    let rejection = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    match rejection {
        // internal_error, feature_not_supported
        Some(rejection) if matches!(rejection.code(), "XX000" | "0A000") => CitusError::Rejected {
            detail: rejection.detail().map(str::to_owned),
            source: error,
        }
        .into(),
        _ => error.into(),
    }
}

/// Node and size of a tenant.
#[derive(Debug, FromRow)]
pub(super) struct Placement {
    pub(super) tenant: String,
    /// Node as `host:port`.
    pub(super) node: String,
    /// Bytes of the tables with their indexes; `None` if the node does not report them.
    pub(super) size_bytes: Option<i64>,
}

/// Returns `true` if the database is part of a Citus cluster. Fails if Citus is too old.
pub(super) async fn is_installed(connection: &mut PgConnection) -> Result<bool, AdminError> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'")
            .fetch_optional(connection)
            .await?;
    let Some(version) = version else {
        return Ok(false);
    };
    match version.split(['.', '-']).next().map(str::parse::<u32>) {
        Some(Ok(major)) if major < MIN_MAJOR_VERSION => Err(CitusError::TooOld(version).into()),
        _ => Ok(true),
    }
}

/// Returns `true` if the database is the coordinator of a Citus cluster, and `false` on plain PostgreSQL. Fails if it
/// is a worker.
async fn is_coordinator(connection: &mut PgConnection) -> Result<bool, AdminError> {
    if !is_installed(connection).await? {
        return Ok(false);
    }
    let is_coordinator: bool = sqlx::query_scalar("SELECT groupid = 0 FROM pg_catalog.pg_dist_local_group")
        .fetch_one(connection)
        .await?;
    if is_coordinator {
        Ok(true)
    } else {
        Err(CitusError::NotCoordinator.into())
    }
}

/// Fails unless the database is the coordinator of a Citus cluster.
async fn require_coordinator(connection: &mut PgConnection) -> Result<(), AdminError> {
    if is_coordinator(connection).await? {
        Ok(())
    } else {
        Err(CitusError::NotInstalled.into())
    }
}

async fn is_users_distributed(connection: &mut PgConnection) -> Result<bool, AdminError> {
    let found = sqlx::query(
        "SELECT FROM pg_catalog.pg_dist_partition
         WHERE logicalrelid = 'public.users'::regclass AND partmethod = 'n' AND repmodel = 't'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Makes `public.users` a reference table on all nodes of a Citus cluster. Does nothing on plain PostgreSQL.
///
/// Tables of tenants that are not distributed remain local tables. Otherwise Citus would convert all of them in
/// this transaction, and its locks could exceed the server's lock table. Their foreign keys are still checked.
pub(super) async fn distribute_users(connection: &mut PgConnection) -> Result<(), AdminError> {
    if !is_coordinator(connection).await? || is_users_distributed(connection).await? {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    raw_sql(
        "SET LOCAL client_min_messages TO warning;
         SET LOCAL citus.enable_local_reference_table_foreign_keys TO off",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query("SELECT pg_catalog.create_reference_table('public.users')")
        .execute(&mut *transaction)
        .await
        .map_err(rejection)?;
    transaction.commit().await?;
    Ok(())
}

/// Creates `schema`, which must not exist, in the current transaction. In a Citus cluster, Citus chooses a node.
pub(super) async fn create_schema(
    transaction: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), AdminError> {
    if is_coordinator(transaction).await? {
        if !is_users_distributed(transaction).await? {
            return Err(CitusError::UsersNotShared.into());
        }
        raw_sql("SET LOCAL citus.enable_schema_based_sharding TO on")
            .execute(&mut *transaction)
            .await?;
    }
    Ok(schema::create(transaction, schema).await?)
}

/// Returns the placements of distributed tenants that have tables. Empty on plain PostgreSQL.
pub(super) async fn read_placements(connection: &mut PgConnection) -> Result<Vec<Placement>, AdminError> {
    if !is_installed(connection).await? {
        return Ok(Vec::new());
    }
    let placements = sqlx::query_as(
        "SELECT n.nspname::text AS tenant, pg_catalog.format('%s:%s', s.nodename, s.nodeport) AS node,
                sum(s.shard_size)::bigint AS size_bytes
         FROM pg_catalog.citus_shards s JOIN pg_catalog.pg_class c ON c.oid = s.table_name
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE s.citus_table_type = 'schema' GROUP BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    Ok(placements)
}
