//! Care of the fleet: migrations, and tenants as a whole. Nothing here prints; what happened is
//! returned.

pub mod archive;
pub mod migrate;
pub mod tenants;

use crate::tenancy::DatabaseError;

/// Why administration failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A migration failed, or does not fit what was applied before.
    #[error("the migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// There is no such schema.
    #[error("there is no schema of this name")]
    NoSuchSchema,
    /// The schema has tables that no migration of ours made.
    #[error(
        "the schema has tables but no record of migrations: it was not made by this program, and is left as it is"
    )]
    Unadopted,
}

impl From<sqlx::Error> for AdminError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
