//! Migrations of the schema that all tenants share.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::apply::{SchemaUpgrade, apply_all};
use super::history::{self, History, MigratedSchema};
use super::source::{self, Migrations};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::retry::RetryPolicy;
use crate::admin::{advisory_lock, citus};

const SCHEMA: MigratedSchema<'_> = MigratedSchema::Shared;

/// Migrates the shared schema. On Citus, it also distributes `public.users` to all nodes. If a migration fails, those
/// before it remain applied.
pub(crate) async fn migrate_shared(
    database: &AdminDatabase,
    policy: RetryPolicy,
) -> Result<SchemaUpgrade, AdminError> {
    let mut connection = database.connect().await?;
    advisory_lock::lock(&mut connection, SCHEMA.name()).await?;
    let migrations = &database.migrations().shared;
    let upgrade = policy
        .run(async || attempt(&mut connection, migrations, policy.lock_timeout).await)
        .await?;
    connection.close().await?;
    Ok(upgrade)
}

async fn attempt(
    connection: &mut PgConnection,
    migrations: &Migrations,
    lock_timeout: Duration,
) -> Result<SchemaUpgrade, AdminError> {
    let history_moved = history::move_legacy(connection, SCHEMA, lock_timeout).await?;
    let history = history::read(connection, SCHEMA)
        .await?
        .unwrap_or_default()
        .applied;
    let mut upgrade = SchemaUpgrade::from_version(source::version(&history));
    upgrade.history_moved = history_moved;
    let pending = migrations.pending(&history)?;
    apply_all(connection, SCHEMA, pending, lock_timeout, &mut upgrade).await?;
    citus::distribute_users(connection).await?;
    Ok(upgrade)
}

/// Returns the pending migrations of the shared schema. Writes nothing.
pub(crate) async fn pending_shared(database: &AdminDatabase) -> Result<SchemaUpgrade, AdminError> {
    let mut connection = database.connect().await?;
    let History { applied, is_legacy } = history::read(&mut connection, SCHEMA).await?.unwrap_or_default();
    connection.close().await?;
    let pending = database.migrations().shared.pending(&applied)?;
    let mut upgrade = SchemaUpgrade::from_version(source::version(&applied));
    upgrade.history_moved = is_legacy;
    upgrade.add_pending(pending);
    Ok(upgrade)
}
