//! The order of a migration over all tenants: canaries first, and without tenants that have drifted.

use std::collections::HashMap;
use std::time::Duration;

use super::CommandError;
use super::database::unless_stopped;
use super::fleet::{self, RunSummary};
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
        let position = |index: usize| index * share / tenants.len();
        let is_canary = |index, tenant| position(index) < position(index + 1) || self.names.contains(tenant);
        let chosen: Vec<bool> = tenants
            .iter()
            .enumerate()
            .map(|(index, tenant)| is_canary(index, tenant))
            .collect();
        let mut chosen = chosen.into_iter();
        tenants
            .into_iter()
            .partition(|_| chosen.next().unwrap_or_default())
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

/// Migrates the shared schema and all tenants of the embedded database.
pub(super) async fn migrate_embedded(
    database: &AdminDatabase,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let rollout = Rollout::default();
    let plan = unless_stopped(signals, async {
        output.print_shared(&migrations::migrate_shared(database, rollout.options.retry).await?);
        Ok(migrations::plan(database, &[]).await?)
    })
    .await?;
    migrate_tenants(database, &rollout, plan, output, signals).await?;
    Ok(())
}

/// Migrates the tenants of the plan: first the canaries, then the others.
pub(super) async fn migrate_tenants(
    database: &AdminDatabase,
    rollout: &Rollout,
    plan: MigrationPlan,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<RunSummary, CommandError> {
    let Rollout {
        job,
        options,
        canaries,
        refuse_drift: refuses_drift,
    } = rollout;
    let all = plan.current.len() + plan.pending.len();
    let mut summary = RunSummary::new(all, all);
    let current = report_current(database, &plan.current, &mut summary, output);
    let unservable = unless_stopped(signals, current).await?;
    let mut tenants = plan.pending;
    if *refuses_drift {
        tenants = unless_stopped(signals, refuse_drift(database, tenants, &mut summary, output)).await?;
    }
    let tenants = tenants.into_iter().map(|pending| pending.tenant.schema);
    let (first, others) = canaries.split(tenants.collect());
    let migrate = async |tenants, summary: &mut RunSummary, output: &mut FleetOutput| {
        fleet::run(database, tenants, job.clone(), *options, summary, output, signals).await
    };
    let is_left = |name| first.contains(name) || plan.current.iter().any(|(current, _)| current == name);
    let may_continue = if canaries.is_empty() {
        true
    } else if canaries.contains_any(&unservable) || !canaries.names.iter().all(is_left) {
        false
    } else {
        let failed = summary.failures();
        migrate(first, &mut summary, output).await?;
        summary.failures() == failed && summary.left() <= others.len()
    };
    if may_continue {
        migrate(others, &mut summary, output).await?;
    } else {
        output.canaries_failed();
    }
    output.end();
    Ok(summary)
}

/// Reports the tenants that have all migrations. Returns those that the service cannot read, which have failed.
pub(super) async fn report_current(
    database: &AdminDatabase,
    current: &[(SchemaName, i64)],
    summary: &mut RunSummary,
    output: &mut FleetOutput,
) -> Result<Vec<SchemaName>, CommandError> {
    let mut unservable = Vec::new();
    for report in migrations::verify_current(database, current).await? {
        output.report(&report);
        summary.add(&report);
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
    summary: &mut RunSummary,
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
    let differences: HashMap<_, _> = checked
        .iter()
        .filter(|tenant| tenant.version.is_some())
        .map(|tenant| {
            let differences = tenant.differences.iter().filter(is_drift).count();
            (tenant.tenant.as_str(), differences)
        })
        .filter(|(_, differences)| *differences > 0)
        .collect();
    let mut others = Vec::with_capacity(tenants.len());
    for pending in tenants {
        let Some(&differences) = differences.get(pending.tenant.schema.as_str()) else {
            others.push(pending);
            continue;
        };
        let report = TenantReport {
            tenant: pending.tenant.schema,
            outcome: MigrationOutcome::default(),
            duration: Duration::ZERO,
            error: Some(MigrationError::Drifted { differences }.into()),
        };
        output.report(&report);
        summary.add(&report);
    }
    Ok(others)
}
