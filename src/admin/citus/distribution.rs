//! Distribution of existing tenants to the nodes of a Citus cluster.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{Connection, PgConnection, raw_sql};

use super::{rejection, require_coordinator};
use crate::admin::AdminError;
use crate::admin::drift::inventory;
use crate::admin::migrations::history::{self, MigratedSchema};
use crate::admin::runner::TenantJob;
use crate::admin::{database::AdminDatabase, generated_sql::GeneratedSql, schema};
use crate::tenancy::SchemaName;

/// Takes the locks of `citus_schema_distribute` in the order of the orders statement, to avoid deadlocks with
/// requests. They include `public.users`, since Citus drops a foreign key that references it.
const LOCK_STATEMENT: &str = "
    SELECT pg_catalog.format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', pg_catalog.concat_ws(
        ', ', 'public.users', pg_catalog.string_agg(
            c.oid::regclass::text, ', ' ORDER BY c.relname <> 'orders', c.relname <> 'items', c.relname)))
    FROM pg_catalog.pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace";

/// Tenants to distribute.
#[derive(Debug)]
pub struct DistributionPlan {
    /// Number of tenants that are distributed already.
    pub distributed: usize,
    /// Tenants that are not distributed.
    pub pending: Vec<SchemaName>,
}

/// Finds the tenants that are not distributed, among those in `only`, or all if it is empty. Writes nothing.
///
/// # Errors
///
/// [`CitusError`](super::CitusError) if the database is not the coordinator of a
/// Citus cluster, and [`AdminError`] if the catalog
/// cannot be read.
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
    let placed: HashSet<_> = distributed.into_iter().collect();
    let tenants = inventory::read_certain(database, only).await?;
    let tenants = tenants.into_iter().map(|tenant| tenant.schema);
    let (distributed, pending): (Vec<_>, Vec<_>) =
        tenants.partition(|schema| placed.contains(schema.as_str()));
    Ok(DistributionPlan {
        distributed: distributed.len(),
        pending,
    })
}

/// Distributes a tenant to a node.
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

/// Tries once to distribute a tenant in one transaction, on a connection that holds its advisory lock. Meanwhile,
/// reads and writes of the tenant and of the users wait. Returns its node, or `None` if it was distributed before.
///
/// # Errors
///
/// [`CitusError::Rejected`](super::CitusError::Rejected) if the tenant has objects that cannot be
/// distributed, and other [`AdminError`]s.
async fn attempt(
    connection: &mut PgConnection,
    schema: &SchemaName,
    lock_timeout: Duration,
) -> Result<Option<String>, AdminError> {
    if !schema::exists(connection, schema).await? {
        return Err(AdminError::NoSuchSchema);
    }
    if find_node(connection, schema).await?.is_some() {
        return Ok(None);
    }
    let mut transaction = connection.begin().await?;
    history::enter_schema(&mut transaction, MigratedSchema::Tenant(schema), lock_timeout).await?;
    raw_sql("SET LOCAL client_min_messages TO warning")
        .execute(&mut *transaction)
        .await?;
    let lock = sqlx::query(LOCK_STATEMENT).bind(schema.as_str());
    let lock = GeneratedSql::fetch_one(&mut transaction, lock).await?;
    lock.run(&mut transaction).await?;
    let distribute = "SELECT pg_catalog.citus_schema_distribute(pg_catalog.quote_ident($1)::regnamespace)";
    // Citus leaves the original rows in the coordinator's tables, where no query reads them.
    let truncate = "SELECT pg_catalog.truncate_local_data_after_distributing_table(c.oid)
                 FROM pg_catalog.pg_class c WHERE c.relkind = 'r'
                 AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace";
    for statement in [distribute, truncate] {
        sqlx::query(statement)
            .bind(schema.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(rejection)?;
    }
    let node = find_node(&mut transaction, schema).await?;
    transaction.commit().await?;
    Ok(node)
}

/// Returns the node of a tenant, or `None` if it is not distributed. The name is empty if the tenant has no tables,
/// and therefore no node yet.
async fn find_node(connection: &mut PgConnection, schema: &SchemaName) -> Result<Option<String>, AdminError> {
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
