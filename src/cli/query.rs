//! `tenants query`.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;

use super::CommandError;
use super::database::with_readonly_admin_database;
use super::output::{self, QueryOutput};
use super::summary::RunSummary;
use crate::admin::runner::{RunEvent, RunOptions, TenantRun};
use crate::admin::tenants::{self, QueryTenant};
use crate::config::{self, DatabaseSettings, RoleSettings};
use crate::server::StopSignals;

#[derive(Debug, Args)]
pub(super) struct QueryArguments {
    /// The query: one SELECT statement with unqualified names of the tenant's tables
    #[arg(value_name = "SQL")]
    sql: String,
    /// Query only this tenant; repeatable
    #[arg(long = "tenant", value_name = "NAME")]
    tenants: Vec<String>,
    /// Number of tenants queried concurrently [default: twice the cores, limited to the server's free
    /// connections]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Maximum time of the query in each tenant
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = config::parse_duration)]
    timeout: Duration,
    /// Print a JSON object for each row, one per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    roles: RoleSettings,
}

/// Runs `tenants query`.
pub(super) async fn query(arguments: QueryArguments, signals: &StopSignals) -> Result<(), CommandError> {
    with_readonly_admin_database(&arguments.database, signals, async |database| {
        let database = database.with_roles(&arguments.roles);
        let only = database.schema_names(&arguments.tenants).await?;
        let tenants = tenants::list_queried(&database, &only).await?;
        let mut summary = RunSummary::new(tenants.len());
        let mut output = QueryOutput::new(arguments.json);
        let job = QueryTenant {
            sql: arguments.sql,
            timeout: arguments.timeout,
        };
        let options = RunOptions {
            jobs: arguments.jobs,
            ..RunOptions::default()
        };
        let mut run = TenantRun::start(&database, tenants, job, options).await?;
        while let Some(event) = run.next().await {
            if let RunEvent::Finished(report) = event {
                summary.add(&report);
                output.report(report);
            }
        }
        run.end().await?;
        output.end(output::terminal_width());
        summary.into_result()
    })
    .await
}
