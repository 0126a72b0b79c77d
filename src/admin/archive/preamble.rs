//! Reading the files of an archive that precede the rows.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use tokio::io::AsyncRead;

use super::ArchiveError;
use super::format::{
    ArchivedMigration, CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest, TABLES_FILE,
    checksum_line,
};
use super::tar_stream::TarReader;
use crate::admin::AdminError;
use crate::admin::generated_sql::GeneratedSql;
use crate::admin::migrations::AppliedMigration;
use crate::admin::migrations::source::Migrations;

/// Files before the rows, with verified checksums.
pub(super) struct Preamble {
    pub(super) manifest: Manifest,
    pub(super) tables: GeneratedSql,
    pub(super) keys: GeneratedSql,
}

#[derive(Deserialize)]
struct FormatVersion {
    format: u64,
}

impl Preamble {
    /// Reads the files, and fails if a checksum does not match, or if the format is unknown or a migration is
    /// not among the `known` ones.
    pub(super) async fn read(
        tar: &mut TarReader<impl AsyncRead + Unpin>,
        known: &Migrations,
    ) -> Result<Self, ArchiveError> {
        if tar.path() != Some(CHECKSUMS_FILE) {
            return Err(ArchiveError::NotAnArchive);
        }
        let checksums = tar.read_text(CHECKSUMS_FILE).await?;
        let manifest = read_verified(tar, MANIFEST_FILE, &checksums).await?;
        let FormatVersion { format } = parse_json(MANIFEST_FILE, &manifest)?;
        if format > FORMAT_VERSION.into() {
            return Err(ArchiveError::NewerFormat(format));
        }
        let preamble = Self {
            manifest: parse_json(MANIFEST_FILE, &manifest)?,
            tables: GeneratedSql::from_archive(read_verified(tar, TABLES_FILE, &checksums).await?),
            keys: GeneratedSql::from_archive(read_verified(tar, KEYS_FILE, &checksums).await?),
        };
        // Failed migrations are accepted, and restored as failed.
        let migrations = preamble.manifest.migrations.iter().flatten();
        let history: Result<Vec<_>, _> = migrations.map(AppliedMigration::try_from).collect();
        known.pending(&history?).map_err(AdminError::from)?;
        Ok(preamble)
    }
}

async fn read_verified(
    tar: &mut TarReader<impl AsyncRead + Unpin>,
    path: &str,
    checksums: &str,
) -> Result<String, ArchiveError> {
    let content = tar.read_text(path).await?;
    if !checksums.contains(&checksum_line(path, content.as_bytes())) {
        return Err(ArchiveError::wrong_checksum(path));
    }
    Ok(content)
}

pub(super) fn parse_json<'de, T: Deserialize<'de>>(path: &str, json: &'de str) -> Result<T, ArchiveError> {
    serde_json::from_str(json).map_err(|error| ArchiveError::malformed(path, &error))
}

impl TryFrom<&ArchivedMigration> for AppliedMigration {
    type Error = ArchiveError;

    fn try_from(migration: &ArchivedMigration) -> Result<Self, ArchiveError> {
        let checksum = HEXLOWER.decode(migration.checksum.as_bytes());
        Ok(Self {
            version: migration.version,
            checksum: checksum.map_err(|error| ArchiveError::malformed(MANIFEST_FILE, &error))?,
            success: true,
        })
    }
}
