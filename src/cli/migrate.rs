//! `migrate`: migrates the shared schema, then all tenants concurrently.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::database_wait::wait_for_database;
use super::fleet::{self, RunSummary};
use super::output::FleetOutput;
use super::{CommandError, connect_admin_database, parse_schemas, unless_stopped, with_database};
use crate::admin::migrations::{self, MigrateTenant};
use crate::admin::runner::RunOptions;
use crate::admin::{self, AdminDatabase, RetryPolicy};
use crate::config::{self, DatabaseSettings, RoleSettings, WaitSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

#[derive(Debug, Args)]
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
    /// Adopt schemas that another program created, if they have the tables of version 1
    ///
    /// An adopted schema gets a migration history with version 1 as its baseline: version 1 counts as
    /// applied without being run, and later migrations are applied on top. Existing rows and additional
    /// columns are kept.
    #[arg(long)]
    adopt: bool,
    /// Print the pending changes without making them
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object for each tenant, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    wait: WaitSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

impl MigrateArguments {
    fn job(&self) -> MigrateTenant {
        MigrateTenant { adopt: self.adopt }
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            jobs: self.jobs,
            retry: RetryPolicy {
                lock_timeout: self.lock_timeout,
                retries: self.retries,
            },
        }
    }
}

pub(super) async fn migrate(arguments: &MigrateArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let only = parse_schemas(&arguments.tenants)?;
    wait_for_database(&arguments.wait, &arguments.database, signals).await?;
    with_database(&arguments.database, async |url| {
        let database = unless_stopped(signals, connect_admin_database(url)).await?;
        let database = database.with_roles(&arguments.roles);
        let mut output = FleetOutput::for_migration(arguments.json, arguments.dry_run);
        if arguments.dry_run {
            return unless_stopped(signals, dry_run(&database, arguments, &only, &mut output)).await;
        }
        let (job, options) = (arguments.job(), arguments.options());
        let summary = migrate_tenants(&database, &only, job, options, &mut output, signals).await?;
        summary.into_result()
    })
    .await
}

/// Migrates the shared schema, then all tenants or those in `only`.
pub(super) async fn migrate_tenants(
    database: &AdminDatabase,
    only: &[SchemaName],
    job: MigrateTenant,
    options: RunOptions,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<RunSummary, CommandError> {
    let plan = unless_stopped(signals, async {
        admin::require_writable(database).await?;
        output.shared(&migrations::migrate_shared(database, options.retry).await?);
        Ok(migrations::plan(database, only).await?)
    })
    .await?;
    for (tenant, version) in &plan.current {
        output.current(tenant, *version);
    }
    let pending = plan.pending.into_iter().map(|pending| pending.tenant.schema);
    let (pending, current) = (pending.collect(), plan.current.len());
    let summary = fleet::run(database, pending, current, job, options, output, signals).await?;
    output.end();
    Ok(summary)
}

async fn dry_run(
    database: &AdminDatabase,
    arguments: &MigrateArguments,
    only: &[SchemaName],
    output: &mut FleetOutput,
) -> Result<(), CommandError> {
    output.shared(&migrations::pending_shared(database).await?);
    let plan = migrations::plan(database, only).await?;
    for (tenant, version) in &plan.current {
        output.current(tenant, *version);
    }
    let pending = plan.pending.len();
    let mut summary = RunSummary::new(plan.current.len() + pending, pending);
    for pending in plan.pending {
        let report = migrations::dry_run(database, pending, arguments.job(), arguments.lock_timeout).await;
        output.report(&report);
        summary.add(&report);
    }
    output.end();
    summary.into_result()
}
