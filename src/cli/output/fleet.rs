//! What is told of work on the fleet: lines for people, or for programs.

use std::fmt::Arguments;

use serde::Serialize;

use super::{Progress, eprint_line, print_line};
use crate::admin::AdminError;
use crate::admin::fleet::{FleetEvent, TenantReport};
use crate::admin::migrate::Migrated;
use crate::cli::report::shown;
use crate::error_chain;
use crate::tenancy::SchemaName;

/// So many tenants take long enough for a log to say how far they are.
const LONG_RUN: usize = 50;

/// Tells how work on the fleet goes.
pub(in crate::cli) struct FleetOutput {
    /// A JSON object for each tenant, on standard output, instead of lines for people.
    json: bool,
    /// Nothing is done: it is told what would be.
    dry_run: bool,
    /// What is told of those for whom there is nothing to do.
    already: &'static str,
    progress: Option<Progress>,
    unadopted: bool,
}

/// What a program reads about a tenant.
#[derive(Serialize)]
struct TenantLine<'a> {
    tenant: &'a str,
    status: &'static str,
    from: Option<i64>,
    to: Option<i64>,
    duration_ms: u64,
    error: Option<String>,
    /// Where it was adopted: what it has beyond its version's tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a [String]>,
    /// Where its role was made, or granted what it lacked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    role_made: bool,
}

impl FleetOutput {
    pub(in crate::cli) fn of_migration(json: bool, dry_run: bool) -> Self {
        Self {
            json,
            dry_run,
            already: "up to date",
            progress: None,
            unadopted: false,
        }
    }

    pub(in crate::cli) fn of_distribution() -> Self {
        Self {
            already: "on a node",
            ..Self::of_migration(false, false)
        }
    }

    /// What came of what all tenants share.
    pub(in crate::cli) fn shared(&self, migrated: Migrated) {
        if !migrated.is_current() {
            self.line(format_args!("public: {}", self.told(migrated)));
        }
    }

    /// A tenant that there is nothing to do for.
    pub(in crate::cli) fn current(&self, tenant: &SchemaName, version: i64) {
        if self.json {
            self.json_line(&TenantLine {
                tenant: tenant.as_str(),
                status: "current",
                from: Some(version),
                to: Some(version),
                duration_ms: 0,
                error: None,
                kept: None,
                role_made: false,
            });
        }
    }

    /// So many tenants are about to be worked on.
    pub(in crate::cli) fn begin(&mut self, tenants: usize) {
        let progress = Progress::new("tenants", tenants.try_into().unwrap_or(u64::MAX));
        self.progress = (tenants > 0 && (tenants >= LONG_RUN || !progress.is_hidden())).then_some(progress);
    }

    /// Something happened.
    pub(in crate::cli) fn event(&mut self, event: &FleetEvent) {
        match event {
            FleetEvent::Done(report) => {
                self.report(report);
                if let Some(progress) = &self.progress {
                    progress.advance();
                }
            }
            FleetEvent::Delayed { tenant, pause } => {
                self.aside(format_args!(
                    "{}: a table is in use; trying again in {pause:?}",
                    shown(tenant.as_str())
                ));
            }
            FleetEvent::Waiting { tenant } => {
                self.aside(format_args!(
                    "{}: waiting for another session that works on it",
                    shown(tenant.as_str())
                ));
            }
        }
    }

    /// A tenant's turn is over.
    pub(in crate::cli) fn report(&mut self, report: &TenantReport) {
        let name = shown(report.tenant.as_str());
        let status = match &report.error {
            Some(AdminError::Unadopted) => "unadopted",
            Some(_) => "failed",
            None if report.is_current() => "current",
            None if self.dry_run => "pending",
            None => "applied",
        };
        self.unadopted |= status == "unadopted";
        let kept = report.adopted.as_ref().map(|adopted| adopted.extras.as_slice());
        if self.json {
            self.json_line(&TenantLine {
                tenant: report.tenant.as_str(),
                status,
                from: report.migrated.map(|migrated| migrated.from),
                to: report.migrated.map(|migrated| migrated.to),
                duration_ms: report.duration.as_millis().try_into().unwrap_or(u64::MAX),
                error: report
                    .error
                    .as_ref()
                    .map(|error| error_chain::messages(error).join(": ")),
                kept,
                role_made: report.role_made,
            });
        } else {
            if let (Some(kept), Some(migrated)) = (kept, report.migrated) {
                let adopted = if self.dry_run { "to be adopted" } else { "adopted" };
                let from = migrated.from;
                let kept = if kept.is_empty() {
                    "nothing"
                } else {
                    &kept.join(", ")
                };
                self.line(format_args!(
                    "{name}: {adopted} at version {from}; beyond its tables it keeps {kept}"
                ));
            }
            if let Some(migrated) = report.migrated.filter(|migrated| !migrated.is_current()) {
                self.line(format_args!("{name}: {}", self.told(migrated)));
            }
            if report.role_made {
                let made = if self.dry_run { "to be made" } else { "made" };
                self.line(format_args!("{name}: its role {made}, or granted what it lacks"));
            }
            if let Some(node) = &report.node {
                self.line(format_args!("{name}: on {}", shown(node)));
            }
        }
        if let Some(error) = &report.error {
            let texts = error_chain::render(error);
            self.aside(format_args!("{name}: error: {texts}"));
        }
    }

    /// The first signal to stop came.
    pub(in crate::cli) fn stopping(&self) {
        self.aside(format_args!(
            "stopping when the tenants under way are done; another signal cuts them off"
        ));
    }

    /// All is over. For so many schemas there was nothing to do.
    pub(in crate::cli) fn end(&mut self, current: usize) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        if !self.json {
            print_line(format_args!("{current} {} already", self.already));
        }
        if self.unadopted {
            eprint_line(format_args!(
                "\nhint: migrate --adopt takes in what others made, where it has the tables of version 1"
            ));
        }
    }

    fn told(&self, migrated: Migrated) -> String {
        let Migrated { from, to } = migrated;
        let verb = if self.dry_run {
            "to be migrated"
        } else {
            "migrated"
        };
        format!("{verb} from version {from} to {to}")
    }

    /// What people could pipe; beside the JSON it is an aside.
    fn line(&self, line: Arguments<'_>) {
        if self.json {
            self.aside(line);
        } else {
            self.beside_progress(|| print_line(line));
        }
    }

    fn aside(&self, line: Arguments<'_>) {
        self.beside_progress(|| eprint_line(line));
    }

    fn beside_progress(&self, write: impl FnOnce()) {
        match &self.progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        }
    }

    fn json_line(&self, line: &TenantLine<'_>) {
        // Strings and numbers can always be written.
        if let Ok(line) = serde_json::to_string(line) {
            self.beside_progress(|| print_line(format_args!("{line}")));
        }
    }
}
