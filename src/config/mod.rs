//! Every setting: its flag, its environment variable, its default and its check.

#![expect(clippy::disallowed_methods, reason = "the one reader of the environment")]

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
pub(crate) use duration::duration;
pub(crate) use log::TRACE_TARGET;
pub use log::{LogFormat, LogSettings};
pub use metrics::MetricsSettings;
pub use pool::{PoolSettings, Pooler};
pub use roles::{RoleSettings, TenantRoles};
pub use serve::{RequestSettings, ServeSettings};
#[cfg(feature = "otel")]
pub use traces::TraceSettings;

/// Whether the variable is set, but to nothing.
pub(crate) fn is_empty(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}

/// The folders of the `PATH`.
#[must_use]
pub fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
