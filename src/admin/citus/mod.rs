//! Citus: what administration does otherwise where PostgreSQL is a cluster of it.
//!
//! Each tenant's schema lies on one node, and `public.users` on all of them, as a reference table, so that
//! what is asked of a tenant is asked of its node alone (Citus manual, "Schema-based sharding"). On plain
//! PostgreSQL all that this takes is a look for the extension.

pub mod distribution;
pub mod relocation;

use std::collections::HashMap;

use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection, PgConnection, Row, raw_sql};

use super::AdminError;
use crate::admin::{generated_sql::GeneratedSql, schema};
use crate::tenancy::{DatabaseError, SchemaName};

/// The first version that distributes schemas.
const OLDEST: u32 = 12;

/// What cannot be done with Citus, or without it.
#[derive(Debug, thiserror::Error)]
pub enum CitusError {
    /// It does not distribute schemas.
    #[error("the database has Citus {0}: version 12 or newer is needed, which distributes schemas")]
    TooOld(String),
    /// The database is plain PostgreSQL.
    #[error("the database is not of a Citus cluster: there are no nodes for tenants to lie on")]
    NotThere,
    /// Only the coordinator changes schemas.
    #[error("this is a worker of the Citus cluster: name its coordinator in DATABASE_URL")]
    NotCoordinator,
    /// Tenants' tables could not refer to the users from their nodes.
    #[error("public.users is not on all nodes of the Citus cluster yet: run migrate first, which sees to it")]
    UsersNotShared,
    /// The tenant lies beside all that was never distributed.
    #[error("the tenant is not on a node of its own yet: tenants distribute puts it on one")]
    NotDistributed,
    /// No such node takes tenants.
    #[error("no node that takes tenants is called {asked:?}; there are {}", nodes.join(", "))]
    NoSuchNode {
        /// What it was called.
        asked: String,
        /// What nodes are called.
        nodes: Vec<String>,
    },
    /// There is nothing to move.
    #[error("the tenant is on this node already")]
    SameNode,
    /// Citus itself tells why it does not do it.
    #[error("Citus refuses it{}", detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Refused {
        /// What of the tenant it is about, where Citus tells.
        detail: Option<String>,
        /// Its sentence.
        source: sqlx::Error,
    },
}

impl CitusError {
    /// What came of asking Citus for something that it does or refuses, without an SQLSTATE of its own.
    fn of(error: sqlx::Error) -> AdminError {
        let refusal = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
        match refusal {
            // internal_error, feature_not_supported
            Some(refusal) if matches!(refusal.code(), "XX000" | "0A000") => Self::Refused {
                detail: refusal.detail().map(str::to_owned),
                source: error,
            }
            .into(),
            _ => error.into(),
        }
    }
}

/// Where a tenant lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placement {
    /// The node, as `host:port`.
    pub(super) node: String,
    /// Bytes that its tables take up with their indexes; none where the node does not tell.
    pub(super) size_bytes: Option<i64>,
}

/// Whether the database is of a Citus cluster.
///
/// # Errors
///
/// [`CitusError::TooOld`].
pub(super) async fn is_there(connection: &mut PgConnection) -> Result<bool, AdminError> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'")
            .fetch_optional(connection)
            .await?;
    let Some(version) = version else {
        return Ok(false);
    };
    match version.split(['.', '-']).next().map(str::parse::<u32>) {
        Some(Ok(major)) if major < OLDEST => Err(CitusError::TooOld(version).into()),
        _ => Ok(true),
    }
}

/// Whether the database is of a Citus cluster, whose schemas are to be changed.
///
/// # Errors
///
/// [`CitusError::NotCoordinator`], as well as those of [`is_there`].
async fn is_coordinator(connection: &mut PgConnection) -> Result<bool, AdminError> {
    if !is_there(connection).await? {
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

/// Fails where there is no Citus cluster, or another node than its coordinator.
async fn require_coordinator(connection: &mut PgConnection) -> Result<(), AdminError> {
    if is_coordinator(connection).await? {
        Ok(())
    } else {
        Err(CitusError::NotThere.into())
    }
}

async fn users_are_shared(connection: &mut PgConnection) -> Result<bool, AdminError> {
    let found = sqlx::query(
        "SELECT FROM pg_catalog.pg_dist_partition
         WHERE logicalrelid = 'public.users'::regclass AND partmethod = 'n' AND repmodel = 't'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Puts `public.users` on all nodes, where there is Citus.
///
/// Tables of tenants that are not distributed stay as they are, though they refer to it: Citus would make
/// tables of its own of all of them, in this one transaction, whose locks might outgrow the server's. What
/// they refer to is checked all the same.
pub(super) async fn share_users(connection: &mut PgConnection) -> Result<(), AdminError> {
    if !is_coordinator(connection).await? || users_are_shared(connection).await? {
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
        .map_err(CitusError::of)?;
    transaction.commit().await?;
    Ok(())
}

/// Creates `schema`, which must not exist, in the transaction that is open; on one of the nodes where there
/// is Citus.
///
/// # Errors
///
/// [`AdminError`].
pub(super) async fn create_schema(
    transaction: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), AdminError> {
    if is_coordinator(transaction).await? {
        if !users_are_shared(transaction).await? {
            return Err(CitusError::UsersNotShared.into());
        }
        raw_sql("SET LOCAL citus.enable_schema_based_sharding TO on")
            .execute(&mut *transaction)
            .await?;
    }
    Ok(schema::create(transaction, schema).await?)
}

/// Runs statements one by one: Citus hands a node the whole text that a statement came in.
pub(super) async fn run(
    connection: &mut PgConnection,
    statements: GeneratedSql,
) -> Result<(), DatabaseError> {
    for statement in statements.one_by_one() {
        statement.run(connection).await?;
    }
    Ok(())
}

/// Where each tenant lies that is on a node, of those that have tables; nothing where there is no Citus.
pub(super) async fn placements(
    connection: &mut PgConnection,
) -> Result<HashMap<String, Placement>, AdminError> {
    let mut placements = HashMap::new();
    if !is_there(connection).await? {
        return Ok(placements);
    }
    let rows = sqlx::query(
        "SELECT n.nspname::text, pg_catalog.format('%s:%s', s.nodename, s.nodeport), sum(s.shard_size)::bigint
         FROM pg_catalog.citus_shards s JOIN pg_catalog.pg_class c ON c.oid = s.table_name
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE s.citus_table_type = 'schema' GROUP BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let placement = Placement {
            node: row.try_get(1)?,
            size_bytes: row.try_get(2)?,
        };
        placements.insert(row.try_get(0)?, placement);
    }
    Ok(placements)
}
