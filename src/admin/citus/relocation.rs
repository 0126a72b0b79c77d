//! Moving a tenant to another node of a Citus cluster, without downtime for reads.

use std::time::{Duration, Instant};

use sqlx::{Connection, FromRow, PgConnection};

use super::{CitusError, read_placements, rejection, require_coordinator};
use crate::admin::AdminError;
use crate::admin::{advisory_lock, database::AdminDatabase, schema};
use crate::tenancy::SchemaName;

/// A planned move of a tenant.
#[derive(Debug)]
pub(crate) struct Relocation {
    pub(crate) tenant: SchemaName,
    /// Current node, as `host:port`.
    pub(crate) from: String,
    pub(crate) to: Node,
    /// `true` if the rows are copied, during which writes wait: `wal_level` of a node is not `logical`, or a table has no
    /// replica identity. Otherwise logical replication transfers them, and writes wait only at the end (Citus manual,
    /// `citus_schema_move`). Reads continue with either.
    pub(crate) blocks_writes: bool,
    /// Bytes of the tables with their indexes; `None` if the node does not report them.
    pub(crate) size_bytes: Option<i64>,
}

/// A node that can hold tenants.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Node {
    host: String,
    port: i32,
}

impl Node {
    /// Returns the name, `host:port`.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Progress of a move.
#[derive(Debug, FromRow)]
pub(crate) struct MoveProgress {
    /// Bytes on the target node.
    pub(crate) moved_bytes: i64,
    /// Bytes on the source node.
    pub(crate) total_bytes: i64,
}

/// Plans the move of the tenant to `node`, a host or `host:port`. Writes nothing.
pub(crate) async fn plan(
    database: &AdminDatabase,
    tenant: &SchemaName,
    node: &str,
) -> Result<Relocation, AdminError> {
    let mut connection = database.connect().await?;
    require_coordinator(&mut connection).await?;
    if !schema::exists(&mut connection, tenant).await? {
        return Err(AdminError::NoSuchSchema);
    }
    let mut placements = read_placements(&mut connection).await?.into_iter();
    let placement = placements.find(|placement| placement.tenant == tenant.as_str());
    let placement = placement.ok_or(CitusError::NotDistributed)?;
    let to = find_node(&mut connection, node).await?;
    if to.name() == placement.node {
        return Err(CitusError::SameNode.into());
    }
    let blocks_writes = !can_replicate(&mut connection, tenant).await?;
    connection.close().await?;
    Ok(Relocation {
        tenant: tenant.clone(),
        from: placement.node,
        to,
        blocks_writes,
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

/// Returns whether logical replication can transfer the tenant.
async fn can_replicate(connection: &mut PgConnection, tenant: &SchemaName) -> Result<bool, AdminError> {
    let can_replicate = sqlx::query_scalar(
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
    Ok(can_replicate)
}

/// Moves the tenant, and returns the duration. Its migrations wait meanwhile. If it fails, the tenant is still on its
/// old node. If the future is dropped, the move continues on the server.
pub(crate) async fn run(database: &AdminDatabase, relocation: &Relocation) -> Result<Duration, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, relocation.tenant.as_str()).await?;
    let begin = Instant::now();
    let mode = if relocation.blocks_writes {
        "block_writes"
    } else {
        "auto"
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
pub(crate) async fn progress(
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
