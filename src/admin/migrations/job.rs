//! Migration of one tenant: its schema, and its role if tenants have roles.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::adopt::{self, Adoption};
use super::apply::{SchemaUpgrade, apply_all};
use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use super::source::Migrations;
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::retry::RetryPolicy;
use crate::admin::runner::TenantJob;
use crate::admin::schema;
use crate::admin::tenants::roles;
use crate::tenancy::SchemaName;

/// Applies the pending migrations of a tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct MigrateTenant {
    /// Adopts schemas that another program created, if they have the tables of version 1.
    pub adopt: bool,
}

/// The changes to one tenant, also those before a failure.
#[derive(Debug, Default)]
pub struct MigrationOutcome {
    /// Migrations of the schema; `None` if its history was not read.
    pub upgrade: Option<SchemaUpgrade>,
    /// Adoption of the schema; `None` if it was not necessary.
    pub adoption: Option<Adoption>,
    /// `true` if the tenant's role was created or got missing privileges.
    pub role_updated: bool,
}

impl MigrationOutcome {
    /// Returns whether there was nothing to do.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let has_steps = self
            .upgrade
            .as_ref()
            .is_some_and(|upgrade| !upgrade.steps.is_empty());
        !has_steps && self.adoption.is_none() && !self.role_updated
    }
}

impl TenantJob for MigrateTenant {
    type Outcome = MigrationOutcome;

    async fn attempt(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut MigrationOutcome,
    ) -> Result<(), AdminError> {
        let migrations = &database.migrations().tenant;
        self.attempt_schema(migrations, connection, tenant, lock_timeout, outcome)
            .await?;
        if database.roles().are_on() {
            let mut transaction = connection.begin().await?;
            history::enter_schema(&mut transaction, MigratedSchema::Tenant(tenant), lock_timeout).await?;
            outcome.role_updated |= roles::ensure(&mut transaction, tenant, database.roles()).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

impl MigrateTenant {
    async fn attempt_schema(
        self,
        migrations: &Migrations,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut MigrationOutcome,
    ) -> Result<(), AdminError> {
        let place = MigratedSchema::Tenant(tenant);
        let history = match history::read(connection, place).await? {
            Some(history) => history,
            None if !schema::exists(connection, tenant).await? => return Err(AdminError::NoSuchSchema),
            None if schema::is_empty(connection, tenant).await? => Vec::new(),
            None if self.adopt => {
                let adoption = adopt::adopt(connection, migrations, tenant, lock_timeout, false).await?;
                outcome.adoption = Some(adoption);
                history::read(connection, place).await?.unwrap_or_default()
            }
            None => return Err(MigrationError::Unadopted.into()),
        };
        // After a failed attempt the version before the first attempt is kept.
        let upgrade = outcome
            .upgrade
            .get_or_insert_with(|| SchemaUpgrade::from_history(&history));
        let pending = migrations.pending(&history)?;
        apply_all(connection, place, pending, lock_timeout, upgrade).await
    }
}

/// Applies all migrations to `schema`, which was created in the open transaction.
///
/// # Errors
///
/// [`AdminError`]; the transaction is aborted.
pub(in crate::admin) async fn apply_to_new_schema(
    transaction: &mut PgConnection,
    migrations: &Migrations,
    schema: &SchemaName,
) -> Result<(), AdminError> {
    let lock_timeout = RetryPolicy::default().lock_timeout;
    let mut outcome = MigrationOutcome::default();
    MigrateTenant::default()
        .attempt_schema(migrations, transaction, schema, lock_timeout, &mut outcome)
        .await
}
