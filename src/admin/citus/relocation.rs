//! Moving a tenant to another node of a Citus cluster, without downtime for reads.

use std::time::{Duration, Instant};

use sqlx::{Connection, FromRow, PgConnection};

use super::{CitusError, placements, rejection, require_coordinator};
use crate::admin::AdminError;
use crate::admin::{advisory_lock, database::AdminDatabase, schema};
use crate::tenancy::SchemaName;

/// A planned move of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// The tenant.
    pub tenant: SchemaName,
    /// Current node, as `host:port`.
    pub from: String,
    /// Target node.
    pub to: Node,
    /// Method of transfer.
    pub mode: TransferMode,
    /// Bytes of the tables with their indexes; `None` if the node does not report them.
    pub size_bytes: Option<i64>,
}

/// A node that can hold tenants.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Node {
    host: String,
    port: i32,
}

impl Node {
    /// Returns the name, `host:port`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Method of transferring rows between nodes (Citus manual, `citus_schema_move`). Reads continue with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferMode {
    /// Logical replication. Writes wait only at the end.
    Logical,
    /// A copy, during which writes wait. Used if `wal_level` of a node is not `logical`, or if a table has no replica
    /// identity.
    BlockWrites,
}

/// Progress of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct MoveProgress {
    /// Bytes on the target node.
    pub moved_bytes: i64,
    /// Bytes on the source node.
    pub total_bytes: i64,
}

/// Plans the move of the tenant to `node`, a host or `host:port`. Writes nothing.
///
/// # Errors
///
/// [`CitusError`] if the tenant cannot be moved there.
pub async fn plan(
    database: &AdminDatabase,
    tenant: &SchemaName,
    node: &str,
) -> Result<Relocation, AdminError> {
    let mut connection = database.connect().await?;
    require_coordinator(&mut connection).await?;
    if !schema::exists(&mut connection, tenant).await? {
        return Err(AdminError::NoSuchSchema);
    }
    let placement = placements(&mut connection).await?.remove(tenant.as_str());
    let placement = placement.ok_or(CitusError::NotDistributed)?;
    let to = find_node(&mut connection, node).await?;
    if to.name() == placement.node {
        return Err(CitusError::SameNode.into());
    }
    let mode = transfer_mode(&mut connection, tenant).await?;
    connection.close().await?;
    Ok(Relocation {
        tenant: tenant.clone(),
        from: placement.node,
        to,
        mode,
        size_bytes: placement.size_bytes,
    })
}

async fn find_node(connection: &mut PgConnection, requested: &str) -> Result<Node, AdminError> {
    let nodes: Vec<Node> = sqlx::query_as(
        "SELECT nodename AS host, nodeport AS port FROM pg_catalog.pg_dist_node
         WHERE noderole = 'primary' AND isactive AND shouldhaveshards ORDER BY nodename, nodeport",
    )
    .fetch_all(connection)
    .await?;
    let mut named = nodes
        .iter()
        .filter(|node| node.host == requested || node.name() == requested);
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node.clone()),
        _ => Err(CitusError::NoSuchNode {
            requested: requested.to_owned(),
            nodes: nodes.iter().map(Node::name).collect(),
        }
        .into()),
    }
}

async fn transfer_mode(
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<TransferMode, AdminError> {
    let can_replicate: bool = sqlx::query_scalar(
        "SELECT (SELECT bool_and(success AND result = 'logical')
                 FROM pg_catalog.run_command_on_all_nodes('SHOW wal_level'))
         AND NOT EXISTS (
             SELECT FROM pg_catalog.pg_class c
             WHERE c.relkind IN ('r', 'p') AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace
               AND CASE c.relreplident WHEN 'n' THEN true WHEN 'd' THEN NOT EXISTS (
                       SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) END)",
    )
    .bind(tenant.as_str())
    .fetch_one(connection)
    .await?;
    Ok(if can_replicate {
        TransferMode::Logical
    } else {
        TransferMode::BlockWrites
    })
}

/// Moves the tenant, and returns the duration. Its migrations wait meanwhile.
///
/// If the future is dropped, the move continues on the server.
///
/// # Errors
///
/// [`AdminError`] if the move failed. The tenant is then still on its old node.
pub async fn run(database: &AdminDatabase, relocation: &Relocation) -> Result<Duration, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, relocation.tenant.as_str()).await?;
    let begin = Instant::now();
    let mode = match relocation.mode {
        TransferMode::Logical => "auto",
        TransferMode::BlockWrites => "block_writes",
    };
    sqlx::query(
        "SELECT pg_catalog.citus_schema_move(pg_catalog.quote_ident($1)::regnamespace, $2, $3,
                                             $4::text::citus.shard_transfer_mode)",
    )
    .bind(relocation.tenant.as_str())
    .bind(&relocation.to.host)
    .bind(relocation.to.port)
    .bind(mode)
    .execute(&mut connection)
    .await
    .map_err(rejection)?;
    let duration = begin.elapsed();
    connection.close().await?;
    Ok(duration)
}

/// Returns the progress of a running move of the tenant, or `None` if no move is copying rows.
///
/// # Errors
///
/// [`AdminError`].
pub async fn progress(
    database: &AdminDatabase,
    tenant: &SchemaName,
) -> Result<Option<MoveProgress>, AdminError> {
    let mut connection = database.connect().await?;
    let progress = sqlx::query_as(
        "SELECT COALESCE(sum(p.target_shard_size), 0)::bigint AS moved_bytes,
                sum(p.source_shard_size)::bigint AS total_bytes
         FROM pg_catalog.get_rebalance_progress() p JOIN pg_catalog.pg_class c ON c.oid = p.table_name
         WHERE c.relnamespace = pg_catalog.quote_ident($1)::regnamespace
         HAVING sum(p.source_shard_size) > 0",
    )
    .bind(tenant.as_str())
    .fetch_optional(&mut connection)
    .await?;
    connection.close().await?;
    Ok(progress)
}
