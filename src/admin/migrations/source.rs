//! The migrations that this program applies.

use std::path::Path;
use std::sync::LazyLock;

use sqlx::migrate::Migration;

use super::error::MigrationError;
use super::folder::{self, InvalidMigrations};

/// The migrations of the shared schema and those of each tenant's schema.
#[derive(Debug, Clone)]
pub(crate) struct MigrationSource {
    pub(in crate::admin) shared: Migrations,
    pub(in crate::admin) tenant: Migrations,
}

impl MigrationSource {
    /// Returns the migrations that are compiled in.
    pub(crate) fn compiled_in() -> &'static Self {
        static COMPILED_IN: LazyLock<MigrationSource> = LazyLock::new(|| MigrationSource {
            shared: Migrations(sqlx::migrate!("migrations/shared").migrations.into_owned()),
            tenant: Migrations(sqlx::migrate!("migrations/tenant").migrations.into_owned()),
        });
        &COMPILED_IN
    }

    /// Reads the migrations in the folders `shared` and `tenant` of `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self, InvalidMigrations> {
        Ok(Self {
            shared: Migrations(folder::read(&folder.join("shared"))?),
            tenant: Migrations(folder::read(&folder.join("tenant"))?),
        })
    }
}

/// Migrations in the order in which they are applied.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Migrations(Vec<Migration>);

impl Migrations {
    pub(in crate::admin) fn iter(&self) -> impl Iterator<Item = &Migration> {
        self.0.iter()
    }

    /// Returns the migrations after this version.
    pub(super) fn after(&self, version: i64) -> impl Iterator<Item = &Migration> {
        self.0.iter().filter(move |migration| migration.version > version)
    }

    /// Returns the migration with this version.
    pub(in crate::admin) fn get(&self, version: i64) -> Option<&Migration> {
        self.0.iter().find(|migration| migration.version == version)
    }

    /// Returns whether version 1 is the compiled-in one.
    pub(in crate::admin) fn has_compiled_in_baseline(&self) -> bool {
        let compiled_in = &MigrationSource::compiled_in().tenant;
        self.get(1)
            .is_some_and(|first| compiled_in.contains(1, &first.checksum))
    }

    /// Returns whether one of these migrations has this version and an unchanged text.
    pub(in crate::admin) fn contains(&self, version: i64, checksum: &[u8]) -> bool {
        self.get(version)
            .is_some_and(|migration| *migration.checksum == *checksum)
    }

    /// Returns the migrations that `history` lacks, and those outside a transaction that were interrupted.
    /// Fails if `history` contains unknown, changed or unfinished migrations.
    pub(in crate::admin) fn pending(
        &self,
        history: &[AppliedMigration],
    ) -> Result<Vec<&Migration>, MigrationError> {
        for applied in history {
            let version = applied.version;
            let Some(migration) = self.get(version) else {
                return Err(MigrationError::Unknown { version });
            };
            if !applied.success && !migration.no_tx {
                return Err(MigrationError::Unfinished { version });
            }
            if !self.contains(version, &applied.checksum) {
                return Err(MigrationError::Changed {
                    version,
                    description: migration.description.clone().into_owned(),
                });
            }
        }
        let is_pending = |migration: &&Migration| {
            let mut applied = history.iter().filter(|applied| applied.success);
            !applied.any(|applied| applied.version == migration.version)
        };
        Ok(self.0.iter().filter(is_pending).collect())
    }
}

/// A row of a migration history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AppliedMigration {
    pub(crate) version: i64,
    /// Checksum of the migration's text when it was applied.
    pub(crate) checksum: Vec<u8>,
    /// `false` if the migration was begun and not finished.
    pub(crate) success: bool,
}

/// Returns the version of a schema with this history: of the last finished migration, or 0 if there is none.
pub(in crate::admin) fn version(history: &[AppliedMigration]) -> i64 {
    let finished = history.iter().filter(|applied| applied.success);
    finished.map(|applied| applied.version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(versions: &[i64]) -> Vec<AppliedMigration> {
        let migrations = &MigrationSource::compiled_in().tenant;
        versions
            .iter()
            .map(|&version| AppliedMigration {
                version,
                checksum: migrations
                    .get(version)
                    .map_or_else(Vec::new, |migration| migration.checksum.to_vec()),
                success: true,
            })
            .collect()
    }

    fn pending_versions(history: &[AppliedMigration]) -> Result<Vec<i64>, MigrationError> {
        let pending = MigrationSource::compiled_in().tenant.pending(history)?;
        Ok(pending.iter().map(|migration| migration.version).collect())
    }

    #[test]
    fn migrations_missing_from_the_history_are_pending() {
        assert_eq!(pending_versions(&history(&[])).unwrap(), [1, 2, 3]);
        assert_eq!(pending_versions(&history(&[1])).unwrap(), [2, 3]);
        assert!(pending_versions(&history(&[1, 2, 3])).unwrap().is_empty());
        assert_eq!(version(&history(&[1])), 1);
    }

    #[test]
    fn unknown_changed_and_unfinished_migrations_are_refused() {
        assert!(matches!(
            pending_versions(&history(&[1, 2, 3, 4])),
            Err(MigrationError::Unknown { version: 4 })
        ));
        let mut changed = history(&[1, 2]);
        changed[0].checksum = vec![0];
        assert!(matches!(
            pending_versions(&changed),
            Err(MigrationError::Changed { version: 1, .. })
        ));
        let mut unfinished = history(&[1, 2]);
        unfinished[1].success = false;
        assert!(matches!(
            pending_versions(&unfinished),
            Err(MigrationError::Unfinished { version: 2 })
        ));
    }

    #[test]
    fn an_interrupted_migration_outside_a_transaction_is_pending() {
        let mut interrupted = history(&[1, 2, 3]);
        interrupted[2].success = false;
        assert_eq!(pending_versions(&interrupted).unwrap(), [3]);
        assert_eq!(version(&interrupted), 2);
    }
}
