//! What a run is to do, found out without doing it.

use std::collections::HashMap;
use std::time::Instant;

use sqlx::Connection;

use super::{FleetOptions, FleetTask, TenantReport};
use crate::admin::AdminError;
use crate::admin::adopt;
use crate::admin::database::AdminDatabase;
use crate::admin::migrate::{self, Migrated};
use crate::admin::migrations::TENANT;
use crate::admin::survey::{self, History, Tenant};
use crate::admin::tenants::roles::{self, Shortcoming};
use crate::tenancy::SchemaName;

/// What is to be done.
#[derive(Debug)]
pub struct FleetPlan {
    /// Tenants that have all migrations, and their roles where tenants have roles, and their version.
    pub current: Vec<(SchemaName, i64)>,
    /// The others.
    pub pending: Vec<PendingTenant>,
}

/// A tenant that there is something to do for.
#[derive(Debug)]
pub struct PendingTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// What its role is, where tenants have roles and its own is not as it should be.
    pub role: Option<Shortcoming>,
}

/// Finds out who is behind: of all tenants, or of those that are named. Nothing is written.
///
/// # Errors
///
/// [`AdminError`] where the catalog cannot be read.
pub async fn plan(database: &AdminDatabase, only: &[SchemaName]) -> Result<FleetPlan, AdminError> {
    let survey = survey::survey(database, only).await?;
    let mut plan = FleetPlan {
        current: Vec::new(),
        pending: Vec::new(),
    };
    let mut shortcomings = shortcomings(database, &survey.tenants).await?;
    for tenant in survey.tenants {
        if only.is_empty() && !(tenant.is_certain() && tenant.history != History::NoSchema) {
            continue;
        }
        let role = shortcomings.remove(tenant.schema.as_str());
        match (tenant.is_current(), tenant.version()) {
            (Ok(true), Some(version)) if role.is_none() => plan.current.push((tenant.schema, version)),
            _ => plan.pending.push(PendingTenant { tenant, role }),
        }
    }
    Ok(plan)
}

/// The tenants whose roles are not as they should be; none where tenants have no roles.
async fn shortcomings(
    database: &AdminDatabase,
    tenants: &[Tenant],
) -> Result<HashMap<String, Shortcoming>, AdminError> {
    if !database.roles().are_on() {
        return Ok(HashMap::new());
    }
    let names: Vec<_> = tenants.iter().map(|tenant| tenant.schema.as_str()).collect();
    let mut connection = database.connect().await?;
    let shortcomings = roles::shortcomings(&mut connection, &names, database.roles()).await?;
    connection.close().await?;
    Ok(shortcomings)
}

/// What a run with such options would do to a tenant, if no migration failed. Nothing that is written
/// stays.
pub async fn rehearse(
    database: &AdminDatabase,
    pending: PendingTenant,
    options: FleetOptions,
) -> TenantReport {
    let begin = Instant::now();
    let PendingTenant { tenant, role } = pending;
    let mut from = tenant.version();
    let mut adopted = None;
    let mut to_do = tenant.is_current();
    let adopts = options.task == FleetTask::Migrate { adopts: true };
    if adopts && matches!(to_do, Err(AdminError::Unadopted)) {
        to_do = match migrate::rehearse_adoption(database, &tenant.schema, options.patience).await {
            Ok(would_be) => {
                from = Some(adopt::VERSION);
                adopted = Some(would_be);
                Ok(from == Some(TENANT.latest()))
            }
            Err(error) => Err(error),
        };
    }
    let is_behind = matches!(to_do, Ok(false));
    let role_made = to_do.is_ok() && role == Some(Shortcoming::Incomplete);
    if let (Ok(_), Some(Shortcoming::Unfit(flaws))) = (&to_do, role) {
        to_do = Err(AdminError::UnfitRole { flaws });
    }
    TenantReport {
        tenant: tenant.schema,
        migrated: from.map(|from| Migrated {
            from,
            to: if is_behind { TENANT.latest() } else { from },
        }),
        adopted,
        role_made,
        node: None,
        duration: begin.elapsed(),
        error: to_do.err(),
    }
}
