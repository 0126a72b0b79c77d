//! `migrate`: migrates the shared schema, then all tenants concurrently.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::database::{connect_admin_database, read_migrations, unless_stopped, with_database};
use super::database_wait::wait_for_database;
use super::output::FleetOutput;
use super::rollout::{Canaries, Rollout, migrate_tenants, refuse_drift, report_current};
use super::{CommandError, report};
use crate::admin::migrations::{self, Adopt, Hazard, MigrateTenant, MigrationPlan, SchemaUpgrade};
use crate::admin::runner::RunOptions;
use crate::admin::{AdminDatabase, RetryPolicy};
use crate::config::{self, DatabaseSettings, MigrationSettings, RoleSettings, WaitSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct MigrateArguments {
    /// Migrate only this tenant; repeatable
    #[arg(long = "tenant", value_name = "NAME")]
    tenants: Vec<String>,
    /// Number of tenants migrated concurrently [default: twice the cores, limited to the server's free
    /// connections]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Maximum time to wait for a table lock; requests to the table wait too
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::parse_duration)]
    lock_timeout: Duration,
    /// Maximum number of retries for a tenant with locked tables, with exponential backoff
    #[arg(long, value_name = "N", default_value_t = RetryPolicy::default().retries)]
    retries: u32,
    /// Adopt schemas that another program created
    ///
    /// An adopted schema gets a migration history with a version as its baseline: migrations up to this
    /// version count as applied without being run, and later ones are applied on top. The baseline is the
    /// newest version whose tables the schema has; with the compiled-in migrations, version 1. Existing rows
    /// and additional columns are kept.
    #[arg(long)]
    adopt: bool,
    /// Adopt schemas that another program created, with this version as the baseline, without comparing them
    #[arg(long, value_name = "VERSION", conflicts_with = "adopt")]
    adopt_at: Option<i64>,
    /// First migrate this tenant, or this percentage of the pending tenants; migrate the others only if all
    /// of these succeed; repeatable
    #[arg(long = "canary", value_name = "NAME|PERCENT%")]
    canaries: Vec<String>,
    /// Start no more tenants after this number of failures
    #[arg(long, value_name = "N")]
    max_failures: Option<NonZeroUsize>,
    /// Report tenants that differ from the schema of their version, and do not migrate them
    #[arg(long)]
    refuse_drift: bool,
    /// Run statements that lose data, and those that drop or rename what a running version reads
    #[arg(long)]
    allow_hazards: bool,
    /// Print the pending changes, their hazards and predicted failures; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object for each tenant, one per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    wait: WaitSettings,
    #[command(flatten)]
    migrations: MigrationSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

impl MigrateArguments {
    async fn rollout(&self, database: &AdminDatabase) -> Result<Rollout, CommandError> {
        Ok(Rollout {
            job: MigrateTenant::new(match self.adopt_at {
                Some(version) => Adopt::At(version),
                None if self.adopt => Adopt::Newest,
                None => Adopt::No,
            }),
            options: RunOptions {
                jobs: self.jobs,
                retry: RetryPolicy {
                    lock_timeout: self.lock_timeout,
                    retries: self.retries,
                },
                max_failures: self.max_failures,
            },
            canaries: Canaries::parse(database, &self.canaries).await?,
            refuse_drift: self.refuse_drift,
        })
    }
}

pub(super) async fn migrate(arguments: &MigrateArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let source = read_migrations(&arguments.migrations)?;
    wait_for_database(&arguments.wait, &arguments.database, signals).await?;
    Box::pin(with_database(&arguments.database, async |url| {
        let mut output = FleetOutput::for_migration(arguments.json, arguments.dry_run);
        let (database, rollout, shared, plan, hazards) = unless_stopped(signals, async {
            let database = connect_admin_database(url).await?;
            let database = database.with_migrations(source).with_roles(&arguments.roles);
            if !arguments.dry_run {
                database.require_writable().await?;
            }
            let only = database.schema_names(&arguments.tenants).await?;
            let rollout = arguments.rollout(&database).await?;
            let shared = migrations::pending_shared(&database).await?;
            let plan = migrations::plan(&database, &only).await?;
            let versions: Vec<_> = shared.steps.iter().map(|step| step.version).collect();
            let hazards = migrations::find_hazards(&database, &versions, &plan, &rollout.job).await?;
            Ok((database, rollout, shared, plan, hazards))
        })
        .await?;
        refuse_unknown_canaries(&rollout.canaries.names, &plan)?;
        if arguments.dry_run {
            let dry_run = dry_run(&database, &rollout, &shared, plan, &hazards, output);
            return unless_stopped(signals, dry_run).await;
        }
        let destructive = hazards.iter().filter(|hazard| hazard.is_destructive);
        let destructive: Vec<_> = destructive.map(report::describe_hazard).collect();
        if !destructive.is_empty() && !arguments.allow_hazards {
            return Err(CommandError::Hazards(destructive));
        }
        let shared = Box::pin(migrations::migrate_shared(&database, rollout.options.retry));
        output.print_shared(&unless_stopped(signals, async { Ok(shared.await?) }).await?);
        migrate_tenants(&database, &rollout, plan, &mut output, signals).await?;
        output.end()
    }))
    .await
}

fn refuse_unknown_canaries(canaries: &[SchemaName], plan: &MigrationPlan) -> Result<(), CommandError> {
    let current = plan.current.iter().map(|(tenant, _)| tenant);
    let pending = plan.pending.iter().map(|pending| &pending.tenant.schema);
    let tenants: Vec<_> = current.chain(pending).collect();
    match canaries.iter().find(|canary| !tenants.contains(canary)) {
        Some(canary) => Err(CommandError::UnknownCanary(report::escape(canary.as_str()))),
        None => Ok(()),
    }
}

async fn dry_run(
    database: &AdminDatabase,
    rollout: &Rollout,
    shared: &SchemaUpgrade,
    plan: MigrationPlan,
    hazards: &[Hazard],
    mut output: FleetOutput,
) -> Result<(), CommandError> {
    output.print_shared(shared);
    migrations::predict_shared(database, shared).await?;
    output.expect(plan.current.len() + plan.pending.len(), 0);
    report_current(database, &plan.current, &mut output).await?;
    let mut tenants = plan.pending;
    if rollout.refuse_drift {
        tenants = refuse_drift(database, tenants, &mut output).await?;
    }
    let mut reports = Vec::with_capacity(tenants.len());
    for pending in tenants {
        let lock_timeout = rollout.options.retry.lock_timeout;
        reports.push(migrations::dry_run(database, pending, &rollout.job, lock_timeout).await);
    }
    migrations::predict_failures(database, &mut reports).await?;
    for report in &reports {
        output.report(report);
    }
    output.print_hazards(hazards);
    output.end()
}
