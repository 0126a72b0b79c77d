//! Text and JSON of the changes that a run made to a tenant.

use serde::Serialize;

use crate::admin::citus::distribution::DistributionOutcome;
use crate::admin::migrations::{MigrationOutcome, SchemaUpgrade};
use crate::cli::report::escape;

/// Text and JSON of the changes to one tenant.
pub(in crate::cli) trait OutcomeOutput {
    /// Returns whether there was nothing to do.
    fn is_unchanged(&self) -> bool;

    /// Returns a line for each change.
    fn lines(&self, tenant: &str, dry_run: bool) -> Vec<String>;

    /// Returns the fields of the JSON line, which only `migrate` prints.
    fn json(&self) -> impl Serialize;
}

/// Fields of a JSON line of `migrate`.
#[derive(Serialize)]
struct MigrationFields<'a> {
    from: Option<i64>,
    to: Option<i64>,
    /// Objects that an adopted tenant has and version 1 does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a [String]>,
    /// `true` if the tenant's role was created or got missing privileges.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    role_made: bool,
}

impl OutcomeOutput for MigrationOutcome {
    fn is_unchanged(&self) -> bool {
        let has_steps = |upgrade: &SchemaUpgrade| !upgrade.steps.is_empty() || upgrade.history_moved;
        !self.upgrade.as_ref().is_some_and(has_steps) && self.adoption.is_none() && !self.role_updated
    }

    fn lines(&self, tenant: &str, dry_run: bool) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(adoption), Some(upgrade)) = (&self.adoption, &self.upgrade) {
            let adopted = if dry_run { "Would adopt" } else { "Adopted" };
            let kept = match adoption.extras.as_slice() {
                [] => String::new(),
                extras => format!("; kept: {}", escape(&extras.join(", "))),
            };
            lines.push(format!("{adopted} {tenant} at version {}{kept}", upgrade.from));
        }
        if let Some(upgrade) = &self.upgrade {
            lines.extend(step_lines(tenant, upgrade, dry_run));
        }
        if self.role_updated {
            let updated = if dry_run {
                "Would create or update"
            } else {
                "Created or updated"
            };
            lines.push(format!("{updated} role {tenant}"));
        }
        lines
    }

    fn json(&self) -> impl Serialize {
        let upgrade = self.upgrade.as_ref();
        let adoption = self.adoption.as_ref();
        MigrationFields {
            from: upgrade.map(|upgrade| upgrade.from),
            to: upgrade.map(SchemaUpgrade::to),
            kept: adoption.map(|adoption| adoption.extras.as_slice()),
            role_made: self.role_updated,
        }
    }
}

impl OutcomeOutput for DistributionOutcome {
    fn is_unchanged(&self) -> bool {
        self.node.is_none()
    }

    fn lines(&self, tenant: &str, _dry_run: bool) -> Vec<String> {
        let node = self.node.iter();
        node.map(|node| format!("Placed {tenant} on {}", escape(node)))
            .collect()
    }

    fn json(&self) -> impl Serialize {}
}

/// Returns a line for each change to `schema`.
pub(super) fn step_lines(schema: &str, upgrade: &SchemaUpgrade, dry_run: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if upgrade.history_moved {
        let moved = if dry_run { "Would rename" } else { "Renamed" };
        lines.push(format!("{moved} the migration history of {schema}"));
    }
    lines.extend(upgrade.steps.iter().map(|step| {
        let (version, description) = (step.version, escape(&step.description));
        if dry_run {
            let verb = if step.is_repeated { "repeat" } else { "apply" };
            return format!("Would {verb} {version}/{description} to {schema}");
        }
        let verb = if step.is_repeated { "Repeated" } else { "Applied" };
        let duration = step.duration;
        format!("{verb} {version}/{description} to {schema} ({duration:.1?})")
    }));
    lines
}
