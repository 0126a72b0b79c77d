//! What stands in an archive: docs/archive.md tells it to people.

use data_encoding::HEXLOWER;
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::admin::migrations::AppliedMigration;

/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;

/// The checksums of the three files behind it, which are known before anything else.
pub(super) const CHECKSUMS: &str = "SHA256SUMS";
pub(super) const MANIFEST: &str = "manifest.json";
/// What makes the tables, before the data.
pub(super) const TABLES: &str = "tables.sql";
/// What makes keys, indexes and the like, behind the data.
pub(super) const KEYS: &str = "keys.sql";
/// The folder of the users' rows.
pub(super) const USERS: &str = "users";
/// What the data must come to: the last file.
pub(super) const SUMMARY: &str = "summary.json";

/// What an archive is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    pub(super) program: String,
    pub(super) exported_at: String,
    pub(super) postgresql: String,
    pub(super) tenant: String,
    /// The migration history; none where the tenant has none.
    pub(super) migrations: Option<Vec<Migration>>,
    pub(super) users: Vec<Column>,
    pub(super) tables: Vec<Table>,
    pub(super) grants: Vec<Grant>,
    pub(super) left_out: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Migration {
    pub(super) version: i64,
    /// In hexadecimal.
    pub(super) checksum: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) folder: String,
    pub(super) columns: Vec<Column>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) data_type: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) kind: String,
    /// None for the schema itself.
    pub(super) name: Option<String>,
    /// None for everybody.
    pub(super) grantee: Option<String>,
    pub(super) privileges: String,
}

/// What the data comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) users: Sums,
    /// In the order of the manifest.
    pub(super) tables: Vec<Sums>,
}

/// What the rows of one table come to, in all its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Adds up rows in the text format of COPY, in which only the end of a row is a newline (PostgreSQL
/// manual, COPY, "Text Format").
#[derive(Default)]
pub(super) struct RowDigest {
    rows: u64,
    bytes: u64,
    sha256: Sha256,
}

impl Manifest {
    /// The version of the last migration.
    pub(super) fn version(&self) -> Option<i64> {
        let versions = self.migrations.iter().flatten();
        versions.map(|migration| migration.version).max()
    }
}

impl From<&AppliedMigration> for Migration {
    fn from(applied: &AppliedMigration) -> Self {
        Self {
            version: applied.version,
            checksum: HEXLOWER.encode(&applied.checksum),
        }
    }
}

impl RowDigest {
    pub(super) fn add(&mut self, data: &[u8]) {
        self.rows += memchr_iter(b'\n', data).count() as u64;
        self.bytes += data.len() as u64;
        self.sha256.update(data);
    }

    pub(super) fn sums(self) -> Sums {
        Sums {
            rows: self.rows,
            bytes: self.bytes,
            sha256: HEXLOWER.encode(&self.sha256.finalize()),
        }
    }
}

/// The line of `sha256sum` for a file.
pub(super) fn checksum_line(path: &str, content: &[u8]) -> String {
    format!("{}  {path}\n", HEXLOWER.encode(&Sha256::digest(content)))
}

/// The folder of a table's rows. Any name may be a table's: what might mean something to a file system
/// is left out, and the number makes it one of a kind.
pub(super) fn table_folder(number: usize, name: &str) -> String {
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let plain: String = name.chars().filter(is_plain).collect();
    format!("tables/{number}-{plain}")
}

/// A file of rows. The order of their names is the order of the rows.
pub(super) fn rows_file(folder: &str, number: u32) -> String {
    format!("{folder}/{number:06}.copy")
}
