//! Care of the fleet: migrations, and tenants as a whole. Nothing here prints; what happened is
//! returned.

pub mod adopt;
mod advisory_lock;
pub mod archive;
pub mod check;
pub mod citus;
mod database;
pub mod fleet;
mod generated_sql;
mod history;
pub mod migrate;
mod migrations;
pub(crate) mod schema;
pub mod shape;
pub mod survey;
pub mod tenants;

use crate::tenancy::DatabaseError;
use citus::CitusError;
pub use database::AdminDatabase;
pub use history::AppliedMigration;

/// Why administration failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Nothing can be written there.
    #[error(
        "the server takes no changes: it is a standby, or default_transaction_read_only is on there. \
         Name the primary in DATABASE_URL"
    )]
    ReadOnly,
    /// A migration failed, or does not fit what was applied before.
    #[error("the migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// What Citus does not do.
    #[error(transparent)]
    Citus(#[from] CitusError),
    /// There is no such schema.
    #[error("there is no schema of this name")]
    NoSuchSchema,
    /// There is such a schema already.
    #[error("there is a schema of this name already")]
    SchemaExists,
    /// The schema has tables that no migration of ours made.
    #[error(
        "the schema has tables but no migration history: it was not made by this program, and is left as it is"
    )]
    Unadopted,
    /// The schema is not what migration 1 makes.
    #[error("the schema cannot be adopted: {}", lacks.join("; "))]
    NotAdoptable {
        /// What would have to be otherwise.
        lacks: Vec<String>,
    },
    /// The tenant cannot have a role, or the one of its name is more than a tenant's role.
    #[error("the tenant cannot have a role of its own: {}", flaws.join("; "))]
    UnfitRole {
        /// What would have to be otherwise.
        flaws: Vec<String>,
    },
    /// It was to end before it was done; nothing of what was under way stays.
    #[error("stopped before it was done")]
    Stopped,
    /// The history is there and cannot be read.
    #[error("the migration history cannot be read: {0}")]
    UnreadableHistory(String),
    /// The text of a migration is no more what it was when it was applied.
    #[error(
        "migration {version} ({description}) was changed after it had been applied: its checksum differs"
    )]
    ChangedMigration {
        /// The migration's version.
        version: i64,
        /// What it is called.
        description: String,
    },
    /// A program that knows more migrations was here.
    #[error("migration {version} was applied by a newer version of this program: this one does not know it")]
    UnknownMigration {
        /// The migration's version.
        version: i64,
    },
    /// A migration is recorded as failed, which this program never does.
    #[error(
        "migration {version} is recorded as begun and not finished: mend the schema and its record by hand"
    )]
    UnfinishedMigration {
        /// The migration's version.
        version: i64,
    },
}

impl From<sqlx::Error> for AdminError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Makes sure that the server takes changes, before any is begun.
///
/// # Errors
///
/// [`AdminError::ReadOnly`] where it does not, and others where there is no connection.
pub async fn require_writable(database: &AdminDatabase) -> Result<(), AdminError> {
    if database.is_read_only().await? {
        return Err(AdminError::ReadOnly);
    }
    Ok(())
}
