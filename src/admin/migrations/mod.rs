//! Migrations of the shared schema and of tenants' schemas.
//!
//! Each schema has its own migration history, and is migrated on its own: one failure does not affect
//! other schemas. A migration and its row in the history are one transaction, except for migrations outside a
//! transaction, which the history marks as begun before their first statement.

mod adopt;
mod apply;
pub(in crate::admin) mod baseline;
mod dry_run;
mod effects;
mod error;
mod folder;
mod hazards;
pub(in crate::admin) mod history;
mod job;
mod legacy;
mod outside_transaction;
mod plan;
mod predictions;
mod shared;
pub(in crate::admin) mod source;
pub(in crate::admin) mod statements;

pub(crate) use apply::SchemaUpgrade;
pub(crate) use dry_run::dry_run;
pub(crate) use error::MigrationError;
pub(crate) use folder::InvalidMigrations;
pub(crate) use hazards::{Hazard, find_hazards};
pub(crate) use job::{Adopt, MigrateTenant, MigrationOutcome, verify_current};
pub(crate) use plan::{MigrationPlan, PendingTenant, plan};
pub(crate) use predictions::{predict_failures, predict_shared};
pub(crate) use shared::{migrate_shared, pending_shared};
pub(crate) use source::{AppliedMigration, MigrationSource};

pub(super) use apply::apply_to_new_schema;
pub(super) use legacy::modernize;
