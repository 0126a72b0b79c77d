//! `tenants distribute` and `tenants move`: placement of tenants in a Citus cluster.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::database::{connect_admin_database, unless_stopped, with_admin_database, with_database};
use super::fleet;
use super::output::{self, FleetOutput, TransferProgress};
use super::report::{escape, human_size};
use super::{CommandError, confirm};
use crate::admin::citus::distribution::{self, DistributeTenant};
use crate::admin::citus::relocation::{self, Relocation};
use crate::admin::migrations::migrate_shared;
use crate::admin::runner::RunOptions;
use crate::admin::{AdminDatabase, AdminError, RetryPolicy};
use crate::config::{self, DatabaseSettings};
use crate::server::StopSignals;

/// Interval between two queries of a move's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct DistributeArguments {
    /// Distribute only these tenants
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Maximum time to wait for a table lock; requests to the table wait too
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::parse_duration)]
    lock_timeout: Duration,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Args)]
pub(super) struct MoveArguments {
    /// Name of the tenant
    #[arg(value_name = "NAME")]
    tenant: String,
    /// Target node: host or host:port
    #[arg(value_name = "NODE")]
    node: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Runs `tenants distribute`. The shared tables are migrated and distributed first.
pub(super) async fn distribute(
    arguments: DistributeArguments,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let options = RunOptions {
        // Each tenant's distribution locks `public.users`, so more jobs would only wait.
        jobs: Some(NonZeroUsize::MIN),
        retry: RetryPolicy {
            lock_timeout: arguments.lock_timeout,
            ..RetryPolicy::default()
        },
        max_failures: None,
    };
    with_database(&arguments.database, async |url| {
        let (database, plan) = unless_stopped(signals, async {
            let database = connect_admin_database(url).await?;
            let only = database.schema_names(&arguments.names).await?;
            let plan = distribution::plan(&database, &only).await?;
            migrate_shared(&database, options.retry).await?;
            Ok((database, plan))
        })
        .await?;
        let mut output = FleetOutput::new(["distributed", "already distributed"]);
        output.expect(plan.distributed + plan.pending.len(), plan.distributed);
        let pending = plan.pending;
        fleet::run(
            &database,
            pending,
            DistributeTenant,
            options,
            &mut output,
            signals,
        )
        .await?;
        output.end()
    })
    .await
}

/// Runs `tenants move`: prints the plan, asks for confirmation, and moves the tenant.
pub(super) async fn move_tenant(arguments: MoveArguments, signals: &StopSignals) -> Result<(), CommandError> {
    if !arguments.yes {
        confirm::require_terminal()?;
    }
    let work = async |database: &AdminDatabase| {
        let tenant = database.schema_name(&arguments.tenant).await?;
        let planned = relocation::plan(database, &tenant, &arguments.node).await;
        let relocation = planned.map_err(|error| CommandError::for_tenant(&tenant, error))?;
        output::status(&describe(&relocation));
        if !arguments.yes {
            confirm::ask("Move the tenant?").await?;
        }
        let moved = run_with_progress(database, &relocation).await;
        let duration = moved.map_err(|error| CommandError::for_tenant(&tenant, error))?;
        output::status(&format!(
            "{}: moved to {} in {:.1} s",
            escape(tenant.as_str()),
            escape(&relocation.to.name()),
            duration.as_secs_f64()
        ));
        Ok(())
    };
    Box::pin(with_admin_database(&arguments.database, signals, work)).await
}

/// Moves the tenant, and prints the progress meanwhile.
async fn run_with_progress(
    database: &AdminDatabase,
    relocation: &Relocation,
) -> Result<Duration, AdminError> {
    let output = TransferProgress::new("moved", Some(0));
    let query_progress = async {
        loop {
            // Errors are ignored: the move continues without progress output.
            if let Ok(Some(progress)) = relocation::progress(database, &relocation.tenant).await {
                output.update(progress.moved_bytes, progress.total_bytes);
            }
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
    };
    let work = Box::pin(async {
        tokio::select! {
            biased;
            moved = relocation::run(database, relocation) => moved,
            never = query_progress => never,
        }
    });
    output.show_during(work).await
}

/// Describes a move and its effect on requests.
fn describe(relocation: &Relocation) -> String {
    let size = relocation.size_bytes.map_or_else(
        || "unknown size".to_owned(),
        |bytes| human_size(bytes).to_string(),
    );
    let method = if relocation.blocks_writes {
        "by a copy, because wal_level is not logical on every node or a table has no replica identity; reads \
         continue, and writes wait until the copy is done, usually a few seconds per 100 MiB"
    } else {
        "by logical replication; reads and writes continue, and writes wait briefly at the end, usually for less \
         than a second"
    };
    format!(
        "{} ({size}) moves from {} to {} {method}",
        escape(relocation.tenant.as_str()),
        escape(&relocation.from),
        escape(&relocation.to.name()),
    )
}
