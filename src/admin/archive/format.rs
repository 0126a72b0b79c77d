//! Files of an archive. docs/archive.md documents the format.

use data_encoding::HEXLOWER;
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::ArchiveError;
use crate::admin::AdminError;
use crate::admin::migrations::source::Migrations;
use crate::admin::migrations::{AppliedMigration, modernize};
use crate::tenancy::SchemaName;

/// Version of the format that is written, and the newest that is read.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Checksums of the next three files. The first file of an archive.
pub(super) const CHECKSUMS_FILE: &str = "SHA256SUMS";
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// Statements that create the tables, run before the rows are loaded.
pub(super) const TABLES_FILE: &str = "tables.sql";
/// Statements that create keys, indexes and the like, run after the rows are loaded.
pub(super) const KEYS_FILE: &str = "keys.sql";
/// Folder of the users' rows.
pub(super) const USERS_FOLDER: &str = "users";
/// Row counts and checksums. The last file of an archive.
pub(super) const SUMMARY_FILE: &str = "summary.json";

/// Description of the archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) program: String,
    pub(super) exported_at: String,
    pub(super) postgresql: String,
    pub(super) tenant: String,
    /// Migration history; `None` if the tenant has none.
    pub(super) migrations: Option<Vec<ArchivedMigration>>,
    pub(super) users: Vec<ArchivedColumn>,
    pub(super) tables: Vec<ArchivedTable>,
    pub(super) grants: Vec<Grant>,
    pub(super) left_out: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ArchivedMigration {
    pub(super) version: i64,
    /// Hexadecimal.
    pub(super) checksum: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ArchivedTable {
    pub(super) name: String,
    pub(super) folder: String,
    pub(super) columns: Vec<ArchivedColumn>,
}

#[derive(Debug, Clone, FromRow, Serialize, Deserialize)]
pub(super) struct ArchivedColumn {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) data_type: String,
}

#[derive(Debug, Clone, FromRow, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) kind: String,
    /// `None` for the schema itself.
    pub(super) name: Option<String>,
    /// `None` for `PUBLIC`.
    pub(super) grantee: Option<String>,
    pub(super) privileges: String,
    /// `true` if the grantee can grant the privileges to others.
    #[serde(default)]
    pub(super) grantable: bool,
}

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
    pub(super) fn new(tenant: &SchemaName, manifest: Manifest, summary: &Summary, bytes: u64) -> Self {
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

/// Row counts and checksums of all rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) users: RowsSummary,
    /// In the order of the manifest.
    pub(super) tables: Vec<RowsSummary>,
}

/// Size and checksum of the rows of one table, over all its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowsSummary {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Counts and hashes rows in the text format of COPY. A newline occurs only at the end of a row (PostgreSQL manual,
/// COPY, "Text Format").
#[derive(Default)]
pub(super) struct RowDigest {
    rows: u64,
    bytes: u64,
    sha256: Sha256,
}

impl Manifest {
    /// Checks that an import accepts the migration history: all its migrations are `known`. Failed migrations are
    /// accepted, and restored as failed.
    pub(super) fn check_migrations(&self, known: &Migrations) -> Result<(), ArchiveError> {
        let mut history = Vec::new();
        for ArchivedMigration { version, checksum } in self.migrations.iter().flatten() {
            let checksum = HEXLOWER.decode(checksum.as_bytes());
            history.push(AppliedMigration {
                version: *version,
                checksum: checksum.map_err(|error| ArchiveError::malformed(MANIFEST_FILE, &error))?,
                success: true,
            });
        }
        known.pending(&modernize(history)).map_err(AdminError::from)?;
        Ok(())
    }

    /// Returns the version of the last migration.
    pub(super) fn version(&self) -> Option<i64> {
        let versions = self.migrations.iter().flatten();
        versions.map(|migration| migration.version).max()
    }
}

impl RowDigest {
    pub(super) fn update(&mut self, data: &[u8]) {
        self.rows += memchr_iter(b'\n', data).count() as u64;
        self.bytes += data.len() as u64;
        self.sha256.update(data);
    }

    pub(super) fn finish(self) -> RowsSummary {
        RowsSummary {
            rows: self.rows,
            bytes: self.bytes,
            sha256: HEXLOWER.encode(&self.sha256.finalize()),
        }
    }
}

/// Returns the line that `sha256sum` prints for a file.
pub(super) fn checksum_line(path: &str, content: &[u8]) -> String {
    format!("{}  {path}\n", HEXLOWER.encode(&Sha256::digest(content)))
}

/// Returns the folder of a table's rows. Characters of the name that could be special to a file system are removed,
/// and the number makes the folder unique.
pub(super) fn table_folder(number: usize, name: &str) -> String {
    let is_safe = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let safe: String = name.chars().filter(is_safe).collect();
    format!("tables/{number}-{safe}")
}

/// Returns the path of a file of rows. The order of the paths is the order of the rows.
pub(super) fn rows_file(folder: &str, number: u32) -> String {
    format!("{folder}/{number:06}.copy")
}
