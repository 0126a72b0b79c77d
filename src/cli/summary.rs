//! The result of a run over many tenants.

use super::CommandError;
use super::report::escape;
use crate::admin::AdminError;
use crate::admin::runner::TenantReport;

/// The result of a run over many tenants.
#[derive(Default)]
pub(super) struct RunSummary {
    /// Names of the tenants that failed.
    pub(super) failed: Vec<String>,
    /// Number of tenants without a report.
    pub(super) left: usize,
    /// The failure that left tenants without a report, unless it was a signal.
    pub(super) cause: Option<AdminError>,
    total: usize,
}

impl RunSummary {
    /// Returns the summary of a run over `total` tenants before their reports.
    pub(super) fn new(total: usize) -> Self {
        Self {
            total,
            left: total,
            ..Self::default()
        }
    }

    pub(super) fn add<O>(&mut self, report: &TenantReport<O>) {
        self.left -= 1;
        if report.error.is_some() {
            self.failed.push(escape(report.tenant.as_str()));
        }
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
