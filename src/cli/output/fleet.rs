//! Output of a run over many tenants: text, or JSON lines.

use std::fmt::Arguments;

use serde::Serialize;

use super::outcome::{OutcomeOutput, step_lines};
use super::{Progress, eprint_line, print_line};
use crate::admin::AdminError;
use crate::admin::migrations::{Hazard, MigrationError, SchemaUpgrade};
use crate::admin::runner::{RunEvent, TenantReport};
use crate::cli::CommandError;
use crate::cli::report::{count, describe_hazard, escape};
use crate::cli::summary::RunSummary;
use crate::error_chain;

/// Minimum number of tenants for progress lines in a log.
const MIN_TENANTS_FOR_PROGRESS: usize = 50;

/// Prints the events of a run.
#[derive(Default)]
pub(in crate::cli) struct FleetOutput {
    /// Prints a JSON object for each tenant instead of text.
    json: bool,
    dry_run: bool,
    /// Describes tenants with changes, and those without, in the summary.
    labels: [&'static str; 2],
    /// Numbers of these tenants.
    changed: usize,
    unchanged: usize,
    progress: Option<Progress>,
    has_unadopted: bool,
    pub(in crate::cli) summary: RunSummary,
}

/// A JSON line.
#[derive(Serialize)]
struct TenantLine<'a, F> {
    tenant: &'a str,
    status: &'static str,
    #[serde(flatten)]
    fields: F,
    duration_ms: u64,
    error: Option<String>,
}

impl FleetOutput {
    /// Returns an output of text. Its summary describes tenants with changes, and those without, by `labels`.
    pub(in crate::cli) fn new(labels: [&'static str; 2]) -> Self {
        Self {
            labels,
            ..Self::default()
        }
    }

    /// Returns the output of `migrate`.
    pub(in crate::cli) fn for_migration(json: bool, dry_run: bool) -> Self {
        Self {
            json,
            dry_run,
            ..Self::new([if dry_run { "to migrate" } else { "migrated" }, "up to date"])
        }
    }

    /// Starts a run over `total` tenants, `unchanged` of which need no work.
    pub(in crate::cli) fn expect(&mut self, total: usize, unchanged: usize) {
        self.summary = RunSummary::new(total);
        self.summary.left -= unchanged;
        self.unchanged = unchanged;
    }

    /// Prints the migrations of the shared schema.
    pub(in crate::cli) fn print_shared(&self, upgrade: &SchemaUpgrade) {
        for line in step_lines("public", upgrade, self.dry_run) {
            self.line(format_args!("{line}"));
        }
    }

    /// Prints the hazards of the pending migrations.
    pub(in crate::cli) fn print_hazards(&self, hazards: &[Hazard]) {
        for hazard in hazards {
            self.line(format_args!("hazard: {}", describe_hazard(hazard)));
        }
    }

    /// Reports that the tenants after the canaries are not started.
    pub(in crate::cli) fn canaries_failed(&self) {
        self.status(format_args!(
            "not all canaries succeeded; no other tenants are started"
        ));
    }

    /// Starts the progress display.
    pub(in crate::cli) fn begin(&mut self, tenants: usize) {
        let progress = Progress::new("tenants", tenants.try_into().unwrap_or(u64::MAX));
        let is_shown = tenants > 0 && (tenants >= MIN_TENANTS_FOR_PROGRESS || !progress.bar.is_hidden());
        self.progress = is_shown.then_some(progress);
    }

    pub(in crate::cli) fn event<O: OutcomeOutput>(&mut self, event: &RunEvent<O>) {
        match event {
            RunEvent::Finished(report) => {
                self.report(report);
                if let Some(progress) = &self.progress {
                    progress.advance();
                }
            }
            RunEvent::Retrying { tenant, delay } => self.status(format_args!(
                "{}: a table is locked by another session; retrying in {delay:.1?}",
                escape(tenant.as_str())
            )),
            RunEvent::Waiting { tenant } => self.status(format_args!(
                "{}: waiting for another session that changes this tenant",
                escape(tenant.as_str())
            )),
        }
    }

    /// Prints the result for one tenant, and adds it to the summary.
    pub(in crate::cli) fn report<O: OutcomeOutput>(&mut self, report: &TenantReport<O>) {
        self.summary.add(report);
        let TenantReport { outcome, error, .. } = report;
        let status = match error {
            Some(AdminError::Migration(MigrationError::Unadopted)) => "unadopted",
            Some(_) => "failed",
            None if outcome.is_unchanged() => "current",
            None if self.dry_run => "pending",
            None => "applied",
        };
        self.has_unadopted |= status == "unadopted";
        self.unchanged += usize::from(status == "current");
        self.changed += usize::from(matches!(status, "pending" | "applied"));
        let name = escape(report.tenant.as_str());
        if self.json {
            let messages = error.as_ref().map(|error| error_chain::messages(error));
            let line = serde_json::to_string(&TenantLine {
                tenant: report.tenant.as_str(),
                status,
                fields: outcome.json(),
                duration_ms: report.duration.as_millis().try_into().unwrap_or(u64::MAX),
                error: messages.map(|messages| messages.join(": ")),
            });
            // Strings and numbers always serialize.
            let line = line.unwrap_or_default();
            self.suspend_progress(|| print_line(format_args!("{line}")));
        } else {
            for line in outcome.lines(&name, self.dry_run) {
                self.line(format_args!("{line}"));
            }
        }
        if let Some(error) = error {
            self.status(format_args!("{name}: error: {}", error_chain::render(error)));
        }
    }

    /// Confirms the first signal.
    pub(in crate::cli) fn stopping(&self) {
        self.status(format_args!(
            "stopping after the tenants in progress; send another signal to cancel them"
        ));
    }

    /// Prints the summary. Fails if a tenant failed or has no report.
    pub(in crate::cli) fn end(self) -> Result<(), CommandError> {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        if !self.json {
            let [changed, unchanged] = self.labels;
            let changed = (self.changed > 0).then(|| format!("{} {changed}", count(self.changed, "tenant")));
            let unchanged = match (&changed, self.unchanged) {
                (Some(_), 0) => None,
                (Some(_), current) => Some(format!("{current} {unchanged}")),
                (None, current) => Some(format!("{} {unchanged}", count(current, "tenant"))),
            };
            let summary: Vec<_> = changed.into_iter().chain(unchanged).collect();
            print_line(format_args!("{}", summary.join(", ")));
        }
        if self.has_unadopted {
            eprint_line(format_args!(
                "\nhint: to adopt schemas of another program, pass --adopt"
            ));
        }
        self.summary.into_result()
    }

    /// Prints a line to stdout, or to stderr if stdout has JSON.
    fn line(&self, line: Arguments<'_>) {
        if self.json {
            self.status(line);
        } else {
            self.suspend_progress(|| print_line(line));
        }
    }

    fn status(&self, line: Arguments<'_>) {
        self.suspend_progress(|| eprint_line(line));
    }

    fn suspend_progress(&self, write: impl FnOnce()) {
        match &self.progress {
            Some(progress) => progress.bar.suspend(write),
            None => write(),
        }
    }
}
