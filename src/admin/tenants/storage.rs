//! Node and size of tenants' schemas.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection};

use crate::admin::citus;
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::schema::{is_relation_of_schema, locked_tables};

/// Maximum number of schemas per connection: a backend caches the catalog entries of each table that it has
/// opened.
const MAX_PER_CONNECTION: usize = 100;

/// Node and size of a schema.
#[derive(Debug, Default)]
pub(in crate::admin) struct TenantStorage {
    /// The node as `host:port`; `None` if the schema is stored in the database itself.
    pub(in crate::admin) node: Option<String>,
    /// Size of all tables and their indexes in bytes.
    pub(in crate::admin) size_bytes: Option<i64>,
}

/// Reads node and size of each schema. The result lacks schemas that do not exist, and those with a table in
/// ACCESS EXCLUSIVE mode: the size function would wait for its lock.
pub(in crate::admin) async fn read(
    database: &AdminDatabase,
    schemas: &[&str],
) -> Result<HashMap<String, TenantStorage>, AdminError> {
    let sizes = database
        .map_chunks(schemas, MAX_PER_CONNECTION, read_sizes)
        .await?;
    let mut storage = HashMap::with_capacity(schemas.len());
    for (schema, size_bytes) in sizes.into_iter().flatten() {
        let node = None;
        storage.insert(schema, TenantStorage { node, size_bytes });
    }
    let mut connection = database.connect().await?;
    for placement in citus::read_placements(&mut connection).await? {
        if let Some(stored) = storage.get_mut(&placement.tenant) {
            stored.node = Some(placement.node);
            stored.size_bytes = placement.size_bytes;
        }
    }
    connection.close().await?;
    Ok(storage)
}

async fn read_sizes(
    connection: &mut PgConnection,
    schemas: &[&str],
) -> Result<Vec<(String, Option<i64>)>, AdminError> {
    let sizes = sqlx::query_as(concat!(
        "SELECT n.nspname::text, COALESCE(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint
         FROM pg_catalog.pg_namespace n
         LEFT JOIN pg_catalog.pg_depend d ON ",
        is_relation_of_schema!(),
        " LEFT JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'm', 'S')
         WHERE n.nspname::text = ANY ($1) AND n.oid NOT IN (
             SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid IN ",
        locked_tables!(),
        ") GROUP BY 1"
    ))
    .bind(schemas)
    .fetch_all(connection)
    .await?;
    Ok(sizes)
}
