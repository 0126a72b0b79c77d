//! `tenants distribute` and `tenants move`: on which node of a Citus cluster a tenant lies.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;

use super::output::{self, FleetOutput, MoveOutput};
use super::report::escape;
use super::{
    CommandError, admin_database, confirm, fleet, schemas, unless_stopped, with_admin_database, with_database,
};
use crate::admin::citus::distribution::{self, DistributeTenant};
use crate::admin::citus::relocation::{self, Relocation, TransferMode};
use crate::admin::migrations::migrate_shared;
use crate::admin::runner::RunOptions;
use crate::admin::{AdminDatabase, AdminError, RetryPolicy};
use crate::config::{self, DatabaseSettings};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

/// Between two looks at how far a move has come.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct DistributeArguments {
    /// Only these tenants
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How long it waits for a table that is in use; who needs the table meanwhile waits too
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = config::duration)]
    lock_timeout: Duration,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Args)]
pub(super) struct MoveArguments {
    /// The tenant
    #[arg(value_name = "NAME")]
    tenant: String,
    /// The node to move it to: its host, or host:port
    #[arg(value_name = "NODE")]
    node: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Puts tenants on nodes, and what all share on all of them first.
pub(super) async fn distribute(
    arguments: DistributeArguments,
    signals: &StopSignals,
) -> Result<(), CommandError> {
    let only = schemas(&arguments.names)?;
    let options = RunOptions {
        // Each locks the users, who are everybody's.
        jobs: Some(NonZeroUsize::MIN),
        retry: RetryPolicy {
            lock_timeout: arguments.lock_timeout,
            ..RetryPolicy::default()
        },
    };
    with_database(&arguments.database, async |url| {
        let (database, plan) = unless_stopped(signals, async {
            let database = admin_database(url).await?;
            let plan = distribution::plan(&database, &only).await?;
            migrate_shared(&database, options.retry).await?;
            Ok((database, plan))
        })
        .await?;
        let mut output = FleetOutput::new("already distributed");
        output.add_unchanged(plan.distributed);
        let summary = fleet::run(
            &database,
            plan.pending,
            plan.distributed,
            DistributeTenant,
            options,
            &mut output,
            signals,
        )
        .await?;
        output.end();
        summary.into_result()
    })
    .await
}

/// Moves a tenant, after it was told what that takes.
pub(super) async fn move_tenant(arguments: MoveArguments, signals: &StopSignals) -> Result<(), CommandError> {
    let tenant = SchemaName::parse(&arguments.tenant)?;
    if !arguments.yes && !confirm::can_ask() {
        return Err(CommandError::Unconfirmed);
    }
    with_admin_database(&arguments.database, signals, async |database| {
        let planned = relocation::plan(database, &tenant, &arguments.node).await;
        let relocation = planned.map_err(|error| CommandError::for_tenant(&tenant, error))?;
        output::step(&told(&relocation));
        if !arguments.yes && !confirm::ask("Move it?").await {
            return Err(CommandError::Declined);
        }
        let moved = run(database, &relocation).await;
        let duration = moved.map_err(|error| CommandError::for_tenant(&tenant, error))?;
        output::step(&format!(
            "{}: moved to {} in {:.1} s",
            escape(tenant.as_str()),
            escape(&relocation.to.name()),
            duration.as_secs_f64()
        ));
        Ok(())
    })
    .await
}

/// Moves it, and tells meanwhile how far that is.
async fn run(database: &AdminDatabase, relocation: &Relocation) -> Result<Duration, AdminError> {
    let mut output = MoveOutput::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut moving = std::pin::pin!(relocation::run(database, relocation));
    loop {
        tokio::select! {
            biased;
            moved = &mut moving => {
                output.end();
                return moved;
            }
            _ = looks.tick() => {
                // That nobody tells how far it is does not stop it.
                if let Ok(Some(progress)) = relocation::progress(database, &relocation.tenant).await {
                    output.progress(progress);
                }
            }
        }
    }
}

/// What a move takes, before it begins.
fn told(relocation: &Relocation) -> String {
    let size = relocation.size_bytes.map_or_else(
        || "of unknown size".to_owned(),
        |bytes| HumanBytes(bytes.try_into().unwrap_or_default()).to_string(),
    );
    let how = match relocation.mode {
        TransferMode::Logical => {
            "by logical replication: it is read and written meanwhile, but for the last moments, mostly less \
             than a second, in which writes wait"
        }
        TransferMode::BlockWrites => {
            "by a copy: it is read meanwhile, but writes wait until the copy is done, mostly some seconds for \
             each 100 MiB, since a node's wal_level is not logical or a table has no replica identity"
        }
    };
    format!(
        "{} ({size}) goes from {} to {} {how}",
        escape(relocation.tenant.as_str()),
        escape(&relocation.from),
        escape(&relocation.to.name()),
    )
}
