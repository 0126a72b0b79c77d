//! Dropping a tenant.

use sqlx::{Connection, PgConnection};

use super::error::DropError;
use super::removal::{self, EXTENSIONS, FOREIGN_OWNER, OUTSIDE_DEPENDENTS, TABLES};
use super::roles::{self, RoleRemoval};
use super::storage;
use crate::admin::drift::inventory;
use crate::admin::migrations::history;
use crate::admin::{AdminError, RetryPolicy, advisory_lock, database::AdminDatabase, schema};
use crate::tenancy::SchemaName;

/// Tables that identify a schema as a tenant. They are dropped last, so that an interrupted drop can be
/// repeated.
const TENANT_TABLES: [&str; 4] = ["items", "orders", history::TABLE, history::LEGACY_TABLE];

/// Contents of a tenant that is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantContents {
    /// Names of the tables, views and foreign tables, quoted if SQL requires it.
    pub tables: Vec<String>,
    /// Names of the extensions that are installed in the schema, quoted if SQL requires it.
    pub extensions: Vec<String>,
    /// Bytes of the tables with their indexes; `None` if one of the tables is locked.
    pub size_bytes: Option<i64>,
    /// Number of users that belong to the tenant. They remain, and their requests fail with
    /// `tenant-unavailable`.
    pub users: i64,
    /// Outcome for the role of the tenant's name.
    pub role: RoleRemoval,
}

/// Handling of a tenant that still has users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemainingUsers {
    /// The tenant is not dropped.
    Refuse,
    /// The tenant is dropped, and the users remain without a tenant.
    Orphan,
}

/// Returns the contents that dropping the tenant would remove. Changes nothing.
///
/// # Errors
///
/// [`AdminError::Drop`] if the tenant cannot be dropped.
pub async fn inspect(
    database: &AdminDatabase,
    schema: &SchemaName,
    users: RemainingUsers,
) -> Result<TenantContents, AdminError> {
    let inventory = inventory::read(database, std::slice::from_ref(schema)).await?;
    let tenant = inventory.tenants.first().ok_or(AdminError::NoSuchSchema)?;
    if !tenant.exists() {
        return Err(AdminError::NoSuchSchema);
    }
    // That users belong to it is not enough.
    if !tenant.has_tables && !tenant.has_known_migration(&database.migrations().tenant) {
        return Err(DropError::NotATenant.into());
    }
    if tenant.users > 0 && users == RemainingUsers::Refuse {
        return Err(DropError::HasUsers { users: tenant.users }.into());
    }
    let mut connection = database.connect().await?;
    let owner = removal::read_names(&mut connection, FOREIGN_OWNER, schema)
        .await?
        .pop();
    if let Some(owner) = owner {
        return Err(DropError::NotOwner { owner }.into());
    }
    refuse_dependents(&mut connection, schema).await?;
    let tables = removal::read_names(&mut connection, TABLES, schema).await?;
    let extensions = removal::read_names(&mut connection, EXTENSIONS, schema).await?;
    let role = roles::plan_removal(&mut connection, schema).await?;
    connection.close().await?;
    let storage = storage::read(database, &[schema.as_str()]).await?;
    Ok(TenantContents {
        tables,
        extensions,
        size_bytes: storage.get(schema.as_str()).and_then(|stored| stored.size_bytes),
        users: tenant.users,
        role,
    })
}

/// Drops the tenant's schema with everything in it, and returns what that was.
///
/// The tables are dropped in several transactions, so that the locks fit into the server's lock table. As in
/// a migration, locks are waited for briefly and repeatedly, since dropping a foreign key locks
/// `public.users`. If the drop is interrupted, or the future is dropped, another call drops the rest.
///
/// # Errors
///
/// [`AdminError::Drop`] if the tenant cannot be dropped, or another [`AdminError`] if a lock is not available.
pub async fn drop_tenant(
    database: &AdminDatabase,
    schema: &SchemaName,
    users: RemainingUsers,
) -> Result<TenantContents, AdminError> {
    let policy = RetryPolicy::default();
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, schema.as_str()).await?;
    let mut contents = inspect(database, schema, users).await?;
    sqlx::query("SELECT pg_catalog.set_config('lock_timeout', $1, false)")
        .bind(policy.lock_timeout.as_millis().to_string())
        .execute(&mut connection)
        .await?;
    let drop_all = async || {
        loop {
            if let Some(role) = drop_next(&mut connection, schema, &contents.role).await? {
                return Ok(role);
            }
        }
    };
    contents.role = policy.run(drop_all).await?;
    connection.close().await?;
    Ok(contents)
}

/// Drops some of the schema's tables in one transaction, or, if only [`TENANT_TABLES`] are left, the schema
/// and the role. Returns the outcome for the role once the schema is dropped.
async fn drop_next(
    connection: &mut PgConnection,
    schema: &SchemaName,
    role: &RoleRemoval,
) -> Result<Option<RoleRemoval>, AdminError> {
    let mut transaction = connection.begin().await?;
    // A dependent can have been created since the last transaction, and CASCADE would drop it.
    refuse_dependents(&mut transaction, schema).await?;
    let role = if removal::drop_some(&mut transaction, schema, &TENANT_TABLES).await? {
        None
    } else {
        schema::drop(&mut transaction, schema).await?;
        Some(match role {
            RoleRemoval::Dropped => roles::drop_role(&mut transaction, schema).await?,
            role => role.clone(),
        })
    };
    transaction.commit().await?;
    Ok(role)
}

async fn refuse_dependents(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), AdminError> {
    let objects = removal::read_names(connection, OUTSIDE_DEPENDENTS, schema).await?;
    if objects.is_empty() {
        Ok(())
    } else {
        Err(DropError::HasDependents { objects }.into())
    }
}
