//! Migrations in a folder.

#![expect(
    clippy::disallowed_types,
    reason = "the text of a migration is trusted as the program is"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::statements::{self, ConcurrentIndex};

/// First line of a migration that runs outside a transaction.
const NO_TRANSACTION: &str = "-- no-transaction";

/// The reason why a folder of migrations is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidMigrations {
    /// A folder or file cannot be read, or a file is not UTF-8.
    #[error("failed to read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} contains no migrations; expected files such as 0001_items.sql", .0.display())]
    EmptyFolder(PathBuf),
    #[error(
        "{} is not a valid name of a migration; expected a positive number, an underscore and a description, \
         such as 0001_items.sql",
        .0.display()
    )]
    FileName(PathBuf),
    #[error("{} and {} have the same version", one.display(), other.display())]
    DuplicateVersion { one: PathBuf, other: PathBuf },
    #[error("{} contains no statement", .0.display())]
    EmptyFile(PathBuf),
    #[error(
        "{} creates an index without a name; an index that is created concurrently needs one, \
         so that an interrupted run can be repeated",
        .0.display()
    )]
    UnnamedIndex(PathBuf),
}

/// Reads the migrations in `folder`, in the order of their versions. Files with another
/// ending than `.sql`, and `.down.sql` files, are ignored.
pub(super) fn read(folder: &Path) -> Result<Vec<Migration>, InvalidMigrations> {
    let unreadable = |source| InvalidMigrations::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(unreadable)?;
    paths.sort_unstable();
    let mut files: BTreeMap<i64, (PathBuf, Migration)> = BTreeMap::new();
    for path in paths {
        let is_sql = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
        if !is_sql {
            continue;
        }
        let Some((version, migration_type, description)) = parse_name(&path) else {
            return Err(InvalidMigrations::FileName(path));
        };
        if migration_type.is_down_migration() {
            continue;
        }
        let migration = read_file(&path, version, migration_type, description)?;
        if let Some((one, _)) = files.remove(&version) {
            return Err(InvalidMigrations::DuplicateVersion { one, other: path });
        }
        files.insert(version, (path, migration));
    }
    if files.is_empty() {
        return Err(InvalidMigrations::EmptyFolder(folder.to_owned()));
    }
    Ok(files.into_values().map(|(_, migration)| migration).collect())
}

/// Returns version, type and description, as sqlx does.
fn parse_name(path: &Path) -> Option<(i64, MigrationType, String)> {
    let (version, name) = path.file_name()?.to_str()?.split_once('_')?;
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|version| is_number && *version > 0)?;
    let migration_type = MigrationType::from_filename(name);
    let description = name.strip_suffix(migration_type.suffix())?.replace('_', " ");
    (!description.trim().is_empty()).then_some((version, migration_type, description))
}

fn read_file(
    path: &Path,
    version: i64,
    migration_type: MigrationType,
    description: String,
) -> Result<Migration, InvalidMigrations> {
    let text = fs::read_to_string(path).map_err(|source| InvalidMigrations::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let no_transaction = text.starts_with(NO_TRANSACTION);
    let text = AssertSqlSafe(text).into_sql_str();
    let migration = Migration::new(version, description.into(), migration_type, text, no_transaction);
    if !statements::has_statement(&migration) {
        return Err(InvalidMigrations::EmptyFile(path.to_owned()));
    }
    if statements::concurrent_indexes(&migration).any(|index| index == ConcurrentIndex::Unnamed) {
        return Err(InvalidMigrations::UnnamedIndex(path.to_owned()));
    }
    Ok(migration)
}
