//! Histories of early versions. Their tenant migration 2 is now split into migrations 2 and 3.

use data_encoding::HEXLOWER;
use sqlx::migrate::Migration;

use super::source::{AppliedMigration, MigrationSource};

/// Version of the migration that was split.
const SPLIT_VERSION: i64 = 2;

/// Checksum of the migration before it was split.
const SPLIT_CHECKSUM: &str =
    "a303198eb4e2c3cc38eabe34cb21d6313069e2ec9fceba866f546589138d6752589476cb5d7a6b2b3e1e3a7f6f31aeb0";

/// Migrations that do the same as the one that was split.
const PARTS: [i64; 2] = [2, 3];

impl AppliedMigration {
    /// Returns whether the migration is compiled in, or was in an early version.
    pub(super) fn is_compiled_in(&self) -> bool {
        let source = MigrationSource::compiled_in();
        self.is_split() || source.shared.contains(self) || source.tenant.contains(self)
    }

    fn is_split(&self) -> bool {
        self.version == SPLIT_VERSION && HEXLOWER.encode(&self.checksum) == SPLIT_CHECKSUM
    }
}

/// Replaces the migration that was split by its parts.
pub(in crate::admin) fn modernize(mut history: Vec<AppliedMigration>) -> Vec<AppliedMigration> {
    let Some(split) = history.iter().position(AppliedMigration::is_split) else {
        return history;
    };
    let success = history.remove(split).success;
    for version in PARTS {
        if let Some(migration) = MigrationSource::compiled_in().tenant.get(version) {
            history.push(AppliedMigration {
                version,
                checksum: migration.checksum.to_vec(),
                success,
            });
        }
    }
    history
}

/// Returns the migration whose row `applied`, a part of a modernized history, may need to replace.
pub(super) fn replacement(applied: &AppliedMigration) -> Option<&'static Migration> {
    let migration = MigrationSource::compiled_in().tenant.get(applied.version)?;
    let is_part = PARTS.contains(&applied.version) && applied.success;
    (is_part && *migration.checksum == *applied.checksum).then_some(migration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_migration_is_replaced_by_its_parts() {
        let split = AppliedMigration {
            version: SPLIT_VERSION,
            checksum: HEXLOWER.decode(SPLIT_CHECKSUM.as_bytes()).unwrap(),
            success: true,
        };
        assert!(split.is_compiled_in());
        let migrations = &MigrationSource::compiled_in().tenant;
        let history = modernize(vec![split]);
        assert_eq!(history.len(), PARTS.len());
        assert!(history.iter().all(|applied| migrations.contains(applied)));
        assert_eq!(modernize(history.clone()), history);
    }
}
