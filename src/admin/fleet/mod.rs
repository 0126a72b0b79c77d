//! Migrating all tenants, several side by side.

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

/// How the fleet is to be migrated.
#[derive(Debug, Clone, Copy, Default)]
pub struct FleetOptions {
    /// Tenants at once; none: as many as fit the machine and the server.
    pub jobs: Option<NonZeroUsize>,
    /// How locks are waited for.
    pub patience: Patience,
    /// Whether tenants that others made are taken in, where they have the tables of version 1.
    pub adopts: bool,
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
    /// Its version before and now, also where it failed half-way; none where there was none to be read.
    pub migrated: Option<Migrated>,
    /// What came of its adoption, where it was adopted.
    pub adopted: Option<Adopted>,
    /// Whether its role was made, or granted what it lacked.
    pub role_made: bool,
    /// How long it took, waiting included.
    pub duration: Duration,
    /// Why it failed, if it did.
    pub error: Option<AdminError>,
}

impl TenantReport {
    /// Whether the tenant has all migrations, and its role, and had them before.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let is_same = self.migrated.is_some_and(Migrated::is_current);
        self.error.is_none() && self.adopted.is_none() && !self.role_made && is_same
    }
}
