//! The state of tenants: their inventory, and drift from the schema that the migrations create.

pub(crate) mod check;
mod definition;
pub(in crate::admin) mod diff;
mod difference;
pub(in crate::admin) mod expected;
pub(in crate::admin) mod fixes;
mod histories;
pub(crate) mod inventory;
pub(in crate::admin) mod snapshot;
mod tenant_entry;

pub(crate) use check::{CheckedTenant, check};
pub(crate) use difference::{Difference, DifferenceKind};
pub(crate) use tenant_entry::TenantEntry;
