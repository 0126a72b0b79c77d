//! `migrate`: the shared tables, then tenant after tenant.

use super::{CommandError, output};
use crate::admin::migrate;
use crate::tenancy::{Administration, SchemaName};

/// What came of migrating.
pub(super) struct MigrationSummary {
    /// Schemas that there was nothing to do for.
    pub(super) current: usize,
    /// Tenants that could not be migrated.
    failed: Vec<String>,
    /// All tenants that were to be migrated.
    tenants: usize,
}

impl MigrationSummary {
    pub(super) fn into_result(self) -> Result<(), CommandError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(CommandError::TenantsFailed {
            failed: self.failed,
            of: self.tenants,
        })
    }
}

/// Migrates what is shared and then tenants, all or `only` some; one that fails does not stop the
/// others.
pub(super) async fn migrate_tenants(
    database: &Administration,
    only: &[SchemaName],
) -> Result<MigrationSummary, CommandError> {
    let mut current = 0;
    match migrate::shared(database).await? {
        migrated if migrated.is_current() => current += 1,
        migrated => output::migrated("public", migrated),
    }
    let tenants = if only.is_empty() {
        migrate::all_tenants(database).await?
    } else {
        only.to_vec()
    };
    let mut failed = Vec::new();
    for tenant in &tenants {
        match migrate::tenant(database, tenant).await {
            Ok(migrated) if migrated.is_current() => current += 1,
            Ok(migrated) => output::migrated(tenant.as_str(), migrated),
            Err(error) => {
                output::not_migrated(tenant.as_str(), &error);
                failed.push(tenant.as_str().to_owned());
            }
        }
    }
    Ok(MigrationSummary {
        current,
        failed,
        tenants: tenants.len(),
    })
}
