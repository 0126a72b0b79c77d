//! Administration of tenants: migrations, drift, creation and removal, roles, archives, Citus.
//!
//! Nothing here prints; results are returned.

mod advisory_lock;
pub mod archive;
pub(crate) mod citus;
mod database;
pub(crate) mod drift;
mod error;
mod generated_sql;
pub(crate) mod migrations;
mod retry;
pub(crate) mod runner;
pub(crate) mod schema;
mod servable;
mod sql_tokens;
pub mod tenants;

pub use database::AdminDatabase;
pub use error::AdminError;
pub(crate) use retry::RetryPolicy;
