//! Dry runs: the changes that a run would make to a tenant.

use std::time::{Duration, Instant};

use sqlx::Connection;

use super::apply::SchemaUpgrade;
use super::error::MigrationError;
use super::job::{Adopt, MigrateTenant, MigrationOutcome};
use super::plan::PendingTenant;
use crate::admin::database::AdminDatabase;
use crate::admin::drift::TenantEntry;
use crate::admin::error::AdminError;
use crate::admin::runner::TenantReport;
use crate::admin::tenants::roles::RoleState;

/// Returns what `job` would do to the tenant if no migration failed, as [`predict_failures`](super::predict_failures)
/// examines. Nothing that is written remains.
pub(crate) async fn dry_run(
    database: &AdminDatabase,
    pending: PendingTenant,
    job: &MigrateTenant,
    lock_timeout: Duration,
) -> TenantReport<MigrationOutcome> {
    let begin = Instant::now();
    let PendingTenant { tenant, role } = pending;
    let mut outcome = MigrationOutcome {
        upgrade: tenant.version().map(SchemaUpgrade::from_version),
        ..MigrationOutcome::default()
    };
    let mut planned = plan_schema(database, &tenant, job, lock_timeout, &mut outcome).await;
    match role {
        Some(RoleState { flaws, .. }) if flaws.is_empty() => outcome.role_updated = planned.is_ok(),
        Some(RoleState { flaws, .. }) if planned.is_ok() => planned = Err(AdminError::UnfitRole { flaws }),
        _ => {}
    }
    TenantReport {
        tenant: tenant.schema,
        outcome,
        duration: begin.elapsed(),
        error: planned.err(),
    }
}

async fn plan_schema(
    database: &AdminDatabase,
    tenant: &TenantEntry,
    job: &MigrateTenant,
    lock_timeout: Duration,
    outcome: &mut MigrationOutcome,
) -> Result<(), AdminError> {
    let migrations = &database.migrations().tenant;
    let pending = match tenant.pending(migrations) {
        Err(AdminError::Migration(MigrationError::Unadopted)) if job.adopt != Adopt::No => {
            let mut connection = database.connect().await?;
            let adopted = job.adopt_schema(database, &mut connection, &tenant.schema, lock_timeout, true);
            let adoption = adopted.await?;
            connection.close().await?;
            let baseline = adoption.version;
            outcome.adoption = Some(adoption);
            outcome.upgrade = Some(SchemaUpgrade::from_version(baseline));
            migrations.after(baseline).collect()
        }
        pending => pending?,
    };
    if let Some(upgrade) = &mut outcome.upgrade {
        upgrade.add_pending(pending);
        upgrade.history_moved = tenant.has_legacy_history;
        for step in &mut upgrade.steps {
            let mut applied = tenant.applied().iter();
            step.is_repeated = applied.any(|applied| applied.version == step.version);
        }
    }
    Ok(())
}
