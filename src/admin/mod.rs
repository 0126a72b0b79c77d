//! Administration of tenants: migrations, drift, creation and removal, roles, archives, Citus.
//!
//! Nothing here prints; results are returned.

mod advisory_lock;
pub mod archive;
pub mod citus;
mod database;
pub mod drift;
mod error;
mod generated_sql;
pub mod migrations;
mod retry;
pub mod runner;
pub(crate) mod schema;
mod servable;
mod sql_tokens;
pub mod tenants;

pub use database::AdminDatabase;
pub use error::AdminError;
pub use retry::RetryPolicy;

/// Checks that the server accepts writes.
///
/// # Errors
///
/// [`AdminError::ReadOnly`] if it does not; [`AdminError::Database`] if there is no connection.
pub async fn require_writable(database: &AdminDatabase) -> Result<(), AdminError> {
    if database.is_read_only().await? {
        return Err(AdminError::ReadOnly);
    }
    Ok(())
}
