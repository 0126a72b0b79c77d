//! Events and results of a run.

use std::time::Duration;

use crate::admin::error::AdminError;
use crate::tenancy::SchemaName;

/// An event of a run.
#[derive(Debug)]
pub enum RunEvent<O> {
    /// The work on a tenant has ended.
    Finished(TenantReport<O>),
    /// A lock was not granted in time, or was lost in a deadlock. The next attempt follows.
    Retrying {
        /// The tenant.
        tenant: SchemaName,
        /// Delay before the next attempt.
        delay: Duration,
    },
    /// Another session holds the tenant's advisory lock.
    Waiting {
        /// The tenant.
        tenant: SchemaName,
    },
}

/// The result for one tenant.
#[derive(Debug)]
pub struct TenantReport<O> {
    /// The tenant.
    pub tenant: SchemaName,
    /// The changes, also those before a failure.
    pub outcome: O,
    /// Duration of the work, including waits.
    pub duration: Duration,
    /// The failure.
    pub error: Option<AdminError>,
}
