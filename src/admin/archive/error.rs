//! Errors of export and import.

use std::io;

use crate::admin::AdminError;
use crate::tenancy::DatabaseError;

/// A failed export or import. A partial export is not a valid archive; a failed import leaves nothing behind.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A statement failed, the schema does not exist, or the migrations are unknown.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The tenant has objects that an import could not restore.
    #[error("an archive cannot hold: {}", .0.join("; "))]
    Unsupported(Vec<String>),
    /// Tables were created or dropped while the export locked them.
    #[error("the tenant's tables changed while they were being locked; try again")]
    TablesChanged,
    /// The archive cannot be written.
    #[error("failed to write the archive")]
    Write(#[source] io::Error),
    /// The archive cannot be read.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// The file does not begin like an archive.
    #[error("the file is not an archive of a tenant")]
    NotAnArchive,
    /// The end of the archive is missing.
    #[error("the archive is truncated")]
    Truncated,
    /// The archive was modified.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// A newer version of this program wrote the archive.
    #[error("unsupported archive format: {0}; import it with a newer version of this program")]
    NewerFormat(u64),
    /// A schema with the tenant's name exists.
    #[error("schema {0:?} already exists; import under another name with --as")]
    SchemaExists(String),
    /// The tables cannot be created, for example because a type is missing.
    #[error("failed to create the archive's tables")]
    Tables(#[source] DatabaseError),
    /// The database rejected the rows, for example because its encoding lacks a character.
    #[error("failed to load the archive's rows")]
    Rows(#[source] DatabaseError),
    /// The keys cannot be created, for example because users are missing.
    #[error(
        "failed to create the archive's keys; the users of its orders and all other referenced tables must exist"
    )]
    Keys(#[source] DatabaseError),
    /// Other users have the same ids.
    #[error(
        "{count} of the archive's users already exist with different data: {}; pass --without-users to skip all users",
        ids.join(", ")
    )]
    UserConflicts {
        /// Number of users.
        count: i64,
        /// Ids of the first users.
        ids: Vec<String>,
    },
}

impl ArchiveError {
    /// Reports that the checksum of `part` does not match.
    pub(super) fn wrong_checksum(part: &str) -> Self {
        Self::Damaged(format!("the checksum of {part} does not match"))
    }

    /// Reports that the file at `path` cannot be parsed.
    pub(super) fn malformed(path: &str, error: &dyn std::error::Error) -> Self {
        Self::Damaged(format!("{path} is malformed: {error}"))
    }

    /// Reports that the file `found` is in the place of `expected`.
    pub(super) fn unexpected_file(found: Option<&str>, expected: &str) -> Self {
        Self::Damaged(match found {
            Some(found) => format!("expected {expected}, found {found}"),
            None => format!("{expected} is missing"),
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
