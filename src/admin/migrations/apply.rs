//! Application of migrations to one schema.

use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate, MigrateError, Migration};
use sqlx::{Connection, PgConnection};

use super::error::MigrationError;
use super::history::{self, AppliedMigration, MigratedSchema};
use super::source;
use crate::admin::error::AdminError;
use crate::admin::{citus, generated_sql::GeneratedSql};

/// The migrations that a run applied to one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaUpgrade {
    /// Version before the run; 0 if no migration was applied.
    pub from: i64,
    /// The applied migrations, or in a dry run the pending ones.
    pub steps: Vec<MigrationStep>,
}

/// One migration of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStep {
    /// Version of the migration.
    pub version: i64,
    /// Its description.
    pub description: String,
    /// Time that it took; zero in a dry run.
    pub duration: Duration,
}

impl SchemaUpgrade {
    /// Returns an upgrade without steps.
    pub(super) fn from_version(from: i64) -> Self {
        let steps = Vec::new();
        Self { from, steps }
    }

    /// Returns an upgrade without steps of a schema with this history.
    pub(super) fn from_history(history: &[AppliedMigration]) -> Self {
        Self::from_version(source::version(history))
    }

    /// Adds steps for migrations that a dry run does not apply.
    pub(super) fn with_pending<'m>(mut self, pending: impl IntoIterator<Item = &'m Migration>) -> Self {
        let steps = pending
            .into_iter()
            .map(|migration| step(migration, Duration::ZERO));
        self.steps.extend(steps);
        self
    }

    /// Returns the version after the run.
    #[must_use]
    pub fn to(&self) -> i64 {
        let steps = self.steps.iter().map(|step| step.version);
        steps.fold(self.from, i64::max)
    }
}

fn step(migration: &Migration, duration: Duration) -> MigrationStep {
    MigrationStep {
        version: migration.version,
        description: migration.description.clone().into_owned(),
        duration,
    }
}

/// Applies `pending` in order, and adds each applied migration to `upgrade`, also if a later one fails.
pub(super) async fn apply_all(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    pending: Vec<&Migration>,
    lock_timeout: Duration,
    upgrade: &mut SchemaUpgrade,
) -> Result<(), AdminError> {
    for migration in pending {
        let begin = Instant::now();
        apply(connection, schema, migration, lock_timeout).await?;
        upgrade.steps.push(step(migration, begin.elapsed()));
    }
    Ok(())
}

/// Applies one migration and records it in the history, which is created if necessary, in one transaction.
async fn apply(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    migration: &Migration,
    lock_timeout: Duration,
) -> Result<(), AdminError> {
    let failed = |error| failed_migration(migration, error);
    let table = schema.history_table();
    let is_citus = citus::is_installed(connection).await?;
    let mut transaction = connection.begin().await?;
    history::enter_schema(&mut transaction, schema, lock_timeout).await?;
    // This also keeps the schema from being dropped, and fails if it does not exist any more.
    transaction
        .ensure_migrations_table(&table)
        .await
        .map_err(failed)?;
    if is_citus {
        citus::run_separately(&mut transaction, GeneratedSql::from_migration(migration)).await?;
        transaction.skip(&table, migration).await.map_err(failed)?;
    } else {
        transaction.apply(&table, migration).await.map_err(failed)?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Names the migration and the cause, without the sentence that sqlx puts between them.
fn failed_migration(migration: &Migration, error: MigrateError) -> MigrationError {
    MigrationError::Failed {
        version: migration.version,
        description: migration.description.clone().into_owned(),
        source: match error {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
            error => error.into(),
        },
    }
}
