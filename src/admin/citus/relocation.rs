//! Moving a tenant from one node of a Citus cluster to another, while it is served.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, Row};

use super::{CitusError, placements, require_coordinator};
use crate::admin::AdminError;
use crate::admin::{advisory_lock, database::AdminDatabase, schema};
use crate::tenancy::SchemaName;

/// A tenant that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// The tenant.
    pub tenant: SchemaName,
    /// The node that it is on, as `host:port`.
    pub from: String,
    /// The node that it is to be on.
    pub to: Node,
    /// How its rows get there.
    pub mode: TransferMode,
    /// Bytes of its tables with their indexes; none where its node does not tell.
    pub size_bytes: Option<i64>,
}

/// A node that takes tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    host: String,
    port: i32,
}

impl Node {
    /// As it is named: `host:port`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// How rows get from node to node (Citus manual, `citus_schema_move`). Reading goes on in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferMode {
    /// By logical replication: writing goes on too, and waits for the last moments alone.
    Logical,
    /// By a copy, and writing waits until it is done: a node has another `wal_level` than `logical`, or a
    /// table has neither a primary key nor another replica identity.
    BlockWrites,
}

/// How far a move has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveProgress {
    /// Bytes on the new node.
    pub moved_bytes: i64,
    /// Bytes on the old one.
    pub of_bytes: i64,
}

/// Finds out what moving the tenant to `node` would be. Nothing is written. A node is named by its host, or
/// by `host:port`.
///
/// # Errors
///
/// [`CitusError`] where it cannot be moved there.
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

async fn find_node(connection: &mut PgConnection, asked: &str) -> Result<Node, AdminError> {
    let rows = sqlx::query(
        "SELECT nodename, nodeport FROM pg_catalog.pg_dist_node
         WHERE noderole = 'primary' AND isactive AND shouldhaveshards ORDER BY nodename, nodeport",
    )
    .fetch_all(connection)
    .await?;
    let nodes = rows.iter().map(|row| {
        Ok(Node {
            host: row.try_get(0)?,
            port: row.try_get(1)?,
        })
    });
    let nodes = nodes.collect::<Result<Vec<_>, sqlx::Error>>()?;
    let mut named = nodes
        .iter()
        .filter(|node| node.host == asked || node.name() == asked);
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node.clone()),
        _ => Err(CitusError::NoSuchNode {
            asked: asked.to_owned(),
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

/// Moves the tenant, and tells how long that took. Its migrations wait meanwhile.
///
/// Dropped half-way it lets go of a move that goes on at the server.
///
/// # Errors
///
/// [`AdminError`]; then it is where it was.
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
    .map_err(CitusError::of)?;
    let duration = begin.elapsed();
    connection.close().await?;
    Ok(duration)
}

/// How far a move of the tenant that is under way has come; none where none is, or where it has not begun
/// to copy.
///
/// # Errors
///
/// [`AdminError`].
pub async fn progress(
    database: &AdminDatabase,
    tenant: &SchemaName,
) -> Result<Option<MoveProgress>, AdminError> {
    let mut connection = database.connect().await?;
    let row = sqlx::query(
        "SELECT sum(p.target_shard_size)::bigint, sum(p.source_shard_size)::bigint
         FROM pg_catalog.get_rebalance_progress() p JOIN pg_catalog.pg_class c ON c.oid = p.table_name
         WHERE c.relnamespace = pg_catalog.quote_ident($1)::regnamespace
         HAVING sum(p.source_shard_size) > 0",
    )
    .bind(tenant.as_str())
    .fetch_optional(&mut connection)
    .await?;
    connection.close().await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(MoveProgress {
        moved_bytes: row.try_get::<Option<i64>, _>(0)?.unwrap_or_default(),
        of_bytes: row.try_get(1)?,
    }))
}
