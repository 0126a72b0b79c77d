//! Spreading tenants that lie beside one another over the nodes of a Citus cluster.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{Connection, PgConnection, raw_sql};

use super::{CitusError, require_coordinator};
use crate::admin::AdminError;
use crate::admin::drift::inventory;
use crate::admin::migrations::history::{self, MigratedSchema};
use crate::admin::runner::TenantJob;
use crate::admin::{database::AdminDatabase, generated_sql::GeneratedSql, schema};
use crate::tenancy::SchemaName;

/// Locks what distributing a schema does, but in the order in which the orders statement does: so whoever
/// came first is waited for, and nobody meets in a deadlock. A foreign key is dropped on the way, for which
/// PostgreSQL locks `public.users` as well.
const LOCK: &str = "
    SELECT pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', pg_catalog.concat_ws(
        ', ', 'public.users', pg_catalog.string_agg(
            c.oid::regclass::text, ', ' ORDER BY c.relname <> 'orders', c.relname <> 'items', c.relname)))
    FROM pg_catalog.pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace";

/// What is to be done.
#[derive(Debug)]
pub struct DistributionPlan {
    /// How many tenants are on a node already.
    pub distributed: usize,
    /// The others.
    pub pending: Vec<SchemaName>,
}

/// Finds out which tenants are on no node, of all or of those that are named. Nothing is written.
///
/// # Errors
///
/// [`CitusError`] where there is no Citus cluster, and others where the catalog cannot be read.
pub async fn plan(database: &AdminDatabase, only: &[SchemaName]) -> Result<DistributionPlan, AdminError> {
    let mut connection = database.connect().await?;
    require_coordinator(&mut connection).await?;
    let distributed: Vec<String> = sqlx::query_scalar(
        "SELECT n.nspname::text FROM pg_catalog.pg_dist_schema s
         JOIN pg_catalog.pg_namespace n ON n.oid = s.schemaid",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let distributed: HashSet<_> = distributed.into_iter().collect();
    let tenants = inventory::read_certain(database, only).await?;
    let tenants = tenants.into_iter().map(|tenant| tenant.schema);
    let (done, pending): (Vec<_>, Vec<_>) = tenants.partition(|schema| distributed.contains(schema.as_str()));
    Ok(DistributionPlan {
        distributed: done.len(),
        pending,
    })
}

/// Puts a tenant on a node.
#[derive(Debug, Clone, Copy)]
pub struct DistributeTenant;

/// The change to one tenant.
#[derive(Debug, Default)]
pub struct DistributionOutcome {
    /// The node as `host:port`; `None` if the tenant was on a node before.
    pub node: Option<String>,
}

impl TenantJob for DistributeTenant {
    type Outcome = DistributionOutcome;

    async fn attempt(
        &self,
        _database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut DistributionOutcome,
    ) -> Result<(), AdminError> {
        outcome.node = attempt(connection, tenant, lock_timeout).await?;
        Ok(())
    }
}

/// Tries once to put a tenant on a node, on a connection that has locked it: all of it or nothing. Whoever
/// reads or writes it, or the users, waits meanwhile. The node that it is on now; none where it was on one before.
///
/// # Errors
///
/// [`CitusError::Refused`] where it has what cannot be distributed, and others.
async fn attempt(
    connection: &mut PgConnection,
    schema: &SchemaName,
    lock_timeout: Duration,
) -> Result<Option<String>, AdminError> {
    if !schema::exists(connection, schema).await? {
        return Err(AdminError::NoSuchSchema);
    }
    if node(connection, schema).await?.is_some() {
        return Ok(None);
    }
    let mut transaction = connection.begin().await?;
    history::enter_schema(&mut transaction, MigratedSchema::Tenant(schema), lock_timeout).await?;
    raw_sql("SET LOCAL client_min_messages TO warning")
        .execute(&mut *transaction)
        .await?;
    let lock = sqlx::query(LOCK).bind(schema.as_str());
    let lock = GeneratedSql::fetch_one(&mut transaction, lock).await?;
    lock.run(&mut transaction).await?;
    let distribute = "SELECT pg_catalog.citus_schema_distribute(pg_catalog.quote_ident($1)::regnamespace)";
    // The rows that were copied to the node are left here too, where nobody reads them any more.
    let clear = "SELECT pg_catalog.truncate_local_data_after_distributing_table(c.oid)
                 FROM pg_catalog.pg_class c WHERE c.relkind = 'r'
                 AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace";
    for statement in [distribute, clear] {
        sqlx::query(statement)
            .bind(schema.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(CitusError::of)?;
    }
    let node = node(&mut transaction, schema).await?;
    transaction.commit().await?;
    Ok(node)
}

/// The node of a tenant; none where it is not distributed. One that has no tables lies on no node yet: then
/// the name is empty.
async fn node(connection: &mut PgConnection, schema: &SchemaName) -> Result<Option<String>, AdminError> {
    let node = sqlx::query_scalar(
        "SELECT COALESCE((
             SELECT pg_catalog.format('%s:%s', d.nodename, d.nodeport)
             FROM pg_catalog.pg_dist_partition p
             JOIN pg_catalog.pg_dist_shard h ON h.logicalrelid = p.logicalrelid
             JOIN pg_catalog.pg_dist_placement l ON l.shardid = h.shardid
             JOIN pg_catalog.pg_dist_node d ON d.groupid = l.groupid AND d.noderole = 'primary'
             WHERE p.colocationid = s.colocationid LIMIT 1), '')
         FROM pg_catalog.pg_dist_schema s WHERE s.schemaid = pg_catalog.quote_ident($1)::regnamespace",
    )
    .bind(schema.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(node)
}
