//! Migrating one schema: from where its history says that it is.
//!
//! The history is sqlx's own table, in the schema that it speaks of, and so travels with a dump of it.

use std::error::Error;
use std::time::Duration;

use sqlx::migrate::{Migrate, Migration};
use sqlx::{Connection, PgConnection};

use super::adopt::{self, Adopted};
use super::migrations::{self, SHARED, TENANT};
use super::{AdminError, citus, tenants::roles};
use crate::admin::history::{self, MigratedSchema};
use crate::admin::{
    advisory_lock, database::AdminDatabase, generated_sql::GeneratedSql, history::AppliedMigration, schema,
};
use crate::config::RoleSettings;
use crate::tenancy::SchemaName;

/// The pause before a second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What a run did to one schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 where nothing was there.
    pub from: i64,
    /// The version now.
    pub to: i64,
}

impl Migrated {
    fn nothing(history: &[AppliedMigration]) -> Self {
        let version = migrations::version(history);
        Self {
            from: version,
            to: version,
        }
    }

    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_current(self) -> bool {
        self.from == self.to
    }
}

/// How a migration goes about tables that others use.
///
/// While it waits for a lock, all who come after it wait too. So it waits for a short time, and tries
/// again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a statement waits for a lock (PostgreSQL manual, section 20.11.1, `lock_timeout`).
    pub lock_timeout: Duration,
    /// How often it is tried again.
    pub retries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(2),
            retries: 7,
        }
    }
}

impl Patience {
    /// How long to pause before another attempt, after so many that failed, the last one with `error`.
    /// None where another one does not help, or there were enough.
    ///
    /// The pauses grow, so that long transactions get time to end, and vary, so that those who met at a
    /// lock do not meet again.
    pub(super) fn pause(self, failed_attempts: u32, error: &AdminError) -> Option<Duration> {
        if failed_attempts > self.retries || !is_about_locks(error) {
            return None;
        }
        let doublings = 1_u32 << failed_attempts.saturating_sub(1).min(10);
        let longest = (FIRST_PAUSE * doublings).min(LONGEST_PAUSE);
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Some(Duration::from_millis(fastrand::u64(longest / 2..=longest)))
    }
}

/// Whether a lock did not come in time, or came to another session.
fn is_about_locks(error: &AdminError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(sqlx::Error::Database(database)) = cause.downcast_ref() {
            // lock_not_available, deadlock_detected, serialization_failure
            return matches!(database.code().as_deref(), Some("55P03" | "40P01" | "40001"));
        }
        next = cause.source();
    }
    false
}

