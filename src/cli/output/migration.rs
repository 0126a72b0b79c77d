//! What is told of migrations: lines for people, or for programs.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::{Progress, answer, tell};
use crate::admin::AdminError;
use crate::admin::fleet::{FleetEvent, TenantReport};
use crate::admin::migrate::Migrated;
use crate::causes;
use crate::tenancy::SchemaName;

/// So many tenants take long enough for a log to say how far they are.
const LONG_RUN: usize = 50;

/// Tells how a migration of the fleet goes.
pub(in crate::cli) struct MigrationOutput {
    /// A JSON object for each tenant, on standard output, instead of lines for people.
    json: bool,
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
}

impl MigrationOutput {
    pub(in crate::cli) fn new(json: bool) -> Self {
        Self {
            json,
            progress: None,
            unadopted: false,
        }
    }

    /// What was done to what all tenants share.
    pub(in crate::cli) fn shared(&self, migrated: Migrated) {
        if !migrated.is_current() {
            self.line(format_args!("public: {}", past(migrated)));
        }
    }

    /// What would be done to it.
    pub(in crate::cli) fn shared_to_do(&self, to_do: Migrated) {
        if !to_do.is_current() {
            self.line(format_args!("public: {}", future(to_do)));
        }
    }

    /// A tenant that there is nothing to do for.
    pub(in crate::cli) fn current(&self, tenant: &SchemaName, version: i64) {
        if self.json {
            let versions = Migrated {
                from: version,
                to: version,
            };
            json_line(tenant, "current", Some(versions), Duration::ZERO, None);
        }
    }

    /// What would be done to a tenant.
    pub(in crate::cli) fn to_do(&self, tenant: &SchemaName, to_do: Migrated) {
        if self.json {
            json_line(tenant, "pending", Some(to_do), Duration::ZERO, None);
        } else {
            self.line(format_args!("{}: {}", tenant.as_str(), future(to_do)));
        }
    }

    /// So many tenants are about to be migrated.
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
            FleetEvent::Delayed { tenant, cause, pause } => {
                let texts = causes::texts(cause);
                let cause = texts.last().map_or("", String::as_str);
                self.aside(format_args!(
                    "{}: {cause}; trying again in {pause:?}",
                    tenant.as_str()
                ));
            }
            FleetEvent::Waiting { tenant } => {
                self.aside(format_args!(
                    "{}: waiting for another session that works on it",
                    tenant.as_str()
                ));
            }
        }
    }

    /// A tenant's turn is over.
    pub(in crate::cli) fn report(&mut self, report: &TenantReport) {
        let tenant = &report.tenant;
        let status = match (&report.error, report.migrated) {
            (Some(AdminError::Unadopted), _) => "unadopted",
            (Some(_), _) => "failed",
            (None, Some(migrated)) if !migrated.is_current() => "applied",
            (None, _) => "current",
        };
        self.unadopted |= status == "unadopted";
        if self.json {
            let error = report.error.as_ref().map(|error| causes::texts(error).join(": "));
            json_line(tenant, status, report.migrated, report.duration, error);
        } else if let Some(migrated) = report.migrated.filter(|migrated| !migrated.is_current()) {
            self.line(format_args!("{}: {}", tenant.as_str(), past(migrated)));
        }
        if let Some(error) = &report.error {
            self.error(tenant, error);
        }
    }

    /// The first signal to stop came.
    pub(in crate::cli) fn stopping(&self) {
        self.aside(format_args!(
            "stopping when the migrations under way are done; another signal cuts them off"
        ));
    }

    /// All is over. So many schemas were up to date.
    pub(in crate::cli) fn end(&mut self, current: usize) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        if !self.json {
            answer(format_args!("{current} up to date already"));
        }
        if self.unadopted {
            tell(format_args!(
                "\nhint: migrate --adopt takes in what others made, where it has the tables of version 1"
            ));
        }
    }

    fn error(&self, tenant: &SchemaName, error: &dyn Error) {
        let texts = causes::texts(error);
        self.aside(format_args!(
            "{}: error: {}",
            tenant.as_str(),
            texts.join("\n  because: ")
        ));
    }

    /// What people could pipe; beside the JSON it is an aside.
    fn line(&self, line: std::fmt::Arguments<'_>) {
        if self.json {
            self.aside(line);
        } else {
            self.beside_progress(|| answer(line));
        }
    }

    fn aside(&self, line: std::fmt::Arguments<'_>) {
        self.beside_progress(|| tell(line));
    }

    fn beside_progress(&self, write: impl FnOnce()) {
        match &self.progress {
            Some(progress) => progress.suspended(write),
            None => write(),
        }
    }
}

fn past(migrated: Migrated) -> String {
    format!("migrated from version {} to {}", migrated.from, migrated.to)
}

fn future(to_do: Migrated) -> String {
    format!("to be migrated from version {} to {}", to_do.from, to_do.to)
}

fn json_line(
    tenant: &SchemaName,
    status: &'static str,
    versions: Option<Migrated>,
    duration: Duration,
    error: Option<String>,
) {
    let line = TenantLine {
        tenant: tenant.as_str(),
        status,
        from: versions.map(|versions| versions.from),
        to: versions.map(|versions| versions.to),
        duration_ms: duration.as_millis().try_into().unwrap_or(u64::MAX),
        error,
    };
    // Strings and numbers can always be written.
    if let Ok(line) = serde_json::to_string(&line) {
        answer(format_args!("{line}"));
    }
}
