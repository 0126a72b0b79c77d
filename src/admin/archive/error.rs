//! Why a tenant was not exported or imported.

use std::io;

use crate::admin::AdminError;
use crate::tenancy::{DatabaseError, InvalidSchemaName};

/// Why a tenant was not exported or imported. What was exported so far is no archive; of an import
/// nothing is left.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A statement failed, there is no such schema, or migrations do not fit.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The tenant has what would not come back.
    #[error("an archive cannot hold: {}", .0.join("; "))]
    Obstacles(Vec<String>),
    /// Tables came or went while they were being locked.
    #[error("the tenant's tables were just being changed: try again")]
    BeingChanged,
    /// The archive cannot be written.
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
    /// The archive cannot be read.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as archives do.
    #[error("this is no archive of a tenant")]
    NoArchive,
    /// Its end is missing.
    #[error("the archive is cut short: its end is missing")]
    CutShort,
    /// It is not as it was written.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// A newer program wrote it.
    #[error("the archive has format {0}, which only a newer version of this program reads")]
    NewerFormat(u64),
    /// The name to import as is none.
    #[error(transparent)]
    Name(#[from] InvalidSchemaName),
    /// There is something already where the tenant is to be.
    #[error("the schema {0:?} exists already: nothing is overwritten")]
    Exists(String),
    /// The tables cannot be made, as where a type is missing.
    #[error("the archive's tables cannot be made in this database")]
    Tables(#[source] DatabaseError),
    /// The database does not take the rows, as where its encoding lacks a character.
    #[error("the archive's rows cannot be stored in this database")]
    Rows(#[source] DatabaseError),
    /// The keys cannot be made, as where users are missing.
    #[error("the archive's keys cannot be made in this database, as where users are missing")]
    Keys(#[source] DatabaseError),
    /// There are other users of the same ids.
    #[error(
        "{count} of the archive's users exist already and are not the same: {}. --without-users leaves all out",
        some.join(", ")
    )]
    UsersExist {
        /// How many.
        count: i64,
        /// The ids of the first ones.
        some: Vec<String>,
    },
}

impl ArchiveError {
    /// The checksum of `part` is not what it was.
    pub(super) fn wrong_checksum(part: &str) -> Self {
        Self::Damaged(format!("the checksum of {part} does not match"))
    }

    /// `path` is not of the kind that it should be.
    pub(super) fn unintelligible(path: &str, error: &dyn std::error::Error) -> Self {
        Self::Damaged(format!("{path} makes no sense: {error}"))
    }

    /// The file `found` is where `expected` should be.
    pub(super) fn unexpected(found: Option<&str>, expected: &str) -> Self {
        Self::Damaged(match found {
            Some(found) => format!("{found} is where {expected} should be"),
            None => format!("it has no {expected}"),
        })
    }
}

impl From<DatabaseError> for ArchiveError {
    fn from(error: DatabaseError) -> Self {
        Self::Admin(error.into())
    }
}

impl From<sqlx::Error> for ArchiveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Admin(error.into())
    }
}
