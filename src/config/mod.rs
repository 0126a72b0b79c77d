//! All settings: flags, environment variables, defaults and validation. A setting's flag and variable are named for its
//! field.

#![expect(
    clippy::disallowed_methods,
    reason = "the only module that reads the environment"
)]

mod authentication;
mod cors;
mod database;
mod defaults;
mod duration;
mod log;
mod pool;
mod roles;
mod serve;
#[cfg(feature = "otel")]
mod traces;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub use authentication::AuthenticationSettings;
pub use cors::CorsSettings;
pub use database::DatabaseUrl;
pub(crate) use database::{DatabaseSettings, MigrationSettings, WaitSettings};
pub(crate) use duration::parse_duration;
pub use log::LogSettings;
pub(crate) use log::{LogFormat, TRACE_TARGET};
pub use pool::{PoolSettings, Pooler};
pub use roles::RoleSettings;
pub(crate) use serve::ListenSettings;
pub use serve::{MetricsSettings, RequestSettings, ServeSettings};
#[cfg(feature = "otel")]
pub(crate) use traces::TraceSettings;

/// Maximum number of worker threads; more cores than that are rare, and each thread takes memory.
const MAX_WORKER_THREADS: usize = 1024;

/// Returns whether the variable is set to an empty value.
pub(crate) fn is_empty(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}

/// Returns the number of worker threads: `TOKIO_WORKER_THREADS`, or the number of cores if that is unset or empty.
/// Tokio reads the variable too, but panics if it is invalid.
///
/// # Errors
///
/// Returns a message if the value is not a whole number from 1 to `MAX_WORKER_THREADS`.
pub fn worker_threads() -> Result<usize, String> {
    let Some(value) = std::env::var_os("TOKIO_WORKER_THREADS").filter(|value| !value.is_empty()) else {
        return Ok(std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
    };
    let number = value.to_str().and_then(|value| value.parse().ok());
    match number.filter(|number| (1..=MAX_WORKER_THREADS).contains(number)) {
        Some(number) => Ok(number),
        None => Err(format!(
            "invalid value '{}' for the variable TOKIO_WORKER_THREADS: expected a whole number from 1 to \
             {MAX_WORKER_THREADS}",
            value.display()
        )),
    }
}

/// Returns the folders in `PATH`.
#[must_use]
pub fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
