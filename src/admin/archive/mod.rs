//! One tenant as a file, and back again: its tables with their rows, its migration history and its
//! users. docs/archive.md describes the file.
//!
//! An archive is of one snapshot, and streams both ways: neither side ever holds more than a few
//! megabytes of it, or one row where that is larger. How many rows there are, and their checksum, is
//! therefore known behind them alone, and what an import has done until then is undone where they do
//! not fit.
//!
//! The tables come back as they were, and not as the migrations make them: whatever somebody has added
//! or changed is part of what was exported.

mod definition;
mod error;
mod export;
mod format;
mod grants;
mod import;
mod tar_stream;
mod users;

pub use error::ArchiveError;
pub use export::export;
pub use import::{ImportOptions, import};

use sqlx::{PgConnection, raw_sql};

use crate::tenancy::{DatabaseError, SchemaName};
use format::{Manifest, Summary};

/// What was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The name of the tenant's schema.
    pub tenant: String,
    /// The version of its last migration; none where it has no record of them.
    pub version: Option<i64>,
    /// The names of its tables, and how many rows each has.
    pub tables: Vec<(String, u64)>,
    /// How many users it has.
    pub users: u64,
    /// How long the archive is.
    pub bytes: u64,
    /// What does not come along, such as views, as PostgreSQL describes it.
    pub left_out: Vec<String>,
}

impl Contents {
    fn new(tenant: &SchemaName, manifest: Manifest, summary: &Summary, bytes: u64) -> Self {
        let rows = summary.tables.iter().map(|sums| sums.rows);
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

/// Sets the session up for moving data as it is, as `pg_dump` does: no rows hidden by row security but
/// an error instead, no style that another session would read otherwise, rows in the order in which they
/// are stored, no time limits.
async fn prepare(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    raw_sql(
        "SET row_security TO off; SET IntervalStyle TO postgres; SET synchronize_seqscans TO off;
         SET statement_timeout TO 0; SET lock_timeout TO 0; SET idle_in_transaction_session_timeout TO 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}
