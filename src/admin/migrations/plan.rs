//! The plan of a run: which tenants are current and which have pending work.

use std::collections::HashMap;

use sqlx::Connection;

use crate::admin::database::AdminDatabase;
use crate::admin::drift::{TenantEntry, inventory};
use crate::admin::error::AdminError;
use crate::admin::tenants::roles::{self, RoleState};
use crate::tenancy::SchemaName;

/// The tenants of a run.
#[derive(Debug)]
pub(crate) struct MigrationPlan {
    /// Tenants with all migrations, and with complete roles if tenants have roles, and their versions.
    pub(crate) current: Vec<(SchemaName, i64)>,
    /// All other tenants, in the order of their names.
    pub(crate) pending: Vec<PendingTenant>,
}

/// A tenant with pending work.
#[derive(Debug)]
pub(crate) struct PendingTenant {
    pub(crate) tenant: TenantEntry,
    /// State of the tenant's role; `None` if it is complete, or tenants have no roles.
    pub(crate) role: Option<RoleState>,
}

/// Plans a run for all tenants, or for those in `only`. Writes nothing.
pub(crate) async fn plan(database: &AdminDatabase, only: &[SchemaName]) -> Result<MigrationPlan, AdminError> {
    let tenants = inventory::read_certain(database, only).await?;
    let mut roles = HashMap::new();
    if database.roles().is_enabled() {
        let names: Vec<_> = tenants.iter().map(|tenant| tenant.schema.as_str()).collect();
        let mut connection = database.connect().await?;
        let states = roles::inspect(&mut connection, &names, database.roles().service_role()).await?;
        connection.close().await?;
        roles.extend(states.into_iter().map(|state| (state.tenant.clone(), state)));
    }
    let migrations = &database.migrations().tenant;
    let mut plan = MigrationPlan {
        current: Vec::new(),
        pending: Vec::new(),
    };
    for tenant in tenants {
        let role = roles.remove(tenant.schema.as_str());
        let is_current =
            !tenant.has_legacy_history && tenant.pending(migrations).is_ok_and(|pending| pending.is_empty());
        match tenant.version() {
            Some(version) if is_current && role.is_none() => plan.current.push((tenant.schema, version)),
            _ => plan.pending.push(PendingTenant { tenant, role }),
        }
    }
    Ok(plan)
}
