//! `migrate`: the shared tables, then all tenants side by side.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::output::FleetOutput;
use super::report::shown;
use super::{CommandError, connect_admin_database, parse_schemas, unless_stopped, with_database};
use crate::admin::AdminDatabase;
use crate::admin::fleet::{self, FleetEvent, FleetOptions, FleetRun, FleetTask, TenantReport};
use crate::admin::migrate::{self, Patience};
use crate::admin::{self, AdminError};
use crate::config::{self, DatabaseSettings, RoleSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

#[derive(Debug, Args)]
pub(super) struct MigrateArguments {
    /// Only this tenant; may be given more than once
    #[arg(long = "tenant", value_name = "NAME")]
    tenants: Vec<String>,
    /// Tenants side by side [default: twice the cores, or what the server has connections for]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How long a migration waits for a table that is in use; who needs the table meanwhile waits too
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::parse_duration)]
    lock_timeout: Duration,
    /// How often a tenant whose tables are in use is tried again, with growing pauses
    #[arg(long, value_name = "N", default_value_t = Patience::default().retries)]
    retries: u32,
    /// Take in tenants that were not made by this program, where they have the tables of version 1
    #[arg(long)]
    adopt: bool,
    /// Tell who would get what, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Tell of each tenant by a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

impl MigrateArguments {
    fn options(&self) -> FleetOptions {
        FleetOptions {
            jobs: self.jobs,
            patience: Patience {
                lock_timeout: self.lock_timeout,
                retries: self.retries,
            },
            task: FleetTask::Migrate { adopts: self.adopt },
        }
    }
}

pub(super) async fn migrate(arguments: &MigrateArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let only = parse_schemas(&arguments.tenants)?;
    with_database(&arguments.database, async |url| {
        let database = unless_stopped(signals, connect_admin_database(url)).await?;
        let database = database.with_roles(&arguments.roles);
        let mut output = FleetOutput::of_migration(arguments.json, arguments.dry_run);
        if arguments.dry_run {
            return unless_stopped(signals, dry_run(&database, arguments, &only, &mut output)).await;
        }
        let summary = migrate_tenants(&database, &only, arguments.options(), &mut output, signals).await?;
        summary.into_result()
    })
    .await
}

/// What came of work on the fleet.
pub(super) struct FleetSummary {
    /// Tenants that it failed for.
    failed: Vec<String>,
    /// Tenants whose turn did not come.
    left: usize,
    /// Why it did not, where it was not a signal.
    cause: Option<AdminError>,
    /// All tenants.
    of: usize,
}

impl FleetSummary {
    fn note(&mut self, report: &TenantReport) {
        if report.error.is_some() {
            self.failed.push(shown(report.tenant.as_str()));
        }
    }

    pub(super) fn into_result(mut self) -> Result<(), CommandError> {
        self.failed.sort_unstable();
        if self.left > 0 {
            return Err(CommandError::TenantsLeft {
                left: self.left,
                of: self.of,
                failed: self.failed,
                cause: self.cause,
            });
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(CommandError::TenantsFailed {
            failed: self.failed,
            of: self.of,
        })
    }
}

/// Migrates what is shared and then tenants, all or `only` some; one that fails does not stop the
/// others. After a first signal no tenant is begun, a second cuts off those under way.
pub(super) async fn migrate_tenants(
    database: &AdminDatabase,
    only: &[SchemaName],
    options: FleetOptions,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<FleetSummary, CommandError> {
    let (shared, plan) = unless_stopped(signals, async {
        admin::require_writable(database).await?;
        let shared = migrate::shared(database, options.patience).await?;
        output.shared(shared);
        Ok((shared, fleet::plan(database, only).await?))
    })
    .await?;
    for (tenant, version) in &plan.current {
        output.current(tenant, *version);
    }
    let pending = plan.pending.into_iter().map(|pending| pending.tenant.schema);
    let done = run_fleet(
        database,
        pending.collect(),
        plan.current.len(),
        options,
        output,
        signals,
    );
    let (summary, current) = done.await?;
    output.end(plan.current.len() + usize::from(shared.is_current()) + current);
    Ok(summary)
}

/// Works on tenants, beside whom there are `others`, and tells what came of it, and for how many of them
/// there was nothing to do.
pub(super) async fn run_fleet(
    database: &AdminDatabase,
    tenants: Vec<SchemaName>,
    others: usize,
    options: FleetOptions,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<(FleetSummary, usize), CommandError> {
    let mut current = 0;
    let mut summary = FleetSummary {
        failed: Vec::new(),
        left: tenants.len(),
        cause: None,
        of: others + tenants.len(),
    };
    output.begin(tenants.len());
    let mut run = FleetRun::start(database, tenants, options).await?;
    let mut stopping = false;
    let is_cut_off = loop {
        let event = tokio::select! {
            biased;
            () = signals.clone().wait_for(2) => break true,
            () = signals.clone().wait_for(1), if !stopping => {
                stopping = true;
                run.stop();
                output.stopping();
                continue;
            }
            event = run.next() => event,
        };
        let Some(event) = event else { break false };
        output.event(&event);
        if let FleetEvent::Done(report) = event {
            summary.left -= 1;
            current += usize::from(report.is_current());
            summary.note(&report);
        }
    };
    if !is_cut_off {
        summary.cause = run.end().await.err();
    }
    Ok((summary, current))
}

/// Tells who would get what.
async fn dry_run(
    database: &AdminDatabase,
    arguments: &MigrateArguments,
    only: &[SchemaName],
    output: &mut FleetOutput,
) -> Result<(), CommandError> {
    let shared = migrate::shared_to_do(database).await?;
    output.shared(shared);
    let plan = fleet::plan(database, only).await?;
    for (tenant, version) in &plan.current {
        output.current(tenant, *version);
    }
    let mut summary = FleetSummary {
        failed: Vec::new(),
        left: 0,
        cause: None,
        of: plan.current.len() + plan.pending.len(),
    };
    for pending in plan.pending {
        let report = fleet::rehearse(database, pending, arguments.options()).await;
        output.report(&report);
        summary.note(&report);
    }
    output.end(plan.current.len() + usize::from(shared.is_current()));
    summary.into_result()
}
