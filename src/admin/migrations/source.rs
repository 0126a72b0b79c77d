//! The migrations that this program applies.

use sqlx::migrate::{Migration, Migrator};

use super::{AppliedMigration, MigrationError};

/// The migrations of the shared schema and those of each tenant's schema.
#[derive(Debug)]
pub struct MigrationSource {
    /// Migrations of `public`, which all tenants share.
    pub(in crate::admin) shared: Migrations,
    /// Migrations of each tenant's schema.
    pub(in crate::admin) tenant: Migrations,
}

impl MigrationSource {
    /// Returns the migrations that are compiled in.
    #[must_use]
    pub fn compiled_in() -> Self {
        Self {
            shared: Migrations(sqlx::migrate!("migrations/shared")),
            tenant: Migrations(sqlx::migrate!("migrations/tenant")),
        }
    }
}

/// Migrations in the order in which they are applied.
#[derive(Debug)]
pub(in crate::admin) struct Migrations(Migrator);

impl Migrations {
    /// Iterates over the migrations.
    pub(in crate::admin) fn iter(&self) -> impl Iterator<Item = &Migration> {
        self.0.iter()
    }

    /// Returns the migration with this version.
    pub(in crate::admin) fn get(&self, version: i64) -> Option<&Migration> {
        self.0.iter().find(|migration| migration.version == version)
    }

    /// Returns whether `applied` is one of these migrations, with an unchanged text.
    pub(in crate::admin) fn contains(&self, applied: &AppliedMigration) -> bool {
        self.get(applied.version)
            .is_some_and(|migration| *migration.checksum == *applied.checksum)
    }

    /// Returns the migrations that `history` lacks.
    ///
    /// # Errors
    ///
    /// [`MigrationError`] if `history` contains unknown, changed or unfinished migrations.
    pub(in crate::admin) fn pending(
        &self,
        history: &[AppliedMigration],
    ) -> Result<Vec<&Migration>, MigrationError> {
        for applied in history {
            let version = applied.version;
            let Some(migration) = self.get(version) else {
                return Err(MigrationError::Unknown { version });
            };
            if !applied.success {
                return Err(MigrationError::Unfinished { version });
            }
            if !self.contains(applied) {
                return Err(MigrationError::Changed {
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

/// Returns the version of a schema with this history; 0 if no migration was applied.
pub(in crate::admin) fn version(history: &[AppliedMigration]) -> i64 {
    history.iter().map(|applied| applied.version).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(versions: &[i64]) -> Vec<AppliedMigration> {
        let migrations = MigrationSource::compiled_in().tenant;
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
        let migrations = MigrationSource::compiled_in().tenant;
        let pending = migrations.pending(history)?;
        Ok(pending.iter().map(|migration| migration.version).collect())
    }

    #[test]
    fn migrations_missing_from_the_history_are_pending() {
        assert_eq!(pending_versions(&history(&[])).unwrap(), [1, 2]);
        assert_eq!(pending_versions(&history(&[1])).unwrap(), [2]);
        assert!(pending_versions(&history(&[1, 2])).unwrap().is_empty());
        assert_eq!(version(&history(&[1])), 1);
    }

    #[test]
    fn unknown_changed_and_unfinished_migrations_are_refused() {
        assert!(matches!(
            pending_versions(&history(&[1, 2, 3])),
            Err(MigrationError::Unknown { version: 3 })
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

    /// A migration outside a transaction would leave a part of itself behind if it failed.
    #[test]
    fn every_migration_runs_in_a_transaction() {
        let source = MigrationSource::compiled_in();
        for migration in source.shared.iter().chain(source.tenant.iter()) {
            assert!(!migration.no_tx, "{}", migration.version);
        }
    }
}
