//! The plan of a run: which tenants are current and which have pending work.

use std::collections::HashMap;

use sqlx::Connection;

use crate::admin::database::AdminDatabase;
use crate::admin::drift::{TenantEntry, inventory};
use crate::admin::error::AdminError;
use crate::admin::tenants::roles::{self, Shortcoming};
use crate::tenancy::SchemaName;

/// The tenants of a run.
#[derive(Debug)]
pub struct MigrationPlan {
    /// Tenants with all migrations, and with complete roles if tenants have roles, and their versions.
    pub current: Vec<(SchemaName, i64)>,
    /// All other tenants, in the order of their names.
    pub pending: Vec<PendingTenant>,
}

/// A tenant with pending work.
#[derive(Debug)]
pub struct PendingTenant {
    /// The tenant.
    pub tenant: TenantEntry,
    /// Flaw of the tenant's role; `None` if it is complete, or tenants have no roles.
    pub role: Option<Shortcoming>,
}

/// Plans a run for all tenants, or for those in `only`. Writes nothing.
///
/// # Errors
///
/// [`AdminError`] if the catalog cannot be read.
pub async fn plan(database: &AdminDatabase, only: &[SchemaName]) -> Result<MigrationPlan, AdminError> {
    let tenants = inventory::read_certain(database, only).await?;
    let mut shortcomings = shortcomings(database, &tenants).await?;
    let migrations = &database.migrations().tenant;
    let mut plan = MigrationPlan {
        current: Vec::new(),
        pending: Vec::new(),
    };
    for tenant in tenants {
        let role = shortcomings.remove(tenant.schema.as_str());
        let is_current =
            !tenant.has_legacy_history && tenant.pending(migrations).is_ok_and(|pending| pending.is_empty());
        match tenant.version() {
            Some(version) if is_current && role.is_none() => plan.current.push((tenant.schema, version)),
            _ => plan.pending.push(PendingTenant { tenant, role }),
        }
    }
    Ok(plan)
}

/// Returns the tenants with incomplete or unfit roles; none if tenants have no roles.
async fn shortcomings(
    database: &AdminDatabase,
    tenants: &[TenantEntry],
) -> Result<HashMap<String, Shortcoming>, AdminError> {
    if !database.roles().is_enabled() {
        return Ok(HashMap::new());
    }
    let names: Vec<_> = tenants.iter().map(|tenant| tenant.schema.as_str()).collect();
    let mut connection = database.connect().await?;
    let shortcomings = roles::shortcomings(&mut connection, &names, database.roles()).await?;
    connection.close().await?;
    Ok(shortcomings)
}
