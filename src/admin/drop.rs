//! Dropping a tenant for good.

use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::drift::{HistoryState, inventory};
use super::error::AdminError;
use super::migrations::history;
use super::retry::RetryPolicy;
use super::roles::{self, RoleFate};
use super::tenants::storage;
use crate::admin::{advisory_lock, database::AdminDatabase, removal};
use crate::tenancy::{DatabaseError, SchemaName};

/// What a tenant is known by stays until the end, so that a drop that was cut off can be done again.
const KEPT_TO_THE_END: [&str; 3] = ["items", "orders", history::TABLE];

/// What is dropped with a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Tables, views and the like, by their names.
    pub tables: Vec<String>,
    /// Bytes that the tables and their indexes take up; none where one of them is locked just then.
    pub size_bytes: Option<i64>,
    /// Users that point at the tenant. They stay, and their requests are answered that the tenant is
    /// unavailable.
    pub users: i64,
    /// What becomes of the role that has the tenant's name.
    pub role: RoleFate,
}

/// Whether a tenant that users point at may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointingUsers {
    /// It may not.
    Keep,
    /// It may; the users stay, and point at nothing.
    Abandon,
}

/// Tells what dropping the tenant would remove, and changes nothing.
///
/// # Errors
///
/// [`AdminError`] where it must not be dropped: [`AdminError::NotATenant`], [`AdminError::StillUsed`],
/// [`AdminError::NeededElsewhere`].
pub async fn inspect(
    database: &AdminDatabase,
    schema: &SchemaName,
    users: PointingUsers,
) -> Result<Contents, AdminError> {
    let inventory = inventory::read(database, std::slice::from_ref(schema)).await?;
    let tenant = inventory.tenants.first().ok_or(AdminError::NoSuchSchema)?;
    if tenant.history == HistoryState::NoSchema {
        return Err(AdminError::NoSuchSchema);
    }
    // That users belong to it is not enough.
    if !tenant.has_tables() && !tenant.has_known_migration(&database.migrations().tenant) {
        return Err(AdminError::NotATenant);
    }
    if tenant.users > 0 && users == PointingUsers::Keep {
        return Err(AdminError::StillUsed { users: tenant.users });
    }
    let mut connection = database.connect().await?;
    let objects = removal::outside_dependents(&mut connection, schema).await?;
    if !objects.is_empty() {
        return Err(AdminError::NeededElsewhere { objects });
    }
    let tables = removal::tables(&mut connection, schema).await?;
    let role = roles::fate(&mut connection, schema).await?;
    connection.close().await?;
    let storage = storage::read(database, &[schema.as_str()]).await?;
    Ok(Contents {
        tables,
        size_bytes: storage.get(schema.as_str()).and_then(|stored| stored.size_bytes),
        users: tenant.users,
        role,
    })
}

/// Drops the tenant's schema and all that is in it, and tells what that was.
///
/// Its tables go some at a time, so that the server's lock table is large enough. Locks are waited for
/// as briefly as by a migration, since dropping a foreign key locks `public.users`. Cut off half-way, or
/// dropped, it leaves the rest, which another call drops.
///
/// # Errors
///
/// As [`inspect`], and [`AdminError`] where a lock was not to be had.
pub async fn drop_tenant(
    database: &AdminDatabase,
    schema: &SchemaName,
    users: PointingUsers,
) -> Result<Contents, AdminError> {
    let policy = RetryPolicy::default();
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, schema.as_str()).await?;
    let mut contents = inspect(database, schema, users).await?;
    sqlx::query("SELECT pg_catalog.set_config('lock_timeout', $1, false)")
        .bind(policy.lock_timeout.as_millis().to_string())
        .execute(&mut connection)
        .await?;
    let mut backoff = policy.backoff();
    loop {
        let dropped = match removal::drop_some(&mut connection, schema, &KEPT_TO_THE_END).await {
            Ok(true) => continue,
            Ok(false) => drop_with_role(&mut connection, schema, &contents.role).await,
            Err(error) => Err(error),
        };
        let error = match dropped {
            Ok(role) => {
                contents.role = role;
                break;
            }
            Err(error) => error,
        };
        let error = AdminError::from(error);
        match backoff.next_delay(&error) {
            Some(delay) => sleep(delay).await,
            None => return Err(error),
        }
    }
    connection.close().await?;
    Ok(contents)
}

/// Drops what is left of the schema, and the role, where that is to be dropped: both or none. What became of
/// the role.
async fn drop_with_role(
    connection: &mut PgConnection,
    schema: &SchemaName,
    role: &RoleFate,
) -> Result<RoleFate, DatabaseError> {
    let mut transaction = connection.begin().await?;
    removal::drop_schema(&mut transaction, schema).await?;
    let role = match role {
        RoleFate::Dropped => roles::drop_role(&mut transaction, schema).await?,
        role => role.clone(),
    };
    transaction.commit().await?;
    Ok(role)
}
