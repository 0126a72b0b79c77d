//! The order of a migration over all tenants: canaries first, and without tenants that have drifted.

use std::collections::HashMap;
use std::time::Duration;

use super::CommandError;
use super::database::unless_stopped;
use super::fleet;
use super::output::FleetOutput;
use crate::admin::AdminDatabase;
use crate::admin::drift::{self, Difference, DifferenceKind};
use crate::admin::migrations::{
    self, MigrateTenant, MigrationError, MigrationOutcome, MigrationPlan, PendingTenant,
};
use crate::admin::runner::{RunOptions, TenantReport};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

/// Options of a run over all tenants.
#[derive(Debug, Default)]
pub(super) struct Rollout {
    pub(super) job: MigrateTenant,
    pub(super) options: RunOptions,
    pub(super) canaries: Canaries,
    pub(super) refuse_drift: bool,
}

/// The tenants that are migrated first.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    pub(super) names: Vec<SchemaName>,
    /// This share of the pending tenants too, at least one.
    pub(super) percent: Option<u8>,
}

impl Canaries {
    /// Parses names, and a percentage such as `1%`.
    pub(super) async fn parse(database: &AdminDatabase, arguments: &[String]) -> Result<Self, CommandError> {
        let percentage = |argument: &&String| -> Option<u8> {
            let percent = argument.strip_suffix('%')?.parse().ok()?;
            (1..=100).contains(&percent).then_some(percent)
        };
        let (percentages, names): (Vec<_>, Vec<_>) = arguments
            .iter()
            .partition(|argument| percentage(argument).is_some());
        let names: Vec<String> = names.into_iter().cloned().collect();
        Ok(Self {
            names: database.schema_names(&names).await?,
            percent: percentages.iter().filter_map(percentage).max(),
        })
    }

    /// Splits tenants into canaries and others. The share of canaries is spread over the list.
    fn split(&self, tenants: Vec<SchemaName>) -> (Vec<SchemaName>, Vec<SchemaName>) {
        let percent = self.percent.map_or(0, usize::from);
        let share = (tenants.len() * percent).div_ceil(100);
        let count = tenants.len();
        let position = |index: usize| index * share / count;
        let mut indexes = 0..count;
        tenants.into_iter().partition(|tenant| {
            let index = indexes.next().unwrap_or_default();
            position(index) < position(index + 1) || self.names.contains(tenant)
        })
    }

    /// Returns whether one of these tenants, which have all migrations, is a canary. With a percentage, any of them
    /// may have been one of an earlier run.
    fn contains_any(&self, current: &[SchemaName]) -> bool {
        let mut current = current.iter();
        current.any(|tenant| self.percent.is_some() || self.names.contains(tenant))
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.percent.is_none()
    }
}

/// Migrates the shared schema and all tenants of the embedded database. A tenant that fails is only reported.
pub(super) async fn migrate_embedded(
    database: &AdminDatabase,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let rollout = Rollout::default();
    let mut output = FleetOutput::for_migration(false, false);
    let plan = unless_stopped(signals, async {
        output.print_shared(&migrations::migrate_shared(database, rollout.options.retry).await?);
        Ok(migrations::plan(database, &[]).await?)
    })
    .await?;
    migrate_tenants(database, &rollout, plan, &mut output, signals).await?;
    let _ = output.end();
    Ok(())
}

/// Migrates the tenants of the plan: first the canaries, then the others.
pub(super) async fn migrate_tenants(
    database: &AdminDatabase,
    rollout: &Rollout,
    plan: MigrationPlan,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let canaries = &rollout.canaries;
    output.expect(plan.current.len() + plan.pending.len(), 0);
    let current = report_current(database, &plan.current, output);
    let unservable = unless_stopped(signals, current).await?;
    let mut tenants = plan.pending;
    if rollout.refuse_drift {
        tenants = unless_stopped(signals, refuse_drift(database, tenants, output)).await?;
    }
    let tenants = tenants.into_iter().map(|pending| pending.tenant.schema);
    let (first, others) = canaries.split(tenants.collect());
    let migrate = async |tenants, output: &mut FleetOutput| {
        fleet::run(
            database,
            tenants,
            rollout.job.clone(),
            rollout.options,
            output,
            signals,
        )
        .await
    };
    let is_left = |name| first.contains(name) || plan.current.iter().any(|(current, _)| current == name);
    let may_continue = if canaries.is_empty() {
        true
    } else if canaries.contains_any(&unservable) || !canaries.names.iter().all(is_left) {
        false
    } else {
        let failed = output.summary.failed.len();
        migrate(first, output).await?;
        output.summary.failed.len() == failed && output.summary.left <= others.len()
    };
    if may_continue {
        migrate(others, output).await?;
    } else {
        output.canaries_failed();
    }
    Ok(())
}

/// Reports the tenants that have all migrations. Returns those that the service cannot read, which have failed.
pub(super) async fn report_current(
    database: &AdminDatabase,
    current: &[(SchemaName, i64)],
    output: &mut FleetOutput,
) -> Result<Vec<SchemaName>, CommandError> {
    let mut unservable = Vec::new();
    for report in migrations::verify_current(database, current).await? {
        output.report(&report);
        if report.error.is_some() {
            unservable.push(report.tenant);
        }
    }
    Ok(unservable)
}

/// Reports tenants that differ from the schema of their version as failed. Returns the others.
pub(super) async fn refuse_drift(
    database: &AdminDatabase,
    tenants: Vec<PendingTenant>,
    output: &mut FleetOutput,
) -> Result<Vec<PendingTenant>, CommandError> {
    let names: Vec<_> = tenants
        .iter()
        .map(|pending| pending.tenant.schema.clone())
        .collect();
    if names.is_empty() {
        return Ok(tenants);
    }
    let checked = drift::check(database, &names, None).await?;
    // A tenant that cannot be served may need the migration for just that.
    let is_drift =
        |difference: &&Difference| difference.is_drift() && difference.kind != DifferenceKind::Service;
    let comparable = checked.iter().filter(|tenant| tenant.version.is_some());
    let differences: HashMap<_, _> = comparable
        .map(|tenant| {
            (
                tenant.tenant.as_str(),
                tenant.differences.iter().filter(is_drift).count(),
            )
        })
        .collect();
    let mut others = Vec::with_capacity(tenants.len());
    for pending in tenants {
        let name = pending.tenant.schema.as_str();
        let differences = differences.get(name).copied().unwrap_or_default();
        if differences == 0 {
            others.push(pending);
            continue;
        }
        output.report(&TenantReport {
            tenant: pending.tenant.schema,
            outcome: MigrationOutcome::default(),
            duration: Duration::ZERO,
            error: Some(MigrationError::Drifted { differences }.into()),
        });
    }
    Ok(others)
}
