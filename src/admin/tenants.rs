//! Tenants as a whole: making one, and a list of all.

pub mod drop;
mod removal;
pub mod roles;

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{Connection, Row};

use super::AdminError;
use super::citus;
use super::migrate::{self, Patience};
use super::survey::{History, Tenant, survey};
use crate::admin::{advisory_lock, database::AdminDatabase, schema};
use crate::tenancy::SchemaName;

/// Schemas whose size one connection asks for: its backend remembers each table that it has opened.
const SIZES_OF_A_CONNECTION: usize = 1000;

/// Creates a tenant that must not exist: its schema with all migrations, and its role where tenants have
/// roles, or nothing at all. What all
/// tenants share is migrated first.
///
/// # Errors
///
/// [`AdminError::SchemaExists`], and others.
pub async fn create(database: &AdminDatabase, schema: &SchemaName) -> Result<(), AdminError> {
    let mut connection = database.connect().await?;
    let exists = schema::exists(&mut connection, schema).await?;
    connection.close().await?;
    if exists {
        return Err(AdminError::SchemaExists);
    }
    migrate::shared(database, Patience::default()).await?;
    if create_if_missing(database, schema).await? {
        Ok(())
    } else {
        Err(AdminError::SchemaExists) // somebody was faster
    }
}

/// Creates the tenant's schema with all migrations, and its role where tenants have roles, or nothing at all;
/// whether the schema was missing. Where it was not, it is left as it is, and gets its role all the same.
///
/// # Errors
///
/// [`AdminError`].
pub async fn create_if_missing(database: &AdminDatabase, schema: &SchemaName) -> Result<bool, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, schema.as_str()).await?;
    let missing = !schema::exists(&mut connection, schema).await?;
    let mut transaction = connection.begin().await?;
    if missing {
        citus::create_schema(&mut transaction, schema).await?;
        migrate::tenant_on(&mut transaction, schema).await?;
    }
    if database.roles().are_on() {
        roles::ensure(&mut transaction, schema, database.roles()).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(missing)
}

/// A tenant, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedTenant {
    /// The name of its schema, or what users have in its place.
    pub name: String,
    /// How many users point at it.
    pub users: i64,
    /// The version that its history tells of; none where there is no history to be read.
    pub version: Option<i64>,
    /// How it is.
    pub state: TenantState,
    /// Bytes of all its tables with their indexes; none where there is no schema, where a table is locked
    /// just then, or where its node does not tell.
    pub size_bytes: Option<i64>,
    /// The node that it lies on, as `host:port`; none where that is where the database is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// How a tenant is, by its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// It has all migrations.
    Current,
    /// It lacks migrations.
    Behind,
    /// A newer version of this program migrated it further than this one knows.
    Ahead,
    /// It has tables and no history.
    Unadopted,
    /// Its history cannot be read, or tells of migrations that failed or are others by now.
    Broken,
    /// Users point at it, and there is no such schema.
    Missing,
    /// Users point at what cannot be the name of a tenant's schema.
    Misnamed,
}

impl TenantState {
    fn of(tenant: &Tenant) -> Self {
        match tenant.is_current() {
            Ok(true) => Self::Current,
            Ok(false) => Self::Behind,
            Err(AdminError::NoSuchSchema) => Self::Missing,
            Err(AdminError::Unadopted) => Self::Unadopted,
            Err(AdminError::UnknownMigration { .. }) => Self::Ahead,
            Err(_) => Self::Broken,
        }
    }
}

/// All tenants, in the order of their names, and behind them what users point at that cannot be one.
///
/// Nothing is written, and nobody waited for.
///
/// # Errors
///
/// [`AdminError`] where the catalog or `public.users` cannot be read.
pub async fn list(database: &AdminDatabase) -> Result<Vec<ListedTenant>, AdminError> {
    let survey = survey(database, &[]).await?;
    let there: Vec<_> = survey
        .tenants
        .iter()
        .filter(|tenant| tenant.history != History::NoSchema)
        .map(|tenant| tenant.schema.as_str())
        .collect();
    let extents = extents(database, &there).await?;
    let tenants = survey.tenants.iter().map(|tenant| {
        let extent = extents.get(tenant.schema.as_str());
        ListedTenant {
            name: tenant.schema.as_str().to_owned(),
            users: tenant.users,
            version: tenant.version(),
            state: TenantState::of(tenant),
            size_bytes: extent.and_then(|extent| extent.size_bytes),
            node: extent.and_then(|extent| extent.node.clone()),
        }
    });
    let misnamed = survey.misnamed.iter().map(|misnamed| ListedTenant {
        name: misnamed.name.clone(),
        users: misnamed.users,
        version: None,
        state: TenantState::Misnamed,
        size_bytes: None,
        node: None,
    });
    Ok(tenants.chain(misnamed).collect())
}

/// Where a schema lies and how large it is.
#[derive(Debug)]
pub(super) struct Extent {
    /// The node; none where that is where the database is.
    pub(super) node: Option<String>,
    /// Bytes of all its tables with their indexes.
    pub(super) size_bytes: Option<i64>,
}

/// The extent of each of the schemas, but for those that are gone, and those of which a table is locked by
/// whoever changes it: asking for its size would wait for them.
pub(super) async fn extents(
    database: &AdminDatabase,
    schemas: &[&str],
) -> Result<HashMap<String, Extent>, AdminError> {
    let mut extents = HashMap::with_capacity(schemas.len());
    for chunk in schemas.chunks(SIZES_OF_A_CONNECTION) {
        let mut connection = database.connect().await?;
        let rows = sqlx::query(
            "SELECT n.nspname::text, COALESCE(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint
             FROM pg_catalog.pg_namespace n
             LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'm', 'S')
             WHERE n.nspname::text = ANY ($1) AND n.oid NOT IN (
                 SELECT c.relnamespace FROM pg_catalog.pg_class c JOIN pg_catalog.pg_locks l ON l.relation = c.oid
                 WHERE l.mode = 'AccessExclusiveLock' AND l.database = (
                     SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
             GROUP BY 1",
        )
        .bind(chunk)
        .fetch_all(&mut connection)
        .await?;
        connection.close().await?;
        for row in rows {
            let extent = Extent {
                node: None,
                size_bytes: row.try_get(1)?,
            };
            extents.insert(row.try_get(0)?, extent);
        }
    }
    let mut connection = database.connect().await?;
    for (schema, placement) in citus::placements(&mut connection).await? {
        if let Some(extent) = extents.get_mut(&schema) {
            extent.node = Some(placement.node);
            extent.size_bytes = placement.size_bytes;
        }
    }
    connection.close().await?;
    Ok(extents)
}
