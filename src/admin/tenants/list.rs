//! The list of tenants.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::storage;
use crate::admin::database::AdminDatabase;
use crate::admin::drift::{TenantEntry, inventory};
use crate::admin::error::AdminError;
use crate::admin::migrations::MigrationError;
use crate::admin::migrations::source::Migrations;

/// A tenant in the list.
#[derive(Debug, Serialize)]
pub struct ListedTenant {
    /// Name of its schema, or a value of `organization_id` that cannot be one.
    pub name: String,
    /// Number of its users.
    pub users: i64,
    /// Version by its migration history; `None` if there is no readable history.
    pub version: Option<i64>,
    /// Its state.
    pub state: TenantState,
    /// The reason why the name cannot be that of a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Size of its tables and their indexes in bytes; `None` if the schema does not exist, a table is locked,
    /// or the tenant's node does not report it.
    pub size_bytes: Option<i64>,
    /// Its node as `host:port`; `None` if it is stored in the database itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// State of a tenant by its migration history.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// All migrations are applied.
    Current,
    /// Migrations are pending.
    Behind,
    /// A migration outside a transaction was begun and not finished. `migrate` repeats it.
    Interrupted,
    /// A newer version of this program applied migrations that this one does not have.
    Ahead,
    /// It has tables but no migration history.
    Unadopted,
    /// Its history cannot be read, or contains changed or unfinished migrations.
    Broken,
    /// Users belong to it, but the schema does not exist.
    Missing,
    /// Users belong to it, but its name cannot be the name of a schema.
    Misnamed,
}

impl Display for TenantState {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl TenantState {
    fn from_entry(tenant: &TenantEntry, migrations: &Migrations) -> Self {
        match tenant.pending(migrations) {
            Ok(pending) if pending.is_empty() => Self::Current,
            Ok(_) if tenant.applied().iter().any(|applied| !applied.success) => Self::Interrupted,
            Ok(_) => Self::Behind,
            Err(AdminError::NoSuchSchema) => Self::Missing,
            Err(AdminError::Migration(MigrationError::Unadopted)) => Self::Unadopted,
            Err(AdminError::Migration(MigrationError::Unknown { .. })) => Self::Ahead,
            Err(_) => Self::Broken,
        }
    }
}

/// Lists all tenants in the order of their names, followed by names that cannot be tenants.
///
/// Writes nothing, and waits for no lock for long.
///
/// # Errors
///
/// [`AdminError`] if the catalog or `public.users` cannot be read.
pub async fn list(database: &AdminDatabase) -> Result<Vec<ListedTenant>, AdminError> {
    let inventory = inventory::read(database, &[]).await?;
    let existing: Vec<_> = inventory
        .tenants
        .iter()
        .filter(|tenant| tenant.exists())
        .map(|tenant| tenant.schema.as_str())
        .collect();
    let mut storage = storage::read(database, &existing).await?;
    let migrations = &database.migrations().tenant;
    let tenants = inventory.tenants.iter().map(|tenant| {
        let name = tenant.schema.as_str();
        let storage = storage.remove(name).unwrap_or_default();
        ListedTenant {
            name: name.to_owned(),
            users: tenant.users,
            version: tenant.version(),
            state: TenantState::from_entry(tenant, migrations),
            reason: None,
            size_bytes: storage.size_bytes,
            node: storage.node,
        }
    });
    let misnamed = inventory.misnamed.into_iter().map(|misnamed| ListedTenant {
        name: misnamed.name,
        users: misnamed.users,
        version: None,
        state: TenantState::Misnamed,
        reason: Some(misnamed.reason.to_string()),
        size_bytes: None,
        node: None,
    });
    Ok(tenants.chain(misnamed).collect())
}
