//! Errors of migrations.

use sqlx::migrate::{MigrateError, Migration};

/// The reason why migrations cannot be applied to a schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A migration failed. Nothing of it remains, unless it runs outside a transaction and was begun before.
    #[error("failed to apply migration {version} ({description})")]
    Failed {
        /// Version of the migration.
        version: i64,
        /// Its description.
        description: String,
        /// The failure.
        source: sqlx::Error,
    },
    /// A compiled-in migration would have blocked writes to a table for longer than the lock timeout. Nothing of it
    /// remains.
    #[error(
        "migration {version} ({description}) would have blocked writes for longer than --lock-timeout, and was \
         cancelled; repeat it with a longer one at a quiet time"
    )]
    TooLong {
        /// Version of the migration.
        version: i64,
        /// Its description.
        description: String,
    },
    /// The schema has objects that no migration of ours created.
    #[error("the schema has tables but no migration history; it was created by another program")]
    Unadopted,
    /// The schema lacks what migrations or the service need of version 1.
    #[error("the schema cannot be adopted: {}", obstacles.join("; "))]
    NotAdoptable {
        /// The differences to remove first.
        obstacles: Vec<String>,
    },
    /// No migration has the version of the baseline.
    #[error("the schema cannot be adopted at version {version}: no migration has this version")]
    UnknownBaseline {
        /// The version.
        version: i64,
    },
    /// A dry run predicts that a migration would fail.
    #[error("a migration would fail: {}", reasons.join("; "))]
    WouldFail {
        /// The migrations, each with its reason.
        reasons: Vec<String>,
    },
    /// The service cannot read the migrated tenant.
    #[error("all migrations are applied, but the service cannot read the tenant: {}", reasons.join("; "))]
    NotServable {
        /// The missing objects, or PostgreSQL's message.
        reasons: Vec<String>,
    },
    /// The tenant differs from what the migrations create.
    #[error("the tenant differs from its version, and was not migrated: {differences}; see tenants check")]
    Drifted {
        /// Number of differences.
        differences: usize,
    },
    /// The migration history exists and cannot be read.
    #[error("failed to read the migration history: {0}")]
    UnreadableHistory(String),
    /// The text of a migration was changed after it had been applied.
    #[error(
        "migration {version} ({description}) was changed after it was applied: its checksum differs; \
         restore the text that was applied"
    )]
    Changed {
        /// Version of the migration.
        version: i64,
        /// Its description.
        description: String,
    },
    /// The history contains a migration that this program does not have.
    #[error(
        "migration {version} is unknown: a newer version of this program, or another folder, applied it; \
         use that one"
    )]
    Unknown {
        /// Version of the migration.
        version: i64,
    },
    /// The history contains an unfinished migration that runs in a transaction. This program never leaves one.
    #[error(
        "migration {version} is recorded as unfinished; repair the schema and its row in _tenant_orders_migrations"
    )]
    Unfinished {
        /// Version of the migration.
        version: i64,
    },
}

impl MigrationError {
    /// Names the migration and the cause, without the sentence that sqlx puts between them.
    pub(super) fn failed(migration: &Migration, error: impl Into<MigrateError>) -> Self {
        Self::Failed {
            version: migration.version,
            description: migration.description.clone().into_owned(),
            source: match error.into() {
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
                error => error.into(),
            },
        }
    }
}
