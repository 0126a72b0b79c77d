//! Export of a tenant to a file, and import from it: the tables with their rows, the migration history and the
//! users. docs/archive.md describes the format.
//!
//! An archive holds one snapshot. Both directions stream, and hold a few megabytes in memory, or one row if that
//! is larger. Row counts and checksums therefore follow the rows, and an import rolls back if they do not match.
//!
//! An import restores the tables as they were exported, with local changes, and not as the migrations create
//! them.

mod definition;
mod error;
mod export;
mod format;
mod grants;
mod import;
mod preamble;
mod tar_stream;
mod users;

pub use error::ArchiveError;
pub use export::export;
pub use import::{ImportOptions, import};

use sqlx::{PgConnection, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};
use format::{Manifest, Summary};

/// Contents of an archive that was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveContents {
    /// The name of the tenant's schema.
    pub tenant: String,
    /// Version of the last migration; `None` if the tenant has no migration history.
    pub version: Option<i64>,
    /// Names of the tables, with their row counts.
    pub tables: Vec<(String, u64)>,
    /// Number of users.
    pub users: u64,
    /// Length of the archive in bytes.
    pub bytes: u64,
    /// PostgreSQL's descriptions of objects that an archive does not hold, such as views, and of grants that were not
    /// restored.
    pub left_out: Vec<String>,
}

impl ArchiveContents {
    fn new(tenant: &SchemaName, manifest: Manifest, summary: &Summary, bytes: u64) -> Self {
        let rows = summary.tables.iter().map(|table| table.rows);
        Self {
            tenant: tenant.as_str().to_owned(),
            version: manifest.version(),
            users: summary.users.rows,
            bytes,
            tables: manifest
                .tables
                .into_iter()
                .map(|table| table.name)
                .zip(rows)
                .collect(),
            left_out: manifest.left_out,
        }
    }
}

/// Configures the session for copying data unchanged, as `pg_dump` does: an interval style that every session
/// reads alike, rows in the order in which they are stored, and no time limits.
async fn configure_session(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    raw_sql(
        "SET IntervalStyle TO postgres; SET synchronize_seqscans TO off;
         SET statement_timeout TO 0; SET lock_timeout TO 0; SET idle_in_transaction_session_timeout TO 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}
