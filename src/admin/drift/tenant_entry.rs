//! An entry of the tenant inventory.

use std::sync::Arc;

use sqlx::migrate::Migration;

use crate::admin::error::AdminError;
use crate::admin::migrations::MigrationError;
use crate::admin::migrations::source::{self, AppliedMigration, Migrations};
use crate::tenancy::{InvalidSchemaName, SchemaName};

/// A schema that is a tenant or looks like one, or that users belong to although it does not exist.
#[derive(Debug)]
pub(crate) struct TenantEntry {
    pub(crate) schema: SchemaName,
    pub(crate) users: i64,
    /// `true` if there are tables or views `items` and `orders`.
    pub(crate) has_tables: bool,
    pub(crate) history: HistoryState,
    /// `true` if the migration history has the name of early versions, which `migrate` changes.
    pub(crate) has_legacy_history: bool,
}

/// State of a migration history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HistoryState {
    /// The schema does not exist.
    NoSchema,
    /// The schema is empty.
    Empty,
    /// The schema is not empty and has no migration history.
    None,
    /// The history cannot be read, for this reason.
    Unreadable(String),
    /// The applied migrations, in the order of their versions. Equal histories share one allocation.
    Applied(Arc<[AppliedMigration]>),
}

/// A value of `organization_id` that cannot be the name of a tenant's schema.
#[derive(Debug)]
pub(crate) struct MisnamedTenant {
    pub(crate) name: String,
    pub(crate) users: i64,
    pub(crate) reason: InvalidSchemaName,
}

impl TenantEntry {
    /// Returns whether the schema is certainly a tenant: users belong to it, or it has a migration history
    /// of ours. A schema that only has tables `items` and `orders` may belong to another program.
    pub(in crate::admin) fn is_certain(&self, migrations: &Migrations) -> bool {
        let is_ours = match self.history {
            HistoryState::Applied(_) => self.has_tables || self.has_known_migration(migrations),
            HistoryState::Unreadable(_) => self.has_tables,
            HistoryState::NoSchema | HistoryState::Empty | HistoryState::None => false,
        };
        self.users > 0 || is_ours
    }

    /// Returns whether the schema exists.
    pub(in crate::admin) fn exists(&self) -> bool {
        self.history != HistoryState::NoSchema
    }

    /// Returns whether the history contains one of `migrations`.
    pub(in crate::admin) fn has_known_migration(&self, migrations: &Migrations) -> bool {
        let mut applied = self.applied().iter();
        applied.any(|applied| migrations.contains(applied.version, &applied.checksum))
    }

    /// Returns the rows of the history; none if it cannot be read.
    pub(in crate::admin) fn applied(&self) -> &[AppliedMigration] {
        match &self.history {
            HistoryState::Applied(history) => history,
            _ => &[],
        }
    }

    /// Returns the version by the history, 0 if no migration was applied, or `None` if there is no readable
    /// history.
    pub(crate) fn version(&self) -> Option<i64> {
        match &self.history {
            HistoryState::Empty => Some(0),
            HistoryState::Applied(history) => Some(source::version(history)),
            HistoryState::NoSchema | HistoryState::None | HistoryState::Unreadable(_) => None,
        }
    }

    /// Returns the pending migrations. Fails if no migration can be applied.
    pub(in crate::admin) fn pending<'m>(
        &self,
        migrations: &'m Migrations,
    ) -> Result<Vec<&'m Migration>, AdminError> {
        match &self.history {
            HistoryState::Applied(history) => Ok(migrations.pending(history)?),
            HistoryState::Empty => Ok(migrations.iter().collect()),
            HistoryState::NoSchema => Err(AdminError::NoSuchSchema),
            HistoryState::None => Err(MigrationError::Unadopted.into()),
            HistoryState::Unreadable(reason) => Err(MigrationError::UnreadableHistory(reason.clone()).into()),
        }
    }
}
