//! The state of tenants: their inventory, and drift from the schema that the migrations create.

pub mod check;
mod definition;
pub(in crate::admin) mod diff;
mod difference;
pub(in crate::admin) mod expected;
pub(in crate::admin) mod fixes;
mod histories;
pub mod inventory;
mod objects;
pub(in crate::admin) mod snapshot;
mod tenant_entry;

pub use check::{CheckedTenant, check};
pub use difference::{Difference, DifferenceKind};
pub use tenant_entry::{HistoryState, MisnamedTenant, TenantEntry};
