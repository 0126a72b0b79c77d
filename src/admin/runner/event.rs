//! Events and results of a run.

use std::time::Duration;

use crate::admin::error::AdminError;
use crate::tenancy::SchemaName;

/// An event of a run.
#[derive(Debug)]
pub(crate) enum RunEvent<O> {
    /// The work on a tenant has ended.
    Finished(TenantReport<O>),
    /// A lock was not granted in time, or was lost in a deadlock. The next attempt follows.
    Retrying { tenant: SchemaName, delay: Duration },
    /// Another session holds the tenant's advisory lock.
    Waiting { tenant: SchemaName },
}

/// The result for one tenant.
#[derive(Debug)]
pub(crate) struct TenantReport<O> {
    pub(crate) tenant: SchemaName,
    /// The changes, also those before a failure.
    pub(crate) outcome: O,
    /// Duration of the work, including waits.
    pub(crate) duration: Duration,
    pub(crate) error: Option<AdminError>,
}
