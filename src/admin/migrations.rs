//! The migrations, compiled in, and what a history says about them.

use sqlx::migrate::{Migration, Migrator};

use super::AdminError;
use crate::admin::history::AppliedMigration;

/// The migrations of what all tenants share.
pub(super) static SHARED: Migrations = Migrations(sqlx::migrate!("migrations/shared"));

/// The migrations of each tenant's schema.
pub(super) static TENANT: Migrations = Migrations(sqlx::migrate!("migrations/tenant"));

/// Migrations in the order in which they are applied.
pub(super) struct Migrations(Migrator);

impl Migrations {
    /// The version of a schema that has them all.
    pub(super) fn latest(&self) -> i64 {
        self.0
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Migration> {
        self.0.iter()
    }

    /// The one that has this version.
    pub(super) fn get(&self, version: i64) -> Option<&Migration> {
        self.0.iter().find(|migration| migration.version == version)
    }

    /// Whether a row of a history is about one of these, as it is now.
    pub(super) fn include(&self, applied: &AppliedMigration) -> bool {
        self.get(applied.version)
            .is_some_and(|migration| *migration.checksum == *applied.checksum)
    }

    /// Those that a schema with this history lacks.
    ///
    /// # Errors
    ///
    /// [`AdminError`] where the history tells of something else than these migrations.
    pub(super) fn pending(&self, history: &[AppliedMigration]) -> Result<Vec<&Migration>, AdminError> {
        for applied in history {
            let version = applied.version;
            let Some(migration) = self.get(version) else {
                return Err(AdminError::UnknownMigration { version });
            };
            if !applied.success {
                return Err(AdminError::UnfinishedMigration { version });
            }
            if !self.include(applied) {
                return Err(AdminError::ChangedMigration {
                    version,
                    description: migration.description.clone().into_owned(),
                });
            }
        }
        let is_pending =
            |migration: &&Migration| !history.iter().any(|applied| applied.version == migration.version);
        Ok(self.0.iter().filter(is_pending).collect())
    }
}

/// The version of a schema with this history; 0 where nothing was applied.
pub(super) fn version(history: &[AppliedMigration]) -> i64 {
    history.iter().map(|applied| applied.version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(versions: &[i64]) -> Vec<AppliedMigration> {
        versions
            .iter()
            .map(|&version| AppliedMigration {
                version,
                checksum: TENANT
                    .get(version)
                    .map_or_else(Vec::new, |migration| migration.checksum.to_vec()),
                success: true,
            })
            .collect()
    }

    fn pending_versions(history: &[AppliedMigration]) -> Result<Vec<i64>, AdminError> {
        let pending = TENANT.pending(history)?;
        Ok(pending.iter().map(|migration| migration.version).collect())
    }

    #[test]
    fn what_a_ledger_does_not_tell_of_is_pending() {
        assert_eq!(pending_versions(&history(&[])).unwrap(), [1, 2]);
        assert_eq!(pending_versions(&history(&[1])).unwrap(), [2]);
        assert!(pending_versions(&history(&[1, 2])).unwrap().is_empty());
        assert_eq!((version(&history(&[1])), TENANT.latest()), (1, 2));
    }

    #[test]
    fn a_ledger_that_tells_of_something_else_is_refused() {
        assert!(matches!(
            pending_versions(&history(&[1, 2, 3])),
            Err(AdminError::UnknownMigration { version: 3 })
        ));
        let mut changed = history(&[1, 2]);
        changed[0].checksum = vec![0];
        assert!(matches!(
            pending_versions(&changed),
            Err(AdminError::ChangedMigration { version: 1, .. })
        ));
        let mut unfinished = history(&[1, 2]);
        unfinished[1].success = false;
        assert!(matches!(
            pending_versions(&unfinished),
            Err(AdminError::UnfinishedMigration { version: 2 })
        ));
    }

    /// One without would leave half of itself behind when it fails.
    #[test]
    fn each_migration_fits_in_a_transaction() {
        for migration in SHARED.0.iter().chain(TENANT.0.iter()) {
            assert!(!migration.no_tx, "{}", migration.version);
        }
    }
}
