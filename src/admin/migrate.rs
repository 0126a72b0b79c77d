//! Migrations, compiled in: the shared ones, and those of each tenant's schema.
//!
//! The record of what was applied is sqlx's own table, in the schema that it speaks of, and so
//! travels with a dump of it.

use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, Row};

use super::AdminError;
use crate::tenancy::{Administration, SchemaName, administration};

/// What a run did to one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 where nothing was there.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

impl Migrated {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.from == self.to
    }
}

/// Migrates what all tenants share.
///
/// # Errors
///
/// [`AdminError`]; what was applied before the failing migration stays.
pub async fn shared(database: &Administration) -> Result<Migrated, AdminError> {
    let mut connection = database.connect().await?;
    administration::lock(&mut connection, "public").await?;
    administration::enter_public(&mut connection).await?;
    let migrated = run(&mut connection, sqlx::migrate!("migrations/shared")).await?;
    connection.close().await?;
    Ok(migrated)
}

/// Migrates one tenant's schema.
///
/// # Errors
///
/// [`AdminError`]; what was applied before the failing migration stays.
pub async fn tenant(database: &Administration, schema: &SchemaName) -> Result<Migrated, AdminError> {
    let mut connection = database.connect().await?;
    administration::lock(&mut connection, schema.as_str()).await?;
    if !administration::exists(&mut connection, schema).await? {
        return Err(AdminError::NoSuchSchema);
    }
    let migrated = tenant_on(&mut connection, schema).await?;
    connection.close().await?;
    Ok(migrated)
}

/// Migrates one tenant's schema on a connection that has locked it.
pub(super) async fn tenant_on(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Migrated, AdminError> {
    administration::enter(connection, schema).await?;
    let holds_something: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = $1)",
    )
    .bind(schema.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if holds_something && !has_ledger(connection).await? {
        return Err(AdminError::Unadopted);
    }
    run(connection, sqlx::migrate!("migrations/tenant")).await
}

/// The schemas that are tenants: users point at them, or they hold a tenant's tables of our making.
/// In order of their names.
///
/// # Errors
///
/// [`AdminError`].
pub async fn all_tenants(database: &Administration) -> Result<Vec<SchemaName>, AdminError> {
    let mut connection = database.connect().await?;
    let names = sqlx::query(
        "SELECT n.nspname::text FROM pg_catalog.pg_namespace n
         WHERE EXISTS (SELECT FROM public.users u WHERE u.organization_id = n.nspname)
            OR (SELECT count(*) FROM pg_catalog.pg_class c
                WHERE c.relnamespace = n.oid AND c.relname IN ('_sqlx_migrations', 'items', 'orders')) = 3
         ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let mut tenants = Vec::with_capacity(names.len());
    for name in names {
        // What is no tenant's name, such as public, is no tenant.
        if let Ok(tenant) = SchemaName::parse(name.try_get(0)?) {
            tenants.push(tenant);
        }
    }
    Ok(tenants)
}

async fn run(connection: &mut PgConnection, mut migrator: Migrator) -> Result<Migrated, AdminError> {
    let from = version(connection).await?;
    // sqlx's own lock is one for the whole database: the caller has locked the schema.
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await?;
    let to = version(connection).await?;
    Ok(Migrated { from, to })
}

async fn version(connection: &mut PgConnection) -> Result<i64, AdminError> {
    if !has_ledger(connection).await? {
        return Ok(0);
    }
    let version = sqlx::query_scalar("SELECT COALESCE(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    Ok(version)
}

async fn has_ledger(connection: &mut PgConnection) -> Result<bool, AdminError> {
    let found = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(connection)
        .await?;
    Ok(found)
}