/// Migrates what all tenants share, and puts it on all nodes where there is Citus.
///
/// # Errors
///
/// [`AdminError`]; what was applied before the failing migration stays.
pub async fn shared(database: &AdminDatabase, patience: Patience) -> Result<Migrated, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, MigratedSchema::Shared.name()).await?;
    let mut failed_attempts = 0;
    loop {
        let error = match shared_on(&mut connection, patience).await {
            Ok(migrated) => {
                connection.close().await?;
                return Ok(migrated);
            }
            Err(error) => error,
        };
        failed_attempts += 1;
        match patience.pause(failed_attempts, &error) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

async fn shared_on(connection: &mut PgConnection, patience: Patience) -> Result<Migrated, AdminError> {
    let schema = MigratedSchema::Shared;
    let history = read_history(connection, schema).await?.unwrap_or_default();
    let mut migrated = Migrated::nothing(&history);
    let pending = SHARED.pending(&history)?;
    apply_all(connection, schema, pending, patience, &mut migrated).await?;
    citus::distribute_users(connection).await?;
    Ok(migrated)
}

/// What is to be done to what all tenants share. Nothing is written.
///
/// # Errors
///
/// [`AdminError`] where its history cannot be read, or tells of other migrations than those of this
/// program.
pub async fn shared_to_do(database: &AdminDatabase) -> Result<Migrated, AdminError> {
    let mut connection = database.connect().await?;
    let history = read_history(&mut connection, MigratedSchema::Shared).await?;
    connection.close().await?;
    let history = history.unwrap_or_default();
    let mut to_do = Migrated::nothing(&history);
    if let Some(last) = SHARED.pending(&history)?.last() {
        to_do.to = last.version;
    }
    Ok(to_do)
}

/// Migrates one tenant's schema on a connection that has locked it. It waits for locks once.
///
/// # Errors
///
/// [`AdminError`]; what was applied before the failing migration stays, where no transaction is open.
pub(super) async fn tenant_on(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), AdminError> {
    let mut progress = TenantProgress::default();
    attempt_tenant(connection, schema, Patience::default(), false, &mut progress).await
}

/// How far a tenant has come.
#[derive(Debug, Default)]
pub(super) struct TenantProgress {
    /// Its version before the first attempt and now; none where there was none to be read.
    pub(super) migrated: Option<Migrated>,
    /// What came of its adoption.
    pub(super) adopted: Option<Adopted>,
    /// Whether its role was made, or granted what it lacked.
    pub(super) role_made: bool,
    /// The node that it was put on.
    pub(super) node: Option<String>,
}

/// Tries once to migrate one tenant's schema, on a connection that has locked it. `progress` tells how far
/// it came, also where it fails, and in earlier attempts.
///
/// # Errors
///
/// [`AdminError`].
pub(super) async fn attempt_tenant(
    connection: &mut PgConnection,
    schema: &SchemaName,
    patience: Patience,
    adopts: bool,
    progress: &mut TenantProgress,
) -> Result<(), AdminError> {
    let place = MigratedSchema::Tenant(schema);
    let history = match read_history(connection, place).await? {
        Some(history) => history,
        None if !schema::exists(connection, schema).await? => return Err(AdminError::NoSuchSchema),
        None if schema::is_empty(connection, schema).await? => Vec::new(),
        None if adopts => {
            progress.adopted = Some(adopt(connection, schema, patience, false).await?);
            read_history(connection, place).await?.unwrap_or_default()
        }
        None => return Err(AdminError::Unadopted),
    };
    let migrated = progress.migrated.get_or_insert(Migrated::nothing(&history));
    let pending = TENANT.pending(&history)?;
    apply_all(connection, place, pending, patience, migrated).await
}

/// Takes in a schema that others made, at the version whose tables it has, or fails and leaves it as it is.
/// In a rehearsal it is left as it is in any case.
async fn adopt(
    connection: &mut PgConnection,
    schema: &SchemaName,
    patience: Patience,
    is_rehearsal: bool,
) -> Result<Adopted, AdminError> {
    let mut transaction = connection.begin().await?;
    let place = MigratedSchema::Tenant(schema);
    history::enter_transaction(&mut transaction, place, patience.lock_timeout).await?;
    let adopted = adopt::adopt(&mut transaction, schema).await?;
    if is_rehearsal {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    Ok(adopted)
}

/// What would come of the adoption of a schema that others made. Nothing of it stays.
///
/// # Errors
///
/// [`AdminError`] where it would fail.
pub(super) async fn rehearse_adoption(
    database: &AdminDatabase,
    schema: &SchemaName,
    patience: Patience,
) -> Result<Adopted, AdminError> {
    let mut connection = database.connect().await?;
    let adopted = adopt(&mut connection, schema, patience, true).await?;
    connection.close().await?;
    Ok(adopted)
}

/// Makes the role of a tenant that has all migrations, on a connection that has locked it; whether it lacked
/// anything. All or nothing.
///
/// # Errors
///
/// [`AdminError`].
pub(super) async fn attempt_role(
    connection: &mut PgConnection,
    schema: &SchemaName,
    patience: Patience,
    settings: &RoleSettings,
) -> Result<bool, AdminError> {
    let mut transaction = connection.begin().await?;
    let place = MigratedSchema::Tenant(schema);
    history::enter_transaction(&mut transaction, place, patience.lock_timeout).await?;
    let was_lacking = roles::ensure(&mut transaction, schema, settings).await?;
    transaction.commit().await?;
    Ok(was_lacking)
}

/// What the history of `schema` says; none where there is no history.
async fn read_history(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
) -> Result<Option<Vec<AppliedMigration>>, AdminError> {
    if !history::exists(connection, schema).await? {
        return Ok(None);
    }
    Ok(history::read(connection, [schema]).await?.pop())
}

async fn apply_all(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    pending: Vec<&Migration>,
    patience: Patience,
    migrated: &mut Migrated,
) -> Result<(), AdminError> {
    for migration in pending {
        apply(connection, schema, migration, patience.lock_timeout).await?;
        migrated.to = migrated.to.max(migration.version);
    }
    Ok(())
}

/// Applies one migration and records it, all or nothing; the history too, where it is the first.
async fn apply(
    connection: &mut PgConnection,
    schema: MigratedSchema<'_>,
    migration: &Migration,
    lock_timeout: Duration,
) -> Result<(), AdminError> {
    let table = schema.history();
    let is_citus = citus::is_installed(connection).await?;
    let mut transaction = connection.begin().await?;
    history::enter_transaction(&mut transaction, schema, lock_timeout).await?;
    // This also keeps the schema from being dropped, and fails where it is gone.
    transaction.ensure_migrations_table(&table).await?;
    if is_citus {
        citus::run_separately(&mut transaction, GeneratedSql::from_migration(migration)).await?;
        transaction.skip(&table, migration).await?;
    } else {
        transaction.apply(&table, migration).await?;
    }
    transaction.commit().await?;
    Ok(())
}
