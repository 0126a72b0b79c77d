//! Migration of one tenant: its schema, and its role if tenants have roles.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::adopt::{Adopt, Adopter};
use super::apply::{SchemaUpgrade, apply_all};
use super::baseline::Adoption;
use super::error::MigrationError;
use super::history::{self, MigratedSchema};
use crate::admin::database::AdminDatabase;
use crate::admin::error::AdminError;
use crate::admin::runner::{TenantJob, TenantReport};
use crate::admin::schema;
use crate::admin::servable;
use crate::admin::tenants::roles;
use crate::tenancy::SchemaName;

/// Applies the pending migrations of a tenant.
#[derive(Debug, Clone, Default)]
pub struct MigrateTenant {
    pub(super) adopter: Adopter,
}

impl MigrateTenant {
    /// Returns the job. Schemas that another program created are adopted as `adopt` says.
    #[must_use]
    pub fn new(adopt: Adopt) -> Self {
        let adopter = Adopter::new(adopt);
        Self { adopter }
    }
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
            .is_some_and(|upgrade| !upgrade.steps.is_empty() || upgrade.history_moved);
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
        self.attempt_schema(database, connection, tenant, lock_timeout, outcome)
            .await?;
        if database.roles().is_enabled() {
            let mut transaction = connection.begin().await?;
            history::enter_schema(&mut transaction, MigratedSchema::Tenant(tenant), lock_timeout).await?;
            outcome.role_updated |= roles::ensure(&mut transaction, tenant, database.roles()).await?;
            transaction.commit().await?;
        }
        verify_servable(database, connection, tenant).await
    }
}

impl MigrateTenant {
    async fn attempt_schema(
        &self,
        database: &AdminDatabase,
        connection: &mut PgConnection,
        tenant: &SchemaName,
        lock_timeout: Duration,
        outcome: &mut MigrationOutcome,
    ) -> Result<(), AdminError> {
        let place = MigratedSchema::Tenant(tenant);
        let history_moved = history::move_legacy(connection, place, lock_timeout).await?;
        let history = match history::read(connection, place).await? {
            Some(history) => history,
            None if !schema::exists(connection, tenant).await? => return Err(AdminError::NoSuchSchema),
            None if schema::is_empty(connection, tenant).await? => Vec::new(),
            None if self.adopter.adopt != Adopt::No => {
                let adopter = &self.adopter;
                let adoption = adopter
                    .adopt(database, connection, tenant, lock_timeout, false)
                    .await?;
                outcome.adoption = Some(adoption);
                history::read(connection, place).await?.unwrap_or_default()
            }
            None => return Err(MigrationError::Unadopted.into()),
        };
        // After a failed attempt the version before the first attempt is kept.
        let upgrade = outcome
            .upgrade
            .get_or_insert_with(|| SchemaUpgrade::from_history(&history));
        upgrade.history_moved |= history_moved;
        let pending = database.migrations().tenant.pending(&history)?;
        apply_all(connection, place, pending, lock_timeout, upgrade).await
    }
}

/// Returns a report for each of these tenants, which have all migrations and the given versions. It is a failure if
/// the service cannot read the tenant.
///
/// # Errors
///
/// [`AdminError`] if there is no connection.
pub async fn verify_current(
    database: &AdminDatabase,
    tenants: &[(SchemaName, i64)],
) -> Result<Vec<TenantReport<MigrationOutcome>>, AdminError> {
    let schemas: Vec<_> = tenants.iter().map(|(schema, _)| schema.clone()).collect();
    let mut obstacles = servable::check(database, &schemas).await?;
    let reports = tenants.iter().map(|(schema, version)| TenantReport {
        tenant: schema.clone(),
        outcome: MigrationOutcome {
            upgrade: Some(SchemaUpgrade::from_version(*version)),
            ..MigrationOutcome::default()
        },
        duration: Duration::ZERO,
        error: obstacles
            .remove(schema.as_str())
            .map(|reasons| MigrationError::NotServable { reasons }.into()),
    });
    Ok(reports.collect())
}

/// Verifies that the service can read the tenant.
async fn verify_servable(
    database: &AdminDatabase,
    connection: &mut PgConnection,
    tenant: &SchemaName,
) -> Result<(), AdminError> {
    let tenants = std::slice::from_ref(tenant);
    let obstacles = servable::check_on(connection, tenants, database.roles().is_enabled()).await?;
    match obstacles.into_values().next() {
        Some(reasons) => Err(MigrationError::NotServable { reasons }.into()),
        None => Ok(()),
    }
}
