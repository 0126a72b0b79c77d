//! Errors of administration.

use super::citus::error::CitusError;
use super::migrations::MigrationError;
use super::tenants::error::DropError;
use crate::tenancy::{DatabaseError, InvalidSchemaName};

/// A failure of administration.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The name of a tenant is invalid.
    #[error(transparent)]
    Name(#[from] InvalidSchemaName),
    /// The server accepts no writes.
    #[error(
        "the server is read-only: it is a standby, or default_transaction_read_only is on; \
         set DATABASE_URL to the primary"
    )]
    ReadOnly,
    /// Migrations cannot be applied to the schema.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// Citus does not support the operation.
    #[error(transparent)]
    Citus(#[from] CitusError),
    /// The tenant is not dropped.
    #[error(transparent)]
    Drop(#[from] DropError),
    /// The schema does not exist.
    #[error("the schema does not exist")]
    NoSuchSchema,
    /// The schema exists already.
    #[error("the schema already exists")]
    SchemaExists,
    /// The tenant cannot have a role, or the role of its name is more than a tenant's role.
    #[error("the tenant cannot have a role: {}", flaws.join("; "))]
    UnfitRole {
        /// The reasons.
        flaws: Vec<String>,
    },
}

impl From<sqlx::Error> for AdminError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
