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

const DISTRIBUTE: &str =
    "SELECT pg_catalog.citus_schema_distribute(pg_catalog.quote_ident($1)::regnamespace)";

/// Citus leaves the original rows in the coordinator's tables, where no query reads them.
const TRUNCATE: &str = "
    SELECT pg_catalog.truncate_local_data_after_distributing_table(c.oid)
    FROM pg_catalog.pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = pg_catalog.quote_ident($1)::regnamespace";

/// Tenants to distribute.
#[derive(Debug)]
pub(crate) struct DistributionPlan {
    /// Number of tenants that need no work.
    pub(crate) distributed: usize,
    pub(crate) pending: Vec<SchemaName>,
}

/// Finds the tenants that are not distributed, among those in `only`, or all if it is empty. Writes nothing.
pub(crate) async fn plan(
    database: &AdminDatabase,
    only: &[SchemaName],
) -> Result<DistributionPlan, AdminError> {
    let mut connection = database.connect().await?;
    require_coordinator(&mut connection).await?;
    let distributed: Vec<String> = sqlx::query_scalar(
        "SELECT n.nspname::text FROM pg_catalog.pg_dist_schema s
         JOIN pg_catalog.pg_namespace n ON n.oid = s.schemaid",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let distributed = HashSet::<String>::from_iter(distributed);
    let tenants = inventory::read_certain(database, only).await?;
    let tenants = tenants.into_iter().map(|tenant| tenant.schema);
    let (distributed, pending): (Vec<_>, Vec<_>) =
        tenants.partition(|schema| distributed.contains(schema.as_str()));
    Ok(DistributionPlan {
        distributed: distributed.len(),
        pending,
    })
}

/// Distributes a tenant to a node, in one transaction. Meanwhile, reads and writes of the tenant and of the users wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DistributeTenant;

/// The change to one tenant.
#[derive(Debug, Default)]
pub(crate) struct DistributionOutcome {
    /// The node as `host:port`; `None` if the tenant was on a node before.
    pub(crate) node: Option<String>,
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
        if !schema::exists(connection, tenant).await? {
            return Err(AdminError::NoSuchSchema);
        }
        if find_node(connection, tenant).await?.is_some() {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        history::enter_schema(&mut transaction, MigratedSchema::Tenant(tenant), lock_timeout).await?;
        raw_sql("SET LOCAL client_min_messages TO warning")
            .execute(&mut *transaction)
            .await?;
        let lock: GeneratedSql = sqlx::query_scalar(LOCK_STATEMENT)
            .bind(tenant.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        lock.run(&mut transaction).await?;
        for statement in [DISTRIBUTE, TRUNCATE] {
            sqlx::query(statement)
                .bind(tenant.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(rejection)?;
        }
        outcome.node = find_node(&mut transaction, tenant).await?;
        transaction.commit().await?;
        Ok(())
    }
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
