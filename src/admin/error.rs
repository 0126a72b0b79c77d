//! Errors of administration.

use super::citus::CitusError;
use super::migrations::MigrationError;
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
    /// The schema does not exist.
    #[error("the schema does not exist")]
    NoSuchSchema,
    /// The schema exists already.
    #[error("the schema already exists")]
    SchemaExists,
    /// The schema has neither tables of a tenant nor a migration history.
    #[error(
        "the schema is not a tenant: it has neither our migration history nor the tables items and orders"
    )]
    NotATenant,
    /// Users belong to the tenant.
    #[error("{} to this tenant; move or delete them first, or pass --force", still_belong(*users))]
    StillUsed {
        /// Number of these users.
        users: i64,
    },
    /// Other schemas contain objects that would be dropped too.
    #[error("objects in other schemas depend on it: {}; drop them first", objects.join(", "))]
    NeededElsewhere {
        /// The first of these objects, as PostgreSQL describes them.
        objects: Vec<String>,
    },
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

fn still_belong(users: i64) -> String {
    match users {
        1 => "1 user still belongs".to_owned(),
        _ => format!("{users} users still belong"),
    }
}
