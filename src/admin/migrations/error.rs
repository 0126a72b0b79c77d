//! Errors of migrations.

use sqlx::migrate::{MigrateError, Migration};

/// The reason why migrations cannot be applied to a schema.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Nothing of the migration remains, unless it runs outside a transaction and was begun before.
    #[error("failed to apply migration {version} ({description})")]
    Failed {
        version: i64,
        description: String,
        source: sqlx::Error,
    },
    /// Only of a compiled-in migration. Nothing of it remains.
    #[error(
        "migration {version} ({description}) would have blocked writes for longer than --lock-timeout, and was \
         cancelled; repeat it with a longer one at a quiet time"
    )]
    TooLong { version: i64, description: String },
    #[error("the schema has tables but no migration history; it was created by another program")]
    Unadopted,
    #[error("the schema cannot be adopted: {}", obstacles.join("; "))]
    NotAdoptable { obstacles: Vec<String> },
    #[error("the schema cannot be adopted at version {version}: no migration has this version")]
    UnknownBaseline { version: i64 },
    /// A prediction of a dry run.
    #[error("a migration would fail: {}", reasons.join("; "))]
    WouldFail { reasons: Vec<String> },
    #[error("all migrations are applied, but the service cannot read the tenant: {}", reasons.join("; "))]
    NotServable { reasons: Vec<String> },
    #[error("the tenant differs from its version, and was not migrated: {differences}; see tenants check")]
    Drifted { differences: usize },
    #[error("failed to read the migration history: {0}")]
    UnreadableHistory(String),
    #[error(
        "migration {version} ({description}) was changed after it was applied: its checksum differs; \
         restore the text that was applied"
    )]
    Changed { version: i64, description: String },
    #[error(
        "migration {version} is unknown: a newer version of this program, or another folder, applied it; \
         use that one"
    )]
    Unknown { version: i64 },
    /// Only of a migration that runs in a transaction. This program never leaves one unfinished.
    #[error(
        "migration {version} is recorded as unfinished; repair the schema and its row in _tenant_orders_migrations"
    )]
    Unfinished { version: i64 },
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
