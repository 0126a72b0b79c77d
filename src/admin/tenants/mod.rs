//! Creation, list and storage of tenants.

mod create;
mod list;
pub(super) mod storage;

pub use create::{create, create_if_missing};
pub use list::{ListedTenant, TenantState, list};
