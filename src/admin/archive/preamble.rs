//! Reading the files of an archive that precede the rows.

use serde::Deserialize;
use tokio::io::AsyncRead;

use super::ArchiveError;
use super::format::{
    CHECKSUMS_FILE, FORMAT_VERSION, KEYS_FILE, MANIFEST_FILE, Manifest, TABLES_FILE, checksum_line,
};
use super::tar_stream::TarReader;
use crate::admin::generated_sql::GeneratedSql;
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
        preamble.manifest.check_migrations(known)?;
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
