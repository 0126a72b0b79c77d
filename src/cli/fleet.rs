//! Runs over many tenants: `migrate` and `tenants distribute`.

use super::CommandError;
use super::output::{FleetOutput, OutcomeOutput};
use super::report::escape;
use crate::admin::runner::{RunEvent, RunOptions, TenantJob, TenantReport, TenantRun};
use crate::admin::{AdminDatabase, AdminError};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

/// The result of a run.
pub(super) struct RunSummary {
    /// Tenants that failed.
    failed: Vec<String>,
    /// Number of tenants without a report.
    left: usize,
    /// The failure that left tenants without a report, unless it was a signal.
    cause: Option<AdminError>,
    /// Number of all tenants.
    total: usize,
}

impl RunSummary {
    /// Returns the summary of a run over `total` tenants. `pending` of them have no report yet.
    pub(super) fn new(total: usize, pending: usize) -> Self {
        Self {
            failed: Vec::new(),
            left: pending,
            cause: None,
            total,
        }
    }

    pub(super) fn add<O>(&mut self, report: &TenantReport<O>) {
        self.left -= 1;
        if report.error.is_some() {
            self.failed.push(escape(report.tenant.as_str()));
        }
    }

    /// Returns the number of tenants that failed.
    pub(super) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Returns the number of tenants without a report.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    pub(super) fn into_result(mut self) -> Result<(), CommandError> {
        self.failed.sort_unstable();
        let (total, failed) = (self.total, self.failed);
        match self.left {
            0 if failed.is_empty() => Ok(()),
            0 => Err(CommandError::TenantsFailed { failed, total }),
            left => Err(CommandError::TenantsLeft {
                left,
                total,
                failed,
                cause: self.cause,
            }),
        }
    }
}

/// Runs `job` for `tenants`, prints the events, and adds the results to `summary`. If a tenant fails, the others
/// still run, up to the maximum number of failures. After the first signal no tenant is started; the second one
/// cancels those in progress.
pub(super) async fn run<J>(
    database: &AdminDatabase,
    tenants: Vec<SchemaName>,
    job: J,
    options: RunOptions,
    summary: &mut RunSummary,
    output: &mut FleetOutput,
    signals: &StopSignals,
) -> Result<(), CommandError>
where
    J: TenantJob,
    J::Outcome: OutcomeOutput,
{
    output.begin(tenants.len());
    let mut run = TenantRun::start(database, tenants, job, options).await?;
    let mut is_stopping = false;
    loop {
        let event = tokio::select! {
            biased;
            () = signals.clone().wait_for(2) => return Ok(()),
            () = signals.clone().wait_for(1), if !is_stopping => {
                is_stopping = true;
                run.stop();
                output.stopping();
                continue;
            }
            event = run.next() => event,
        };
        let Some(event) = event else { break };
        output.event(&event);
        if let RunEvent::Finished(report) = event {
            summary.add(&report);
        }
    }
    summary.cause = run.end().await.err();
    Ok(())
}
