//! Creation, list, query, storage and removal of tenants, and their roles.

mod create;
pub mod drop;
pub(super) mod error;
mod list;
mod query;
mod removal;
pub mod roles;
pub(super) mod storage;

pub use create::{create, create_if_missing};
pub use error::DropError;
pub use list::{ListedTenant, TenantState, list};
pub(crate) use query::{QueriedRows, QueryTenant, TextRow, list_queried};
