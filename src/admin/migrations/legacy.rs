//! Histories of early versions, in which tenant migration 2 had another text.

use data_encoding::HEXLOWER;
use sqlx::migrate::Migration;

use super::source::{AppliedMigration, MigrationSource};

/// Version of the migration that had other texts.
const VERSION: i64 = 2;

/// Checksums of its earlier texts, each with the versions that do the same now: it built the index too, and it did not
/// limit the time for which it blocks writes.
const EARLIER_TEXTS: [(&str, &[i64]); 2] = [
    (
        "a303198eb4e2c3cc38eabe34cb21d6313069e2ec9fceba866f546589138d6752589476cb5d7a6b2b3e1e3a7f6f31aeb0",
        &[2, 3],
    ),
    (
        "0f8ccdfcfd5d8bc4cd6e4bf5b389299a0dc90af1fa99daf431ee125bcf2bac9736fcbcfa76f0bf0667fb597b41748bcc",
        &[2],
    ),
];

impl AppliedMigration {
    /// Returns whether the migration is compiled in, or was in an early version.
    pub(super) fn is_compiled_in(&self) -> bool {
        let source = MigrationSource::compiled_in();
        let mut migrations = [&source.shared, &source.tenant].into_iter();
        self.successors().is_some()
            || migrations.any(|migrations| migrations.contains(self.version, &self.checksum))
    }

    /// Returns the versions that do the same as this earlier migration; `None` if it is none.
    fn successors(&self) -> Option<&'static [i64]> {
        let checksum = HEXLOWER.encode(&self.checksum);
        let mut texts = EARLIER_TEXTS.iter().filter(|_| self.version == VERSION);
        Some(texts.find(|(earlier, _)| *earlier == checksum)?.1)
    }
}

/// Replaces an earlier migration by its successors.
pub(in crate::admin) fn modernize(mut history: Vec<AppliedMigration>) -> Vec<AppliedMigration> {
    let position = history.iter().position(|applied| applied.successors().is_some());
    let Some(earlier) = position.map(|position| history.remove(position)) else {
        return history;
    };
    for version in earlier.successors().into_iter().flatten() {
        if let Some(migration) = MigrationSource::compiled_in().tenant.get(*version) {
            history.push(AppliedMigration {
                version: *version,
                checksum: migration.checksum.to_vec(),
                success: earlier.success,
            });
        }
    }
    history
}

/// Returns the migration that `applied` names, if a modernized history may have it in place of an earlier text. Its row
/// must then be written again.
pub(super) fn replacement(applied: &AppliedMigration) -> Option<&'static Migration> {
    let migration = MigrationSource::compiled_in().tenant.get(applied.version)?;
    let mut texts = EARLIER_TEXTS.iter().filter(|_| applied.success);
    let is_successor = texts.any(|(_, versions)| versions.contains(&applied.version));
    (is_successor && *migration.checksum == *applied.checksum).then_some(migration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_migration_is_replaced_by_its_successors() {
        let migrations = &MigrationSource::compiled_in().tenant;
        for (checksum, versions) in EARLIER_TEXTS {
            let earlier = AppliedMigration {
                version: VERSION,
                checksum: HEXLOWER.decode(checksum.as_bytes()).unwrap(),
                success: true,
            };
            assert!(earlier.is_compiled_in());
            let history = modernize(vec![earlier]);
            assert_eq!(
                history.iter().map(|applied| applied.version).collect::<Vec<_>>(),
                versions
            );
            let is_known =
                |applied: &AppliedMigration| migrations.contains(applied.version, &applied.checksum);
            assert!(history.iter().all(is_known));
            assert_eq!(modernize(history.clone()), history);
        }
    }
}
