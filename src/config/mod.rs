//! All settings: flags, environment variables, defaults and validation.

#![expect(
    clippy::disallowed_methods,
    reason = "the only module that reads the environment"
)]

mod authentication;
mod cors;
mod database;
mod duration;
mod log;
mod metrics;
mod pool;
mod roles;
mod serve;
#[cfg(feature = "otel")]
mod traces;

use std::ffi::OsStr;
use std::path::PathBuf;

pub use authentication::AuthenticationSettings;
pub use cors::{AllowedOrigins, CorsSettings};
pub use database::{DatabaseSettings, DatabaseUrl};
pub(crate) use duration::parse_duration;
pub(crate) use log::TRACE_TARGET;
pub use log::{LogFormat, LogSettings};
pub use metrics::MetricsSettings;
pub use pool::{PoolSettings, Pooler};
pub use roles::{RoleSettings, TenantRoles};
pub use serve::{RequestSettings, ServeSettings};
#[cfg(feature = "otel")]
pub use traces::TraceSettings;

/// Returns whether the variable is set to an empty value.
pub(crate) fn is_empty(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}

/// Returns the folders in `PATH`.
#[must_use]
pub fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
