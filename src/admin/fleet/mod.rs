//! What is done to all tenants, several side by side: migrating them, or spreading them over nodes.

mod plan;
mod run;

use std::num::NonZeroUsize;
use std::time::Duration;

use super::AdminError;
use super::adopt::Adopted;
use super::migrate::{Migrated, Patience};
use crate::tenancy::SchemaName;

pub use plan::{FleetPlan, PendingTenant, plan, rehearse};
pub use run::FleetRun;

/// What is to be done to the fleet, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct FleetOptions {
    /// What is to be done.
    pub task: FleetTask,
    /// Tenants at once; none: as many as fit the machine and the server.
    pub jobs: Option<NonZeroUsize>,
    /// How locks are waited for.
    pub patience: Patience,
}

/// What is to be done to each tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetTask {
    /// It gets the migrations that it lacks, and its role where tenants have roles.
    Migrate {
        /// Whether tenants that others made are taken in, where they have the tables of version 1.
        adopts: bool,
    },
    /// It is put on a node of a Citus cluster.
    Distribute,
}

impl Default for FleetTask {
    fn default() -> Self {
        Self::Migrate { adopts: false }
    }
}

/// Something that happened in a run.
#[derive(Debug)]
pub enum FleetEvent {
    /// A tenant's turn is over.
    Done(TenantReport),
    /// A table is in use: a lock did not come in time, or was lost in a deadlock. It is tried again.
    Delayed {
        /// The tenant.
        tenant: SchemaName,
        /// The pause before the next attempt.
        pause: Duration,
    },
    /// Another session has been working on the tenant for long, and is waited for.
    Waiting {
        /// The tenant.
        tenant: SchemaName,
    },
}

/// What came of a tenant's turn.
#[derive(Debug)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: SchemaName,
    /// Its version before and now, also where it failed half-way; none where there was none to be read, or
    /// none asked for.
    pub migrated: Option<Migrated>,
    /// What came of its adoption, where it was adopted.
    pub adopted: Option<Adopted>,
    /// Whether its role was made, or granted what it lacked.
    pub role_made: bool,
    /// The node that it was put on, where it was.
    pub node: Option<String>,
    /// How long it took, waiting included.
    pub duration: Duration,
    /// Why it failed, if it did.
    pub error: Option<AdminError>,
}

impl TenantReport {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let is_same = self.migrated.is_none_or(Migrated::is_current);
        let is_left = self.adopted.is_none() && !self.role_made && self.node.is_none();
        self.error.is_none() && is_left && is_same
    }
}
