//! Runs over many tenants: `migrate` and `tenants distribute`.

use super::CommandError;
use super::output::{FleetOutput, OutcomeOutput};
use crate::admin::AdminDatabase;
use crate::admin::runner::{RunOptions, TenantJob, TenantRun};
use crate::server::StopSignals;
use crate::tenancy::SchemaName;

/// Runs `job` for `tenants`, and prints the events. If a tenant fails, the others still run, up to the maximum number
/// of failures. After the first signal no tenant is started; the second one cancels those in progress.
pub(super) async fn run<J>(
    database: &AdminDatabase,
    tenants: Vec<SchemaName>,
    job: J,
    options: RunOptions,
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
        match event {
            Some(event) => output.event(&event),
            None => break,
        }
    }
    output.summary.cause = run.end().await.err();
    Ok(())
}
