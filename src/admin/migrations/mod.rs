//! Migrations of the shared schema and of tenants' schemas.
//!
//! Each schema has its own migration history, and is migrated on its own: one failure does not affect
//! other schemas. A migration and its row in the history are one transaction.

mod adopt;
mod apply;
mod dry_run;
mod error;
pub(in crate::admin) mod history;
mod job;
mod plan;
mod shared;
pub(in crate::admin) mod source;

pub use adopt::Adoption;
pub use apply::{MigrationStep, SchemaUpgrade};
pub use dry_run::dry_run;
pub use error::MigrationError;
pub use history::AppliedMigration;
pub use job::{MigrateTenant, MigrationOutcome};
pub use plan::{MigrationPlan, PendingTenant, plan};
pub use shared::{migrate_shared, pending_shared};
pub use source::MigrationSource;

pub(super) use job::apply_to_new_schema;
