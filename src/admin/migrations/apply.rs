//! Application of migrations to one schema.

use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, Migration};
use sqlx::{Connection, PgConnection};

use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use super::outside_transaction::OutsideTransaction;
use super::source::{MigrationSource, Migrations};
use super::statements;
use crate::admin::error::AdminError;
use crate::admin::retry::RetryPolicy;
use crate::admin::{citus, generated_sql::GeneratedSql};
use crate::tenancy::SchemaName;

/// The migrations that a run applied to one schema.
#[derive(Debug)]
pub(crate) struct SchemaUpgrade {
    /// Version before the run; 0 if no migration was applied.
    pub(crate) from: i64,
    /// The applied migrations, or in a dry run the pending ones.
    pub(crate) steps: Vec<MigrationStep>,
    /// `true` if the migration history had the name of early versions and was renamed.
    pub(crate) history_moved: bool,
}

/// One migration of a run.
#[derive(Debug)]
pub(crate) struct MigrationStep {
    pub(crate) version: i64,
    pub(crate) description: String,
    /// Time that it took; zero in a dry run.
    pub(crate) duration: Duration,
    /// `true` if an earlier run had begun it.
    pub(crate) is_repeated: bool,
}

impl SchemaUpgrade {
    /// Returns an upgrade without steps.
    pub(super) fn from_version(from: i64) -> Self {
        Self {
            from,
            steps: Vec::new(),
            history_moved: false,
        }
    }

    /// Adds steps for migrations that a dry run does not apply.
    pub(super) fn add_pending(&mut self, pending: Vec<&Migration>) {
        let pending = pending.into_iter();
        self.steps
            .extend(pending.map(|migration| step(migration, Duration::ZERO, false)));
    }

    /// Returns the version after the run.
    pub(crate) fn to(&self) -> i64 {
        let steps = self.steps.iter().map(|step| step.version);
        steps.fold(self.from, i64::max)
    }
}

fn step(migration: &Migration, duration: Duration, is_repeated: bool) -> MigrationStep {
    MigrationStep {
        version: migration.version,
        description: migration.description.clone().into_owned(),
        duration,
        is_repeated,
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
        let is_repeated = if migration.no_tx {
            let outside = OutsideTransaction {
                schema,
                migration,
                lock_timeout,
            };
            outside.apply(connection).await?
        } else {
            apply(connection, schema, migration, lock_timeout).await?;
            false
        };
        upgrade.steps.push(step(migration, begin.elapsed(), is_repeated));
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
    let is_citus = citus::is_installed(connection).await?;
    let mut transaction = connection.begin().await?;
    history::enter_schema(&mut transaction, schema, lock_timeout).await?;
    let statements = vec![GeneratedSql::from_migration(migration)];
    run_and_record(&mut transaction, schema, migration, statements, is_citus).await?;
    transaction.commit().await?;
    Ok(())
}

/// Applies all migrations to `schema`, which was created in the open transaction.
pub(in crate::admin) async fn apply_to_new_schema(
    transaction: &mut PgConnection,
    migrations: &Migrations,
    schema: &SchemaName,
) -> Result<(), AdminError> {
    let schema = MigratedSchema::Tenant(schema);
    let is_citus = citus::is_installed(transaction).await?;
    for migration in migrations.iter() {
        // A migration may have set the path.
        history::enter_schema(transaction, schema, RetryPolicy::default().lock_timeout).await?;
        let statements = statements::in_transaction(migration);
        run_and_record(transaction, schema, migration, statements, is_citus).await?;
    }
    Ok(())
}

async fn run_and_record(
    transaction: &mut PgConnection,
    schema: MigratedSchema<'_>,
    migration: &Migration,
    statements: Vec<GeneratedSql>,
    is_citus: bool,
) -> Result<(), AdminError> {
    let table = schema.history_table();
    // This also keeps the schema from being dropped, and fails if it does not exist any more.
    transaction
        .ensure_migrations_table(&table)
        .await
        .map_err(|error| MigrationError::failed(migration, error))?;
    for statement in statements {
        let run = statement.run_on(transaction, is_citus).await;
        run.map_err(|error| failed(migration, error))?;
    }
    transaction
        .skip(&table, migration)
        .await
        .map_err(|error| MigrationError::failed(migration, error))?;
    Ok(())
}

/// Names the migration, and the cause. A compiled-in migration limits the time of its statements by the lock timeout.
fn failed(migration: &Migration, error: sqlx::Error) -> MigrationError {
    let code = error.as_database_error().and_then(DatabaseError::code);
    // query_canceled
    if code.as_deref() == Some("57014")
        && MigrationSource::compiled_in()
            .tenant
            .contains(migration.version, &migration.checksum)
    {
        MigrationError::TooLong {
            version: migration.version,
            description: migration.description.clone().into_owned(),
        }
    } else {
        MigrationError::failed(migration, error)
    }
}
